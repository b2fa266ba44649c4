package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// Session is what is kept of a session besides its refresh token.
type Session struct {
	// Family names the session in access tokens (sid) and revocations. It cannot be guessed, and does not help to find the
	// refresh token.
	Family       string            `json:"-"`
	User         string            `json:"user"`
	Organization string            `json:"org,omitempty"`
	Docs         map[string]Access `json:"docs"` // nil: left to the webhook
	// Issued is when the application's token was issued that began the session, in seconds; the zero time if it did not
	// say.
	Issued time.Time `json:"-"`
	// Began is when the session began, by the clock of Sessions, and Expires when it ends whatever happens.
	Began, Expires time.Time `json:"-"`
}

// Revocation ends all sessions and tokens of a family, or those of a user that began until a time.
type Revocation struct {
	// Family or User is set, not both.
	Family, User string
	// At is when, by the clock of Sessions, to the millisecond. Families are revoked for good.
	At time.Time
	// Recorded is when the store wrote it down; the zero time is now.
	Recorded time.Time
}

// Sessions keeps sessions and revocations. It is safe for concurrent use. Errors other than those named mean that the
// store cannot be reached, and that it is unknown whether the call had an effect.
type Sessions interface {
	// Create begins a session that ends after lifetime and returns it with Began and Expires. ErrRevoked says that its
	// user was revoked after Issued. Of a user's sessions only the newest maxUserSessions are kept.
	Create(ctx context.Context, session Session, secret Secret, lifetime time.Duration) (Session, error)
	// Rotate replaces a secret by the next one, once; within grace the very same replacement is confirmed, for who has not
	// got the answer. ErrReplaced says that it was replaced by another one within grace, ErrReused that this is longer ago,
	// and that the session is revoked now; ErrNoSession and ErrRevoked that the session has ended.
	Rotate(ctx context.Context, family string, secret, next Secret, grace time.Duration) (Session, error)
	// End revokes a session if there is one.
	End(ctx context.Context, family string) error
	// Revoke revokes a family or a user. At is set here.
	Revoke(ctx context.Context, family, user string) error
	// Follow calls apply with all revocations that concern tokens that may still be alive (complete), whenever it may have
	// missed some, and with new ones as they come, within a second or so; an empty call says that there are none. known
	// returns what apply was told, so that revocations that the store has lost come back into it. It returns when ctx ends.
	Follow(ctx context.Context, apply func(batch []Revocation, complete bool), known func() []Revocation)
}

// maxUserSessions bounds the sessions of a user.
const maxUserSessions = 100

// Secret is the hash of a refresh token's secret: what is kept of it. Hashes are compared by the store, not in constant
// time: how alike two hashes are tells nothing of secrets of 256 random bits.
type Secret [sha256.Size]byte

const (
	lookupBytes  = 16
	secretBytes  = 32
	refreshBytes = lookupBytes + secretBytes
)

// refreshToken is what only the holder of a session has: a number that stays the same, from which the family derives, and
// a secret that changes at each use. Whoever knows the number but not the secret had a token of this session once; who
// knows the family alone, which access tokens tell, can neither use nor end the session.
type refreshToken [refreshBytes]byte

// newRefreshToken begins a family.
func newRefreshToken() (t refreshToken) {
	_, _ = rand.Read(t[:]) // It never fails.
	return t
}

// next returns the token that replaces this one. Who has the key always finds the same, without keeping it: so a lost
// answer can be given again.
func (t refreshToken) next(key []byte) refreshToken {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("collab next refresh token\x00"))
	mac.Write(t[:])
	copy(t[lookupBytes:], mac.Sum(nil))
	return t
}

// parseRefreshToken reads what encode returns.
func parseRefreshToken(s string) (t refreshToken, err error) {
	if len(s) != base64.RawURLEncoding.EncodedLen(refreshBytes) {
		return t, refuse("the refresh token is malformed")
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return t, refuse("the refresh token is malformed")
	}
	copy(t[:], data)
	return t, nil
}

// encode returns the token as clients keep it. There is deliberately no String.
func (t refreshToken) encode() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// family names the session.
func (t refreshToken) family() string {
	sum := sha256.Sum256(append([]byte("collab session family\x00"), t[:lookupBytes]...))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// secret is what is kept of the secret.
func (t refreshToken) secret() Secret {
	return sha256.Sum256(append([]byte("collab refresh secret\x00"), t[:]...))
}
