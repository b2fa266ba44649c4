package auth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// accepted are all algorithms that any key here may have. Each key has one of them, and only that.
var accepted = []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.EdDSA}

// source is a place that tokens come from: the application, or our own sessions.
type source struct {
	rules
	// byAlgorithm are the keys that may have signed a token of an algorithm. A secret is only ever looked up for HS256, a
	// public key never is.
	byAlgorithm map[jose.SignatureAlgorithm]keySource
}

// verifier verifies tokens. It is immutable.
type verifier struct {
	maxBytes    int
	application source
	session     *source // nil without sessions
}

// verify returns whom a token speaks for.
func (v *verifier) verify(ctx context.Context, token string, now time.Time) (*Identity, error) {
	switch {
	case token == "":
		return nil, refuse("there is no token")
	case len(token) > v.maxBytes:
		return nil, refuse("the token has more than %d bytes", v.maxBytes)
	case strings.Count(token, ".") != 2:
		return nil, refuse("the token is no JWT")
	}
	parsed, err := jwt.ParseSigned(token, accepted)
	if err != nil || len(parsed.Headers) != 1 {
		return nil, refuse("the token is no JWT of an algorithm that is accepted")
	}
	// Whose keys to try is the unverified issuer's choice; the issuer is checked again once the signature is.
	var hint struct {
		Issuer string `json:"iss"`
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&hint); err != nil {
		return nil, refuse("the token's claims are malformed")
	}
	from := &v.application
	if v.session != nil && hint.Issuer == v.session.issuer {
		from = v.session
	}
	return from.verify(ctx, parsed, now)
}

func (s *source) verify(ctx context.Context, token *jwt.JSONWebToken, now time.Time) (*Identity, error) {
	header := token.Headers[0]
	algorithm := jose.SignatureAlgorithm(header.Algorithm)
	from := s.byAlgorithm[algorithm]
	if from == nil {
		return nil, refuse("tokens of this algorithm are not accepted")
	}
	keys, err := from.keys(ctx, header.KeyID, algorithm)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.algorithm != algorithm {
			continue
		}
		var c claims
		switch err := token.Claims(k.verify, &c); {
		case err == nil:
			return s.identify(c, now)
		case errors.Is(err, errAccess):
			return nil, refuse("the claim docs: %w", errAccess)
		case !errors.Is(err, jose.ErrCryptoFailure):
			return nil, refuse("the token's claims are malformed")
		}
	}
	return nil, refuse("no key that is known has signed the token")
}
