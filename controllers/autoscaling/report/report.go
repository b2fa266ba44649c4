// Package report reads what an editor pod says of its load. It knows nothing of Kubernetes or of how the bytes came.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxConnections is the greatest number of connections of one pod that is believed.
const MaxConnections = 1_000_000_000

// Load is what an editor pod reports at /load, as far as autoscaling needs it.
type Load struct {
	// UID is the pod's.
	UID string
	// Connections is the number of clients that are connected.
	Connections int64
}

// Parse reads a report, in JSON. It fails if there is no plausible number of connections in it.
func Parse(body []byte) (Load, error) {
	var said struct {
		UID         string `json:"uid"`
		Connections *int64 `json:"connections"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return Load{}, fmt.Errorf("parsing the report: %w", err)
	}
	if said.Connections == nil || *said.Connections < 0 || *said.Connections > MaxConnections {
		return Load{}, errors.New("the report holds no plausible number of connections")
	}
	return Load{UID: said.UID, Connections: *said.Connections}, nil
}
