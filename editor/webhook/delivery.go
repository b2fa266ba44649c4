package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// delivery is what the application gets. docs/webhooks.md tells what it may rely on.
type delivery struct {
	Type         string    `json:"type"`
	Document     string    `json:"document"`
	Organization string    `json:"org"`
	Seq          int64     `json:"seq"`
	Users        []string  `json:"users"`
	ChangedAt    time.Time `json:"changedAt"`
	ID           string    `json:"deliveryId"`
}

// body encodes what the application is told of a change, and returns the delivery's identity: the same for the same
// last operation, whoever delivers it and however often.
func (c change) body() (body []byte, id string) {
	org, _, _ := strings.Cut(c.document, "/")
	// As precise as stores are. The time tells apart a purged document's operation and that of the document that began
	// anew under its name.
	at := c.at.UTC().Truncate(time.Microsecond)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d", c.document, c.seq, at.UnixMicro()))
	id = hex.EncodeToString(sum[:16])
	users := c.users
	if users == nil {
		users = []string{}
	}
	body, err := json.Marshal(delivery{
		Type: "document.changed", Document: c.document, Organization: org, Seq: c.seq, Users: users, ChangedAt: at, ID: id,
	})
	if err != nil {
		panic(err) // Stores refuse times that JSON cannot have, and nothing else can fail.
	}
	return body, id
}
