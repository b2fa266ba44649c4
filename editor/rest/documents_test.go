package rest_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/rest"
)

func TestADocumentIsCreatedDescribedRenamedDeletedAndRestored(t *testing.T) {
	s := start(t, false)
	made := s.do("POST", "/documents", `{"name":"acme/notes","title":"Notes","metadata":{"team":"a"}}`).want(http.StatusCreated)
	if made.header.Get("Location") != rest.Prefix+"/documents/acme/notes" || made.header.Get("ETag") != `"1"` {
		t.Errorf("Location %q, ETag %q", made.header.Get("Location"), made.header.Get("ETag"))
	}
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusConflict)
	var d rest.Document
	s.do("GET", "/documents/acme/notes", "").want(http.StatusOK).into(&d)
	if d.Name != "acme/notes" || d.Title != "Notes" || d.Metadata["team"] != "a" || d.Version != 1 || d.Created.IsZero() {
		t.Errorf("described as %+v", d)
	}
	changed := s.do("PATCH", "/documents/acme/notes", `{"title":"More","metadata":{"team":null,"color":"red"}}`,
		"If-Match", `"1"`).want(http.StatusOK)
	d = rest.Document{}
	changed.into(&d)
	if _, there := d.Metadata["team"]; d.Title != "More" || there || d.Metadata["color"] != "red" || d.Version != 2 {
		t.Errorf("changed to %+v", d)
	}
	s.do("PATCH", "/documents/acme/notes", `{"title":"Late"}`, "If-Match", `"1"`).want(http.StatusPreconditionFailed)
	s.do("PATCH", "/documents/acme/notes", `{"title":"Any"}`, "If-Match", `*`).want(http.StatusOK)
	s.do("PATCH", "/documents/acme/notes", `{"title":"?"}`, "If-Match", `W/"a"`).want(http.StatusBadRequest)

	s.do("PUT", "/documents/acme/notes/content/text", "hello").want(http.StatusNoContent)
	s.do("DELETE", "/documents/acme/notes", "", "If-Match", `"1"`).want(http.StatusPreconditionFailed)
	s.do("DELETE", "/documents/acme/notes", "").want(http.StatusNoContent)
	s.do("DELETE", "/documents/acme/notes", "").want(http.StatusNotFound)
	s.do("GET", "/documents/acme/notes/content", "").want(http.StatusGone)
	s.do("PUT", "/documents/acme/notes/content/text", "again").want(http.StatusGone)
	s.do("GET", "/documents/acme/notes", "").want(http.StatusOK).into(&d)
	if d.Deleted == nil {
		t.Error("it is not said to be deleted")
	}
	s.do("POST", "/documents/acme/notes/restore", "").want(http.StatusOK)
	if got := s.text("acme/notes"); got != "hello" {
		t.Errorf("after the restore it says %q", got)
	}
	s.do("DELETE", "/documents/acme/notes?purge=true", "").want(http.StatusNoContent)
	s.do("GET", "/documents/acme/notes", "").want(http.StatusNotFound)
	s.do("POST", "/documents/acme/notes/restore", "").want(http.StatusNotFound)
	s.do("GET", "/documents/acme/notes/content", "").want(http.StatusNotFound)
	s.do("DELETE", "/documents/acme/notes?purge=true", "").want(http.StatusNotFound)
	purged := s.do("PUT", "/documents/acme/notes/content/text", "again").want(http.StatusGone)
	if !strings.Contains(purged.body, "problem:purged") {
		t.Errorf("it is said that %s", purged.body)
	}
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	s.do("PUT", "/documents/acme/notes/content/text", "again").want(http.StatusNoContent)
}

func TestADeletedDocumentCanBePurged(t *testing.T) {
	s := start(t, false)
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	s.do("DELETE", "/documents/acme/notes", "").want(http.StatusNoContent)
	s.do("DELETE", "/documents/acme/notes?purge=true", "").want(http.StatusNoContent)
	s.do("GET", "/documents/acme/notes", "").want(http.StatusNotFound)
}

func TestWhoHasADocumentOpenLeavesWhenItIsDeleted(t *testing.T) {
	s := start(t, false)
	s.edit("acme/notes", func(doc *crdt.Doc) error { return doc.Text("default").Insert(0, "x") })
	session, err := s.clients.Open("acme/notes", "test", "ada")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.State(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It does not matter whether the catalogue knows it already.
	s.do("DELETE", "/documents/acme/notes", "").want(http.StatusNoContent)
	if _, err := session.State(t.Context()); !errors.Is(err, edge.ErrDeleted) {
		t.Errorf("who has it open sees %v", err)
	}
}

func TestDocumentsAreListedPageByPage(t *testing.T) {
	s := start(t, false)
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("acme/d%d", i))
		s.do("POST", "/documents", fmt.Sprintf(`{"name":"acme/d%d"}`, i)).want(http.StatusCreated)
	}
	s.do("POST", "/documents", `{"name":"other/d"}`).want(http.StatusCreated)
	s.do("DELETE", "/documents/acme/d3", "").want(http.StatusNoContent)
	list := func(query string) (got []string) {
		for after := ""; ; {
			var page struct {
				Documents []rest.Document
				Next      string
			}
			s.do("GET", "/documents?organization=acme&limit=2"+query+after, "").want(http.StatusOK).into(&page)
			for _, d := range page.Documents {
				got = append(got, d.Name)
			}
			if page.Next == "" {
				return got
			}
			after = "&after=" + page.Next
		}
	}
	if got := list(""); !slices.Equal(got, slices.Delete(slices.Clone(want), 3, 4)) {
		t.Errorf("listed %v", got)
	}
	if got := list("&deleted=true"); !slices.Equal(got, []string{"acme/d3"}) {
		t.Errorf("listed as deleted: %v", got)
	}
}

