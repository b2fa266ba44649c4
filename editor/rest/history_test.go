package rest_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/rest"
)

// history is a document that said one thing after the other; the numbers are of the operations that made it so.
func history(t *testing.T, s *service, texts ...string) {
	t.Helper()
	for _, text := range texts {
		s.do("PUT", "/documents/acme/notes/content/text", text).want(http.StatusNoContent)
	}
	s.stored(int64(len(texts)))
}

// stored waits until the catalogue knows an operation.
func (s *service) stored(seq int64) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var d rest.Document
		if a := s.do("GET", "/documents/acme/notes", ""); a.status == http.StatusOK {
			if a.into(&d); d.LastOperation >= seq {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("operation %d is not stored", seq)
		}
	}
}

func TestTheHistoryTellsWhoChangedWhatWhen(t *testing.T) {
	s := start(t, true).as("ada", map[string]string{"acme/*": "write"})
	history(t, s, "one", "one two", "one two three")
	var page struct {
		Operations []rest.Operation
		Next       int64
	}
	s.do("GET", "/documents/acme/notes/history?limit=2", "").want(http.StatusOK).into(&page)
	if len(page.Operations) != 2 || page.Operations[0].Seq != 3 || page.Operations[0].User != "ada" ||
		page.Operations[0].Origin != "rest" || page.Operations[0].Time.IsZero() || page.Next != 2 {
		t.Errorf("got %+v", page)
	}
	page.Next = 0
	s.do("GET", "/documents/acme/notes/history?limit=2&before=2", "").want(http.StatusOK).into(&page)
	if len(page.Operations) != 1 || page.Operations[0].Seq != 1 || page.Next != 0 {
		t.Errorf("got %+v", page)
	}
	s.do("GET", "/documents/acme/nothing/history", "").want(http.StatusNotFound)
}

func TestOldVersionsAreReadAndCompared(t *testing.T) {
	s := start(t, false)
	history(t, s, "one\ntwo\n", "one\n2\n")
	read := func(seq int) string {
		return s.do("GET", "/documents/acme/notes/versions/"+strconv.Itoa(seq)+"?format=text", "").want(http.StatusOK).body
	}
	if read(1) != "one\ntwo\n" || read(2) != "one\n2\n" {
		t.Errorf("%q, then %q", read(1), read(2))
	}
	s.do("GET", "/documents/acme/notes/versions/3", "").want(http.StatusNotFound)
	diff := s.do("GET", "/documents/acme/notes/diff?from=1&to=2", "").want(http.StatusOK)
	if !strings.Contains(diff.body, "-two\n+2\n") || diff.header.Get("Content-Type") != "text/x-diff; charset=utf-8" {
		t.Errorf("the difference: %s", diff.body)
	}
	if got := s.do("GET", "/documents/acme/notes/diff?from=0", "").want(http.StatusOK).body; !strings.Contains(got, "+one\n+2\n") {
		t.Errorf("the difference to nothing: %s", got)
	}
	if got := s.do("GET", "/documents/acme/notes/diff?from=2", "").want(http.StatusOK).body; got != "" {
		t.Errorf("the difference to itself: %s", got)
	}
	s.do("GET", "/documents/acme/notes/diff?from=1&to=9", "").want(http.StatusNotFound)
}

func TestVersionsGetNames(t *testing.T) {
	s := start(t, true).as("ada", map[string]string{"acme/*": "write"})
	history(t, s, "one", "two")
	var v rest.Version
	named := s.do("POST", "/documents/acme/notes/versions", `{"name":"latest"}`).want(http.StatusCreated)
	named.into(&v)
	if v.Seq != 2 || v.Name != "latest" || v.User != "ada" || named.header.Get("Location") != rest.Prefix+"/documents/acme/notes/versions/2" {
		t.Errorf("named %+v at %s", v, named.header.Get("Location"))
	}
	s.do("POST", "/documents/acme/notes/versions", `{"name":"first","seq":1}`).want(http.StatusCreated)
	s.do("POST", "/documents/acme/notes/versions", `{"name":"none","seq":9}`).want(http.StatusNotFound)
	s.do("POST", "/documents/acme/notes/versions", `{"name":""}`).want(http.StatusUnprocessableEntity)
	var page struct{ Versions []rest.Version }
	s.do("GET", "/documents/acme/notes/versions", "").want(http.StatusOK).into(&page)
	if len(page.Versions) != 2 || page.Versions[0].Name != "latest" || page.Versions[1].Name != "first" {
		t.Errorf("listed %+v", page.Versions)
	}
}

func TestARestoredVersionIsANewOperation(t *testing.T) {
	s := start(t, false)
	history(t, s, "one two", "one 2", "one 2 three")
	// Somebody who has it open sees an edit, and goes on.
	session, err := s.clients.Open("acme/notes", "test", "bob")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	state, err := session.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.do("POST", "/documents/acme/notes/versions/1/restore", "").want(http.StatusNoContent)
	if got := s.text("acme/notes"); got != "one two" {
		t.Errorf("it says %q", got)
	}
	doc := crdt.NewDoc(crdt.Options{})
	if err := doc.ApplyUpdate(state, nil); err != nil {
		t.Fatal(err)
	}
	update, err := doc.Edit(nil, func() error { return doc.Text("default").Insert(0, "zero ") })
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Apply(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	if got := s.text("acme/notes"); got != "zero one two" {
		t.Errorf("then it says %q", got)
	}
	s.stored(5)
	if got := s.do("GET", "/documents/acme/notes/versions/3?format=text", "").want(http.StatusOK).body; got != "one 2 three" {
		t.Errorf("the version before says %q", got)
	}
	s.do("POST", "/documents/acme/notes/versions/99/restore", "").want(http.StatusNotFound)
}
