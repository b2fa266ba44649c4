package rest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/ratelimit"
	"collab.dev/operator/editor/rest"
	"collab.dev/operator/editor/storage"
)

// few allows as many operations, and no more for a long time.
func few(burst int) *ratelimit.Limiter {
	return ratelimit.New(ratelimit.Limits{
		UserOperations: ratelimit.Rate{PerSecond: 0.001, Burst: burst}, MaxWait: time.Millisecond,
	})
}

func TestEveryRequestCountsAgainstTheRates(t *testing.T) {
	s := prepare(t, true, func(_ *auth.Options, o *rest.Options) { o.Limiter = few(1) })
	s.own()
	s.edit("acme/notes", func(doc *crdt.Doc) error { return doc.Text("default").Insert(0, "hello") })
	const one = "/documents/acme/notes"
	for i, r := range [][3]string{
		{"GET", "/documents?organization=acme"}, {"POST", "/documents", `{"name":"acme/more"}`}, {"GET", one}, {"GET", one + "/content"},
		{"PATCH", one, `{"title":"x"}`}, {"PUT", one + "/content/text", "x"}, {"POST", one + "/updates", "x"},
		{"GET", one + "/history"}, {"GET", one + "/versions"}, {"POST", one + "/versions", `{"name":"x"}`},
		{"GET", one + "/versions/1"}, {"GET", one + "/diff?from=0"}, {"POST", one + "/versions/1/restore"},
		{"POST", one + "/copy", `{"name":"acme/copy"}`}, {"GET", "/organizations/acme/export"},
		{"POST", "/organizations/acme/import"}, {"DELETE", one}, {"POST", one + "/restore"},
	} {
		somebody := s.as(fmt.Sprintf("user-%d", i), map[string]string{"acme/*": "write"})
		if a := somebody.do(r[0], r[1], r[2]); a.status == http.StatusTooManyRequests {
			t.Errorf("%s %s: the first one is too much", r[0], r[1])
		}
		if a := somebody.do(r[0], r[1], r[2]); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: answered %d %v", r[0], r[1], a.status, a.header)
		}
	}
}

func TestNobodyIsUnlimitedByBeingAnonymous(t *testing.T) {
	s := prepare(t, false, func(_ *auth.Options, o *rest.Options) { o.Limiter = few(2) })
	s.own()
	for range 2 {
		s.do("GET", "/documents?organization=acme", "").want(http.StatusOK)
	}
	s.do("GET", "/documents?organization=acme", "").want(http.StatusTooManyRequests)
	s.do("GET", "/documents?organization=other", "").want(http.StatusTooManyRequests)
	for range 5 {
		s.do("GET", "/health", "").want(http.StatusOK)
		s.do("GET", "/ready", "").want(http.StatusOK)
	}
}

func TestNobodyHasMoreThanAQuarterOfThePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := rest.New(rest.Options{})
		var busy []func()
		for range rest.Parallel / 4 {
			done, err := api.Work(t.Context(), "ada")
			if err != nil {
				t.Fatal(err)
			}
			busy = append(busy, done)
		}
		var refused interface{ GetStatus() int }
		if _, err := api.Work(t.Context(), "ada"); !errors.As(err, &refused) || refused.GetStatus() != http.StatusServiceUnavailable {
			t.Errorf("the next one: %v", err)
		}
		if done, err := api.Work(t.Context(), "bob"); err != nil {
			t.Errorf("another user: %v", err)
		} else {
			done()
		}
		for _, done := range busy {
			time.AfterFunc(time.Second, done)
			if _, err := api.Work(t.Context(), "ada"); err != nil {
				t.Errorf("when one is done: %v", err)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if _, err := api.Work(ctx, "ada"); !errors.Is(err, context.Canceled) {
			t.Errorf("who has left: %v", err)
		}
	})
}

func TestWhoMayWriteNothingImportsNothing(t *testing.T) {
	s := start(t, true)
	for name, docs := range map[string]map[string]string{
		"reads": {"acme/*": "read"}, "writes elsewhere": {"other/*": "write"}, "nothing": {},
	} {
		body, unsent := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/organizations/acme/import", body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Expect", "100-continue")
		request.Header.Set("Authorization", "Bearer "+s.as("ada", docs).token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _ = response.Body.Close(); response.StatusCode != http.StatusForbidden {
			t.Errorf("who %s: %s", name, response.Status)
		}
		_ = unsent.Close()
	}
	// What may not be written is not even looked at.
	imported := lines[rest.Imported](t, s.as("ada", map[string]string{"acme/open": "write"}).
		do("POST", "/organizations/acme/import", `{"document":"closed","update":"/////w==","color":"red"}`).want(http.StatusOK).body)
	if !strings.Contains(imported[0].Detail, "permission") {
		t.Errorf("answered %+v", imported)
	}
}

