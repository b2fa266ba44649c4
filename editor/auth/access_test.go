package auth

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPatternsGrant(t *testing.T) {
	for _, c := range []struct {
		docs     map[string]Access
		document string
		want     Access
	}{
		{nil, "acme/plan", None},
		{map[string]Access{}, "acme/plan", None},
		{map[string]Access{"plan": Write}, "acme/plan", Write},
		{map[string]Access{"plan": Write}, "other/plan", None},
		{map[string]Access{"plan": Write}, "acme/plans", None},
		{map[string]Access{"plan": Write}, "acme/Plan", None},
		{map[string]Access{"*": Read, "notes-*": Write}, "acme/plan", Read},
		{map[string]Access{"*": Read, "notes-*": Write}, "acme/notes-1", Write},
		{map[string]Access{"*": Write, "secret": None}, "acme/secret", Write},
		{map[string]Access{"other/*": Comment}, "other/plan", Comment},
		{map[string]Access{"other/*": Comment}, "acme/plan", None},
		{map[string]Access{"*/*": Read}, "any/plan", Read},
		{map[string]Access{"*": Write}, "plan", None},
		{map[string]Access{"*": Write}, "acme/plan/deeper", None},
		{map[string]Access{"a*b*c": Read}, "acme/axxbxbc", Read},
		{map[string]Access{"a*b*c": Read}, "acme/axxcxb", None},
	} {
		grants, err := parseGrants(c.docs, "acme")
		if err != nil {
			t.Fatal(err)
		}
		if got := granted(grants, c.document); got != c.want {
			t.Errorf("%v on %s: %v, want %v", c.docs, c.document, got, c.want)
		}
	}
}

func TestWrongPatternsAreRefused(t *testing.T) {
	for pattern, organization := range map[string]string{
		"": "acme", "/": "acme", "acme/": "acme", "/plan": "acme", "a/b/c": "acme", "plan": "", "pl an": "acme",
		"plan\x00": "acme", "plän": "acme", strings.Repeat("a", maxPatternBytes+1): "acme",
	} {
		if _, _, err := parsePattern(pattern, organization); err == nil {
			t.Errorf("%q is accepted", pattern)
		}
	}
	many := map[string]Access{}
	for i := range maxPatterns + 1 {
		many[strings.Repeat("a", i+1)] = Read
	}
	if _, err := parseGrants(many, "acme"); err == nil {
		t.Error("too many patterns are accepted")
	}
}

// match is what a regular expression of the same meaning says.
func TestGlobsMatchLikeRegularExpressions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		glob := rapid.StringMatching(`[ab*.]{0,8}`).Draw(t, "glob")
		name := rapid.StringMatching(`[ab.]{0,10}`).Draw(t, "name")
		expression := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(glob), `\*`, ".*") + "$")
		if got, want := match(glob, name), expression.MatchString(name); got != want {
			t.Fatalf("%q on %q: %v, want %v", glob, name, got, want)
		}
	})
}

// A further pattern never takes anything away, and nothing is granted that no pattern grants.
func TestGrantsOnlyAdd(t *testing.T) {
	pattern := rapid.StringMatching(`([ab*]{1,3}/)?[ab*]{1,4}`)
	access := rapid.SampledFrom([]Access{None, Read, Comment, Write})
	rapid.Check(t, func(t *rapid.T) {
		docs := rapid.MapOf(pattern, access).Draw(t, "docs")
		document := rapid.StringMatching(`[ab]{1,3}/[ab]{1,4}`).Draw(t, "document")
		before, err := parseGrants(docs, "a")
		if err != nil {
			t.Fatal(err)
		}
		most := None
		for _, a := range docs {
			most = max(most, a)
		}
		was := granted(before, document)
		if was > most {
			t.Fatalf("%v is granted, at most %v was given", was, most)
		}
		more, err := parseGrants(map[string]Access{pattern.Draw(t, "more"): access.Draw(t, "access")}, "a")
		if err != nil {
			t.Fatal(err)
		}
		if is := granted(append(before, more...), document); is < was {
			t.Fatalf("%v became %v", was, is)
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"*", "acme/*", "a*b*c*", "/", "a/b/c", "*/*", "\x00", "***********b"} {
		f.Add(seed, "acme/plan")
	}
	f.Fuzz(func(t *testing.T, pattern, document string) {
		grants, err := parseGrants(map[string]Access{pattern: Write}, "acme")
		if err != nil {
			return
		}
		if granted(grants, document) == Write && strings.Count(document, "/") != 1 {
			t.Fatalf("%q grants %q, which names no document", pattern, document)
		}
	})
}

func TestAccessIsReadAsItIsWritten(t *testing.T) {
	for a := None; a <= Write; a++ {
		text, err := a.MarshalText()
		var back Access
		if err != nil || back.UnmarshalText(text) != nil || back != a {
			t.Errorf("%v came back as %v, %v", a, back, err)
		}
	}
	var a Access
	if a.UnmarshalText([]byte("Write")) == nil || a.UnmarshalText(nil) == nil {
		t.Error("other words are accepted")
	}
}