func TestACopyHasTheContentAndALifeOfItsOwn(t *testing.T) {
	s := start(t, false)
	s.do("POST", "/documents", `{"name":"acme/notes","title":"Notes"}`).want(http.StatusCreated)
	s.do("PUT", "/documents/acme/notes/content/text", "hello").want(http.StatusNoContent)
	var d rest.Document
	s.do("POST", "/documents/acme/notes/copy", `{"name":"acme/copy"}`).want(http.StatusCreated).into(&d)
	if d.Name != "acme/copy" || d.Title != "Notes" {
		t.Errorf("the copy is %+v", d)
	}
	s.do("POST", "/documents/acme/notes/copy", `{"name":"acme/copy"}`).want(http.StatusConflict)
	s.do("POST", "/documents/acme/nothing/copy", `{"name":"acme/other"}`).want(http.StatusNotFound)
	s.do("PUT", "/documents/acme/copy/content/text", "hello copy").want(http.StatusNoContent)
	if original, copied := s.text("acme/notes"), s.text("acme/copy"); original != "hello" || copied != "hello copy" {
		t.Errorf("%q and %q", original, copied)
	}
}

func TestOneOfSeveralChangesOfTheSameVersionWins(t *testing.T) {
	s := start(t, false)
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	var wait sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		wait.Go(func() {
			statuses[i] = s.do("PATCH", "/documents/acme/notes", fmt.Sprintf(`{"title":"%d"}`, i), "If-Match", `"1"`).status
		})
	}
	wait.Wait()
	slices.Sort(statuses)
	if statuses[0] != http.StatusOK || statuses[1] != http.StatusPreconditionFailed || statuses[7] != http.StatusPreconditionFailed {
		t.Errorf("the statuses are %v", statuses)
	}
}

func TestWhatIsNotAskedForProperlyIsExplained(t *testing.T) {
	s := start(t, false)
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"nothing there":            {"GET", "/nowhere", "", 404},
		"another method":           {"PUT", "/documents/acme/notes", "{}", 405},
		"a name without an org":    {"POST", "/documents", `{"name":"notes"}`, 422},
		"a name that is too long":  {"GET", "/documents/acme/" + strings.Repeat("a", 129), "", 422},
		"a name that is a path":    {"GET", "/documents/acme/..%2Fother", "", 422},
		"an unknown field":         {"POST", "/documents", `{"name":"acme/a","owner":"me"}`, 422},
		"no JSON":                  {"POST", "/documents", `{"name":`, 400},
		"an unknown parameter":     {"GET", "/documents?organization=acme&color=red", "", 422},
		"no organization":          {"GET", "/documents", "", 422},
		"too many at once":         {"GET", "/documents?organization=acme&limit=100000", "", 422},
		"a page of another org":    {"GET", "/documents?organization=acme&after=other/x", "", 422},
		"an unknown format":        {"GET", "/documents/acme/notes/content?format=docx", "", 422},
		"too much metadata":        {"PATCH", "/documents/acme/notes", `{"metadata":{"a":"` + strings.Repeat("x", 20000) + `"}}`, 422},
		"a body that is too large": {"POST", "/documents", `{"name":"acme/a","title":"` + strings.Repeat("x", 70000) + `"}`, 413},
		"an update that is none":   {"POST", "/documents/acme/notes/updates", "no update", 422},
		"an update that is too large": {
			"POST", "/documents/acme/notes/updates", strings.Repeat("x", maxDocument+1), 413},
		"text that is none":    {"PUT", "/documents/acme/notes/content/text", "\xff\xfe", 422},
		"a version of nothing": {"GET", "/documents/acme/notes/versions/7", "", 404},
		"version zero":         {"GET", "/documents/acme/notes/versions/0", "", 422},
		"to name nothing":      {"POST", "/documents/acme/notes/versions", `{"name":"v1"}`, 409},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			s.do(c.method, c.path, c.body).want(c.status)
		})
	}
}

func TestTheServiceDescribesItself(t *testing.T) {
	s := start(t, true)
	var description struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]any
	}
	s.do("GET", "/openapi.json", "").want(http.StatusOK).into(&description)
	if description.OpenAPI != "3.1.0" || len(description.Paths) < 15 {
		t.Errorf("OpenAPI %s with %d paths", description.OpenAPI, len(description.Paths))
	}
	s.do("GET", "/health", "").want(http.StatusOK)
	s.do("GET", "/ready", "").want(http.StatusOK)
	s.clients.StopAccepting()
	if a := s.do("GET", "/ready", "").want(http.StatusServiceUnavailable); a.header.Get("Retry-After") == "" {
		t.Error("it does not say when to come back")
	}
}

func TestPagesOfOtherSitesChangeNothing(t *testing.T) {
	s := start(t, false)
	s.do("POST", "/documents", `{"name":"acme/notes"}`, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site").
		want(http.StatusForbidden)
	s.do("POST", "/documents", `{"name":"acme/notes"}`, "Sec-Fetch-Site", "same-origin").want(http.StatusCreated)
}