func TestWhereTheApplicationDecidesItIsAskedAboutEachDocument(t *testing.T) {
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		access := "none"
		if bytes.Contains(body, []byte("acme/open")) {
			access = "write"
		}
		_, _ = io.WriteString(w, `{"access":"`+access+`"}`)
	}))
	defer application.Close()
	s := prepare(t, true, func(o *auth.Options, _ *rest.Options) {
		o.Webhook = &auth.WebhookOptions{URL: application.URL, SecretFile: webhookSecret(t)}
	})
	s.own()
	s = s.as("ada", nil)
	imported := lines[rest.Imported](t, s.do("POST", "/organizations/acme/import",
		`{"document":"open"}`+"\n"+`{"document":"closed"}`).want(http.StatusOK).body)
	if imported[0].Result != "created" || imported[1].Result != "failed" {
		t.Errorf("answered %+v", imported)
	}
}

func webhookSecret(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "webhook")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOnlySoManyImportsComeInAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := rest.New(rest.Options{Logger: slog.New(slog.DiscardHandler)})
		begin := func(user int, body io.Reader) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, rest.Prefix+"/organizations/acme/import", body)
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1234", user)
			api.ServeHTTP(w, r)
			return w
		}
		var wait sync.WaitGroup
		var bodies []*io.PipeWriter
		hold := func(user int) {
			body, unsent := io.Pipe()
			bodies = append(bodies, unsent)
			wait.Go(func() { begin(user, body) })
			synctest.Wait()
		}
		hold(0)
		if w := begin(0, strings.NewReader("")); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("a second one of the same user: %d %s", w.Code, w.Body)
		}
		for user := 1; user < rest.Imports; user++ {
			hold(user)
		}
		if w := begin(rest.Imports, strings.NewReader("")); w.Code != http.StatusServiceUnavailable {
			t.Errorf("one too many: %d %s", w.Code, w.Body)
		}
		for _, body := range bodies {
			_ = body.Close()
		}
		wait.Wait()
		if w := begin(rest.Imports, strings.NewReader("")); w.Code != http.StatusOK {
			t.Errorf("when the others are done: %d %s", w.Code, w.Body)
		}
	})
}

func TestImportsWaitForTheirRates(t *testing.T) {
	s := prepare(t, true, func(_ *auth.Options, o *rest.Options) {
		o.Limiter = ratelimit.New(ratelimit.Limits{
			UserOperations: ratelimit.Rate{PerSecond: 5, Burst: 1}, MaxWait: time.Millisecond, // A flood to a client.
		})
	})
	s.own()
	begin := time.Now()
	imported := lines[rest.Imported](t, s.as("ada", map[string]string{"acme/*": "write"}).do("POST", "/organizations/acme/import",
		`{"document":"a"}`+"\n"+`{"document":"b"}`+"\n"+`{"end":{"documents":2,"failed":0}}`).want(http.StatusOK).body)
	if imported[0].Result != "created" || imported[1].Result != "created" || imported[2].End == nil {
		t.Errorf("answered %+v", imported)
	}
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("four operations took %v", took)
	}
}

func TestAnEmptyDocumentIsNotMergedWithADeletedOne(t *testing.T) {
	s := start(t, false)
	s.do("POST", "/documents", `{"name":"acme/gone"}`).want(http.StatusCreated)
	s.do("DELETE", "/documents/acme/gone", "").want(http.StatusNoContent)
	imported := lines[rest.Imported](t, s.do("POST", "/organizations/acme/import", `{"document":"gone","title":"x"}`).want(http.StatusOK).body)
	if imported[0].Result != "failed" || !strings.Contains(imported[0].Detail, "deleted") {
		t.Errorf("answered %+v", imported)
	}
}

