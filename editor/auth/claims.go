package auth

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/jwt"
)

// claims are what a token says. The application signs the first ones, this service's sessions all of them.
type claims struct {
	jwt.Claims
	Organization string            `json:"org,omitempty"`
	Docs         map[string]Access `json:"docs"` // nil: left to the webhook; empty: nothing
	Family       string            `json:"sid,omitempty"`
	Admin        bool              `json:"collab_admin,omitempty"`

	// Began is when the session began, in milliseconds. Until, in seconds, makes the token a ticket: it is what the
	// identity's connections live until, while the token itself expires sooner.
	Began int64 `json:"collab_began,omitempty"`
	Until int64 `json:"collab_until,omitempty"`
}

// maxNameBytes bounds users, organizations and families.
const maxNameBytes = 256

// rules are what is asked of the claims of a source of tokens.
type rules struct {
	issuer, audience    string // empty: not asked for
	leeway, maxLifetime time.Duration
	session             bool // the tokens are those of our own sessions
}

// identify checks claims whose signature is verified and returns whom they speak for. It is pure.
func (r rules) identify(c claims, now time.Time) (*Identity, error) {
	switch {
	case r.issuer != "" && c.Issuer != r.issuer:
		return nil, refuse("the token has another issuer")
	case r.audience != "" && !c.Audience.Contains(r.audience):
		return nil, refuse("the token is for another audience")
	case c.Expiry == nil:
		return nil, refuse("the token has no exp")
	case c.NotBefore != nil && now.Add(r.leeway).Before(c.NotBefore.Time()):
		return nil, refuse("the token is not valid yet")
	case c.IssuedAt != nil && now.Add(r.leeway).Before(c.IssuedAt.Time()):
		return nil, refuse("the token was issued in the future: the clocks differ")
	case !now.Before(c.Expiry.Time().Add(r.leeway)):
		return nil, ErrExpired
	case c.Expiry.Time().After(now.Add(r.maxLifetime + r.leeway)):
		return nil, refuse("the token lives longer than the %v that are allowed", r.maxLifetime)
	case !validName(c.Subject):
		return nil, refuse("the token's sub must have 1 to %d printable bytes", maxNameBytes)
	case c.Family != "" && !validName(c.Family):
		return nil, refuse("the token's sid must have at most %d printable bytes", maxNameBytes)
	case c.Organization != "" && (len(c.Organization) > maxNameBytes ||
		strings.ContainsFunc(c.Organization, func(r rune) bool { return !nameRune(r) })):
		return nil, refuse("the token's org must be the name of an organization")
	case r.session && (c.Family == "" || c.Began == 0):
		return nil, refuse("the token belongs to no session")
	}
	grants, err := parseGrants(c.Docs, c.Organization)
	if err != nil {
		return nil, refuse("%w", err)
	}
	identity := &Identity{
		User: c.Subject, Organization: c.Organization, Family: c.Family,
		Expires: c.Expiry.Time().Add(r.leeway), issued: c.IssuedAt.Time(),
		grants: grants, docs: c.Docs, scoped: c.Docs != nil,
	}
	if !r.session {
		identity.Admin = c.Admin
		return identity, nil
	}
	identity.began = time.UnixMilli(c.Began)
	if c.Until != 0 {
		identity.ticket, identity.Expires = true, time.Unix(c.Until, 0).Add(r.leeway)
	}
	return identity, nil
}

// validName says whether a text can be a user or a family: it is printed in logs and written into Redis.
func validName(s string) bool {
	return s != "" && len(s) <= maxNameBytes && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
