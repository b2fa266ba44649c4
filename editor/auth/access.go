package auth

import (
	"errors"
	"fmt"
	"strings"
)

// Access is what somebody may do with a document. Greater values include smaller ones.
type Access uint8

// The levels of access. Comment reads, takes part in awareness and sends stateless messages, by which applications
// comment, but does not change the document.
const (
	None Access = iota
	Read
	Comment
	Write
)

var accessNames = [...]string{None: "none", Read: "read", Comment: "comment", Write: "write"}

// String returns the level as claims and the webhook write it.
func (a Access) String() string {
	if int(a) < len(accessNames) {
		return accessNames[a]
	}
	return fmt.Sprintf("access %d", a)
}

// errAccess is what UnmarshalText says of other words.
var errAccess = errors.New("the access must be none, read, comment or write")

// UnmarshalText reads what String returns.
func (a *Access) UnmarshalText(text []byte) error {
	for i, name := range accessNames {
		if string(text) == name {
			*a = Access(i)
			return nil
		}
	}
	return errAccess
}

// MarshalText writes what String returns.
func (a Access) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Bounds of the docs claim.
const (
	maxPatterns     = 256
	maxPatternBytes = 256
)

// grant is one entry of the docs claim.
type grant struct {
	organization, document string // globs
	access                 Access
}

// parsePattern reads a pattern of documents: organization/document, or document alone for one in the token's own
// organization. A * stands for any characters but the slash.
func parsePattern(pattern, organization string) (org, document string, err error) {
	if len(pattern) > maxPatternBytes {
		return "", "", fmt.Errorf("a pattern has more than %d bytes", maxPatternBytes)
	}
	org, document, found := strings.Cut(pattern, "/")
	switch {
	case !found && organization == "":
		return "", "", errors.New("a pattern without an organization needs the claim org")
	case !found:
		org, document = organization, pattern
	}
	for _, part := range []string{org, document} {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool { return !nameRune(r) && r != '*' }) {
			return "", "", errors.New("a pattern must be organization/document or document, of letters, digits, . _ ~ - and *")
		}
	}
	return org, document, nil
}

// nameRune says whether names of organizations and documents have such characters.
func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._~-", r)
}

// parseGrants reads the docs claim.
func parseGrants(docs map[string]Access, organization string) ([]grant, error) {
	if len(docs) > maxPatterns {
		return nil, fmt.Errorf("the claim docs has more than %d patterns", maxPatterns)
	}
	grants := make([]grant, 0, len(docs))
	for pattern, access := range docs {
		org, document, err := parsePattern(pattern, organization)
		if err != nil {
			return nil, fmt.Errorf("the claim docs: %w", err)
		}
		grants = append(grants, grant{organization: org, document: document, access: access})
	}
	return grants, nil
}

// granted returns the most that the grants allow.
func granted(grants []grant, document string) Access {
	org, name, found := strings.Cut(document, "/")
	if !found || strings.Contains(name, "/") {
		return None
	}
	most := None
	for _, g := range grants {
		if g.access > most && match(g.organization, org) && match(g.document, name) {
			most = g.access
		}
	}
	return most
}

// match says whether a glob matches all of a name, in time linear in their product at worst.
func match(glob, name string) bool {
	g, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, n
			g++
		case g < len(glob) && glob[g] == name[n]:
			g++
			n++
		case star >= 0: // Let the last star take one more.
			mark++
			g, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