func TestTheApplicationIsAskedAboutManyDocumentsAtATime(t *testing.T) {
	const together = 8
	var mu sync.Mutex
	asked, all := 0, make(chan struct{})
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if asked++; asked == together {
			close(all)
		}
		mu.Unlock()
		select { // Until so many are asked for: whoever asks for one after the other waits in vain.
		case <-all:
			_, _ = io.WriteString(w, `{"access":"read"}`)
		case <-r.Context().Done():
		}
	}))
	defer application.Close()
	var catalog storage.Catalog
	s := prepare(t, true, func(o *auth.Options, r *rest.Options) {
		catalog = r.Catalog
		o.Webhook = &auth.WebhookOptions{URL: application.URL, SecretFile: webhookSecret(t), Timeout: 20 * time.Second}
	})
	s.own()
	for i := range together {
		if _, err := catalog.Create(t.Context(), storage.Record{Document: fmt.Sprintf("acme/d%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var page struct{ Documents []rest.Document }
	s.as("ada", nil).do("GET", "/documents?organization=acme", "").want(http.StatusOK).into(&page)
	if len(page.Documents) != together {
		t.Errorf("listed %+v", page)
	}
}

// broken is a catalogue that cannot be read.
type broken struct{ storage.Catalog }

func (broken) Get(context.Context, string) (storage.Record, error) {
	return storage.Record{}, io.ErrUnexpectedEOF
}

func TestTheLogTellsWhoAskedForWhat(t *testing.T) {
	var log bytes.Buffer
	s := prepare(t, true, func(_ *auth.Options, o *rest.Options) {
		o.Catalog, o.Logger = broken{o.Catalog}, slog.New(slog.NewTextHandler(&log, nil))
	})
	s.as("ada", map[string]string{"acme/*": "read"}).do("GET", "/documents/acme/notes", "").want(http.StatusServiceUnavailable)
	for _, want := range []string{"document=acme/notes", "user=ada", io.ErrUnexpectedEOF.Error()} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is missing: %s", want, log.String())
		}
	}
}

func TestADeletedDocumentShowsNothingOfItsPast(t *testing.T) {
	s := start(t, false)
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	history(t, s, "one", "two")
	paths := []string{"/content", "/history", "/versions", "/versions/1", "/diff?from=0", "/diff?from=0&to=1"}
	for _, path := range paths {
		s.do("GET", "/documents/acme/notes"+path, "").want(http.StatusOK)
	}
	s.do("DELETE", "/documents/acme/notes", "").want(http.StatusNoContent)
	for _, path := range paths {
		s.do("GET", "/documents/acme/notes"+path, "").want(http.StatusGone)
	}
	s.do("POST", "/documents/acme/notes/versions", `{"name":"x","seq":1}`).want(http.StatusGone)
	s.do("POST", "/documents/acme/notes/versions/1/restore", "").want(http.StatusGone)
	s.do("POST", "/documents/acme/notes/restore", "").want(http.StatusOK)
	for _, path := range paths {
		s.do("GET", "/documents/acme/notes"+path, "").want(http.StatusOK)
	}
}

func TestListedPagesUseTheAPI(t *testing.T) {
	const page = "https://app.example.com"
	s := prepare(t, true, func(o *auth.Options, _ *rest.Options) { o.Origins = []string{page} })
	s.own()
	token := s.as("ada", map[string]string{"acme/*": "write"}).token
	// The cookie, as a browser sends it to a page of the same site.
	from := func(origin, site string) []string {
		return []string{"Cookie", "__Host-collab-access=" + token, "Origin", origin, "Sec-Fetch-Site", site}
	}
	check := func(a answer, allowed bool) answer {
		t.Helper()
		got := a.header.Get("Access-Control-Allow-Origin")
		if allowed != (got == page && a.header.Get("Access-Control-Allow-Credentials") == "true") || !allowed && got != "" ||
			a.header.Get("Vary") != "Origin" {
			t.Errorf("allowed is %v, and the header %v", allowed, a.header)
		}
		return a
	}
	asked := check(s.do("OPTIONS", "/documents/acme/notes", "", "Origin", page, "Sec-Fetch-Site", "same-site",
		"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "content-type,if-match"), true).want(http.StatusNoContent)
	for name, want := range map[string]string{"Methods": "PATCH", "Headers": "If-Match"} {
		if got := asked.header.Get("Access-Control-Allow-" + name); !strings.Contains(got, want) {
			t.Errorf("%s are %q", name, got)
		}
	}
	made := check(s.do("POST", "/documents", `{"name":"acme/notes"}`, from(page, "same-site")...), true).want(http.StatusCreated)
	if !strings.Contains(made.header.Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("the page cannot read the ETag: %v", made.header)
	}
	check(s.do("PUT", "/documents/acme/notes/content/text", "x", from(page, "same-site")...), true).want(http.StatusNoContent)
	check(s.do("DELETE", "/documents/acme/none", "", from(page, "same-site")...), true).want(http.StatusNotFound)
	check(s.do("GET", "/documents/acme/notes", "", "Origin", page), true).want(http.StatusUnauthorized)

	for _, origin := range []string{"https://evil.example.com", "null"} {
		for _, r := range [][3]string{
			{"POST", "/documents", `{"name":"acme/more"}`}, {"PUT", "/documents/acme/notes/content/text", "y"},
			{"DELETE", "/documents/acme/notes", ""},
		} {
			check(s.do(r[0], r[1], r[2], from(origin, "same-site")...), false).want(http.StatusForbidden)
		}
		check(s.do("GET", "/documents/acme/notes", "", from(origin, "same-site")...), false).want(http.StatusOK) // Unread.
		check(s.do("OPTIONS", "/documents", "", "Origin", origin, "Access-Control-Request-Method", "POST"), false)
	}
}
