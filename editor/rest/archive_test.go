package rest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/rest"
)

func TestWhatIsExportedCanBeImported(t *testing.T) {
	s := start(t, false)
	s.edit("acme/paper", paper)
	s.do("POST", "/documents", `{"name":"acme/notes","title":"Notes","metadata":{"a":"b"}}`).want(http.StatusCreated)
	history(t, s, "one", "two")
	s.do("POST", "/documents", `{"name":"acme/empty"}`).want(http.StatusCreated)
	s.do("POST", "/documents", `{"name":"acme/gone"}`).want(http.StatusCreated)
	s.do("DELETE", "/documents/acme/gone", "").want(http.StatusNoContent)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var d rest.Document
		if a := s.do("GET", "/documents/acme/paper", ""); a.status == http.StatusOK {
			if a.into(&d); d.LastOperation > 0 {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the paper is not stored")
		}
	}

	export := s.do("GET", "/organizations/acme/export", "").want(http.StatusOK)
	if export.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("Content-Type is %q", export.header.Get("Content-Type"))
	}
	exported := lines[rest.Archived](t, export.body)
	if n := len(exported); n != 4 || exported[n-1].End == nil || exported[n-1].End.Documents != 3 {
		t.Fatalf("exported %+v", exported)
	}
	for _, again := range []string{"created", "merged"} {
		imported := lines[rest.Imported](t, s.do("POST", "/organizations/beta/import", export.body).want(http.StatusOK).body)
		if n := len(imported); n != 4 || imported[n-1].End == nil || *imported[n-1].End != (rest.Summary{Documents: 3}) {
			t.Fatalf("imported %+v", imported)
		}
		for _, one := range imported[:3] {
			if one.Result != again {
				t.Errorf("imported %+v", one)
			}
		}
	}
	for _, name := range []string{"paper", "notes", "empty"} {
		content := func(org string) string {
			return s.do("GET", "/documents/"+org+"/"+name+"/content", "").want(http.StatusOK).body
		}
		if content("acme") != content("beta") {
			t.Errorf("%s: %s and %s", name, content("acme"), content("beta"))
		}
	}
	var d rest.Document
	s.do("GET", "/documents/beta/notes", "").want(http.StatusOK).into(&d)
	if d.Title != "Notes" || d.Metadata["a"] != "b" {
		t.Errorf("imported as %+v", d)
	}
}

