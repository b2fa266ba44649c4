// Package auth decides who a client is and what it may do: it verifies access tokens, keeps sessions with refresh tokens
// and their revocation, asks the application's permission webhook, and tells foreign web pages from the application's.
//
// It knows nothing of documents, protocols and sockets: the edge and the REST API ask it, and are told when somebody's
// access ends.
package auth

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Errors that callers decide on. Each error of this package that concerns a token wraps ErrUnauthenticated, and none
// contains any part of the token.
var (
	// ErrUnauthenticated says that there is no valid token: 401, or close code 4401.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrExpired says that the token was valid once; it wraps ErrUnauthenticated.
	ErrExpired = wrapped{"the token has expired", ErrUnauthenticated}
	// ErrRevoked says that the token's user or session was revoked; it wraps ErrUnauthenticated.
	ErrRevoked = wrapped{"the session is revoked", ErrUnauthenticated}
	// ErrUnavailable says that nobody could be asked, so that the answer is no for now: 503.
	ErrUnavailable = errors.New("the decision cannot be made now")
)

// wrapped is an error that is also another one.
type wrapped struct {
	text string
	err  error
}

func (w wrapped) Error() string { return w.text }
func (w wrapped) Unwrap() error { return w.err }

// Access is what somebody may do with a document. Greater values include smaller ones.
type Access uint8

// The levels of access. Comment may read and write what a client writes as comments: awareness and stateless messages,
// but not the document.
const (
	None Access = iota
	Read
	Comment
	Write
)

// Identity is who a token speaks for. It is immutable.
type Identity struct {
	// User is the token's sub. It is empty for Open's anonymous visitors.
	User string
	// Organization is the token's org, empty when it has none.
	Organization string
	// Family is the session that the token belongs to, empty when it belongs to none.
	Family string
	// Expires is when the connections of this identity end; the zero time is never.
	Expires time.Time
}

// Access returns what the token's claims allow, which the webhook may narrow: ask Guard.Authorize.
func (i *Identity) Access(_ string) Access { return None }

// Options configure a Guard.
type Options struct{}

// Guard answers who may do what. It is safe for concurrent use.
type Guard struct{ open bool }

// New returns a guard. Close ends it.
func New(_ Options) (*Guard, error) { return nil, errors.New("not there yet") }

// Open returns a guard for a service without authentication: everybody is anonymous and may write everything, from every
// origin.
func Open() *Guard { return &Guard{open: true} }

// Close ends the guard's goroutines and waits for them.
func (g *Guard) Close() {}

// Authenticate returns whom a token speaks for.
func (g *Guard) Authenticate(_ context.Context, _ string) (*Identity, error) {
	if g.open {
		return &Identity{}, nil
	}
	return nil, ErrUnauthenticated
}

// Authorize returns what an identity may do with a document. The error is an ErrUnavailable when the webhook could not
// be asked; the access is None then.
func (g *Guard) Authorize(_ context.Context, _ *Identity, _ string) (Access, error) {
	if g.open {
		return Write, nil
	}
	return None, nil
}

// Token returns the token of a request, empty when it has none.
func (g *Guard) Token(_ *http.Request) string { return "" }

// AllowOrigin says whether a browser's page of the request's origin may talk to this service with the user's cookies.
func (g *Guard) AllowOrigin(_ *http.Request) bool { return g.open }

// Watch calls revoked, at most once, when the identity's user or session is revoked on any pod. It must not block.
func (g *Guard) Watch(_ *Identity, _ func()) (stop func()) { return func() {} }

// Handler serves /auth/.
func (g *Guard) Handler() http.Handler { return http.NotFoundHandler() }

// Middleware puts the identity of each request into its context, for IdentityFrom, and refuses requests without one.
func (g *Guard) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, err := g.Authenticate(r.Context(), g.Token(r))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, identity)))
	})
}

type identityKey struct{}

// IdentityFrom returns the identity that Middleware has put into a context, nil without one.
func IdentityFrom(ctx context.Context) *Identity {
	identity, _ := ctx.Value(identityKey{}).(*Identity)
	return identity
}
