package auth

import (
	"context"
	"strings"
	"time"
)

// Identity is who a token speaks for. It is immutable.
type Identity struct {
	// User is the token's sub. It is empty for the anonymous visitors of an open Guard.
	User string
	// Organization is the token's org, empty when it has none.
	Organization string
	// Family is the session that the token belongs to (its sid), empty when it belongs to none.
	Family string
	// Expires is when connections of this identity end, the leeway included; the zero time is never.
	Expires time.Time
	// Admin says that the token may revoke users and sessions.
	Admin bool

	// issued is the token's iat, in seconds; the zero time without one. For tokens of our own sessions began is when the
	// session began, by the clock that dates revocations, to the millisecond.
	issued, began time.Time
	// grants are the docs claim; scoped says that there was one.
	grants []grant
	docs   map[string]Access
	scoped bool
	// ticket says that the token only prolongs or opens a WebSocket.
	ticket bool
	// open is the identity of an open Guard.
	open bool
}

// Anonymous says that it is one of the visitors of an open Guard: it neither expires nor is revoked.
func (i *Identity) Anonymous() bool { return i.open }

// Access returns what the token's claims allow to do with organization/document. The webhook may know better: ask
// Guard.Authorize.
func (i *Identity) Access(document string) Access {
	if i.open {
		return Write
	}
	return granted(i.grants, document)
}

// ceiling is the most that the webhook may allow: what the claims grant or, where they leave documents to the webhook,
// everything in the identity's organization.
func (i *Identity) ceiling(document string) Access {
	if i.scoped {
		return i.Access(document)
	}
	if org, _, _ := strings.Cut(document, "/"); i.Organization != "" && org != i.Organization {
		return None
	}
	return Write
}

type identityKey struct{}

// IdentityFrom returns the identity that Guard.Middleware has put into a context, nil without one.
func IdentityFrom(ctx context.Context) *Identity {
	identity, _ := ctx.Value(identityKey{}).(*Identity)
	return identity
}