func TestALineThatIsWrongDoesNotStopAnImport(t *testing.T) {
	s := start(t, true).as("ada", map[string]string{"acme/open-*": "write"})
	imported := lines[rest.Imported](t, s.do("POST", "/organizations/acme/import", strings.Join([]string{
		`{"document":"open-a"}`, `no JSON`, `{"document":"open-b","update":"/////w=="}`, `{"document":"../c"}`, ``,
		`{"document":"closed"}`, `{"document":"open-d","color":"red"}`, `{"document":"open-e"} {}`, `{"document":"open-f"}`,
	}, "\n"), "Content-Type", "application/x-ndjson").want(http.StatusOK).body)
	var results []string
	for _, one := range imported {
		results = append(results, one.Document+":"+one.Result)
		if one.Result == "failed" && one.Detail == "" {
			t.Errorf("it does not say why: %+v", one)
		}
	}
	const want = "open-a:created :failed open-b:failed :failed closed:failed :failed :failed open-f:created :failed :"
	if got := strings.Join(results, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if last := imported[len(imported)-1].End; last == nil || *last != (rest.Summary{Documents: 8, Failed: 7}) {
		t.Errorf("summed up as %+v", last)
	}
	long := lines[rest.Imported](t, s.do("POST", "/organizations/acme/import",
		`{"document":"open-g","title":"`+strings.Repeat("x", 2*maxDocument)+`"}`).want(http.StatusOK).body)
	if len(long) != 2 || long[0].Result != "failed" || !strings.Contains(long[0].Detail, "longer") {
		t.Errorf("a line that is too long: %+v", long)
	}
}

func TestAnImportIsAnsweredLineByLine(t *testing.T) {
	s := start(t, false)
	in, feed := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/organizations/acme/import", in)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = fmt.Fprintln(feed, `{"document":"a"}`) }()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answers := bufio.NewScanner(response.Body)
	for i, line := range []string{`{"document":"b"}`, `{"end":{"documents":2,"failed":0}}`} {
		if !answers.Scan() || !strings.Contains(answers.Text(), `"created"`) {
			t.Fatalf("answer %d: %s", i, answers.Text())
		}
		if _, err := fmt.Fprintln(feed, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if !answers.Scan() || answers.Text() != `{"end":{"documents":2,"failed":0}}` {
		t.Fatalf("at the end: %s", answers.Text())
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	guarded := start(t, true)
	admin := guarded.as("admin", map[string]string{"acme/*": "write", "beta/*": "write"})
	for _, name := range []string{"open", "shown", "secret"} {
		admin.do("POST", "/documents", `{"name":"acme/`+name+`"}`).want(http.StatusCreated)
		admin.do("PUT", "/documents/acme/"+name+"/content/text", name).want(http.StatusNoContent)
	}
	ada := guarded.as("ada", map[string]string{"acme/open": "write", "acme/shown": "read"})
	requests := map[string][2]string{
		"read":    {"GET", "/content"},
		"history": {"GET", "/history"}, "versions": {"GET", "/versions"}, "describe": {"GET", ""},
		"write": {"PUT", "/content/text"}, "update": {"POST", "/updates"}, "restore version": {"POST", "/versions/1/restore"},
		"restore": {"POST", "/restore"}, "delete": {"DELETE", ""},
	}
	reading := map[string]bool{"read": true, "history": true, "versions": true, "describe": true}
	for what, r := range requests {
		for name, may := range map[string]bool{"shown": reading[what], "secret": false} {
			status := ada.do(r[0], "/documents/acme/"+name+r[1], "x").status
			if (status == http.StatusForbidden) == may {
				t.Errorf("%s %s: status %d", what, name, status)
			}
		}
		if status := guarded.do(r[0], "/documents/acme/open"+r[1], "").want(http.StatusUnauthorized).status; status != 401 {
			t.Errorf("%s without a token: status %d", what, status)
		}
	}
	// What is too large for her to read is refused unread.
	ada.do("POST", "/documents/acme/secret/updates", strings.Repeat("x", 4*maxDocument), "Expect", "100-continue").
		want(http.StatusForbidden)
	ada.do("PATCH", "/documents/acme/shown", `{"title":"x"}`).want(http.StatusForbidden)
	ada.do("POST", "/documents/acme/shown/versions", `{"name":"x"}`).want(http.StatusForbidden)
	ada.do("GET", "/documents/acme/secret/diff?from=0", "").want(http.StatusForbidden)
	ada.do("DELETE", "/documents/acme/shown?purge=true", "").want(http.StatusForbidden)
	ada.do("POST", "/documents/acme/secret/copy", `{"name":"acme/open2"}`).want(http.StatusForbidden)
	ada.do("POST", "/documents/acme/shown/copy", `{"name":"acme/other"}`).want(http.StatusForbidden)
	ada.do("POST", "/documents", `{"name":"acme/other"}`).want(http.StatusForbidden)
	var page struct{ Documents []rest.Document }
	ada.do("GET", "/documents?organization=acme", "").want(http.StatusOK).into(&page)
	if len(page.Documents) != 2 || page.Documents[0].Name != "acme/open" || page.Documents[1].Name != "acme/shown" {
		t.Errorf("she sees %+v", page.Documents)
	}
	exported := lines[rest.Archived](t, ada.do("GET", "/organizations/acme/export", "").want(http.StatusOK).body)
	if len(exported) != 3 || exported[2].End == nil {
		t.Errorf("she exports %+v", exported)
	}
}

func FuzzImport(f *testing.F) {
	doc := crdt.NewDoc(crdt.Options{})
	update, err := doc.Edit(nil, func() error { return doc.Text("t").Insert(0, "x") })
	if err != nil {
		f.Fatal(err)
	}
	line, err := json.Marshal(rest.Archived{Document: "a", Title: "A", Metadata: map[string]string{"k": "v"}, Update: update})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte(`{"end":{"documents":1,"failed":0}}`))
	f.Add([]byte(`{"document":"a","update":"AAAA"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		parsed, err := rest.ParseArchived(line)
		if err != nil {
			return
		}
		again, err := json.Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rest.ParseArchived(again); err != nil {
			t.Fatalf("%s is taken and %s is not: %v", line, again, err)
		}
	})
}
