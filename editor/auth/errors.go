package auth

import (
	"errors"
	"fmt"
)

// Errors that callers decide on. None contains any part of a token.
var (
	// ErrUnauthenticated says that there is no valid token: 401, or close code 4401.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrExpired says that the token was valid once; it wraps ErrUnauthenticated.
	ErrExpired = fmt.Errorf("%w: the token has expired", ErrUnauthenticated)
	// ErrRevoked says that the token's user or session was revoked; it wraps ErrUnauthenticated.
	ErrRevoked = fmt.Errorf("%w: the session is revoked", ErrUnauthenticated)
	// ErrUnavailable says that somebody who has to decide could not be asked, so that the answer is no for now: 503, or
	// close code 1013.
	ErrUnavailable = errors.New("access cannot be decided now")
)

// Errors of Sessions.
var (
	// ErrNoSession says that there is no such session, or not anymore.
	ErrNoSession = fmt.Errorf("%w: there is no such session", ErrUnauthenticated)
	// ErrReplaced says that the refresh token was replaced a moment ago, by a token that cannot be told again because the
	// key of sessions has changed since. Of two tabs that refresh at once the other one has it.
	ErrReplaced = errors.New("the refresh token has just been replaced: use the new one")
	// ErrReused says that a replaced refresh token came back: somebody else has it, and the session is revoked.
	ErrReused = fmt.Errorf("%w: a replaced refresh token was used again", ErrRevoked)
)

// refuse says why a token is not valid.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnauthenticated, fmt.Errorf(format, args...))
}
