package rest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/ratelimit"
	"collab.dev/operator/editor/rest"
	"collab.dev/operator/editor/storage"
)

func TestAnUpdateThatWaitsForAnOwnerStaysWhatItWas(t *testing.T) {
	s := prepare(t, false, nil)
	doc := crdt.NewDoc(crdt.Options{})
	update, err := doc.Edit(nil, func() error { return doc.Text("default").Insert(0, strings.Repeat("hello ", 1000)) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/documents/acme/notes/updates", bytes.NewReader(update))
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
		}
	}()
	// The update waits for an owner, of which nobody can be told yet,
	for stacks := make([]byte, 1<<20); !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("edge.(*Session).wait(")); {
		time.Sleep(time.Millisecond)
	}
	leave() // and its request does not.
	<-left
	for range 50 {
		s.do("POST", "/documents/acme/other/updates", strings.Repeat("\xff", len(update))).want(http.StatusUnprocessableEntity)
	}
	s.own()
	s.edit("acme/notes", func(doc *crdt.Doc) error { return doc.Text("default").Insert(0, "!") })
	if got := s.text("acme/notes"); !strings.Contains(got, doc.Text("default").String()) {
		t.Errorf("it says %.60q", got)
	}
}

func TestAnExportEndsWhenNobodyCanSayWhatMayBeRead(t *testing.T) {
	var broken atomic.Bool
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(`{"access":"write"}`))
	}))
	defer application.Close()
	file := filepath.Join(t.TempDir(), "webhook")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s := prepare(t, true, func(o *auth.Options, _ *rest.Options) {
		o.Webhook = &auth.WebhookOptions{URL: application.URL, SecretFile: file, TTL: time.Nanosecond}
	})
	s.own()
	s = s.as("ada", map[string]string{"acme/*": "write"})
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	if got := s.do("GET", "/organizations/acme/export", "").body; !strings.Contains(got, `{"end":{"documents":1,`) {
		t.Errorf("exported %s", got)
	}
	broken.Store(true)
	if got := s.do("GET", "/organizations/acme/export", "").body; strings.Contains(got, `"end"`) {
		t.Errorf("an export without what could not be asked for says that it is whole: %s", got)
	}
}

// stuck is a catalogue that never answers.
type stuck struct{ storage.Catalog }

func (stuck) Get(ctx context.Context, _ string) (storage.Record, error) {
	<-ctx.Done()
	return storage.Record{}, ctx.Err()
}

func TestAStoreThatDoesNotAnswerIsLoggedAndTheClientComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		api := rest.New(rest.Options{Catalog: stuck{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, rest.Prefix+"/documents/acme/notes", nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" ||
			!strings.Contains(w.Body.String(), "unavailable") {
			t.Errorf("answered %d %v %s", w.Code, w.Header(), w.Body)
		}
		if !strings.Contains(log.String(), "A request took too long") || !strings.Contains(log.String(), "document=acme/notes") {
			t.Errorf("logged %q", log.String())
		}
	})
}

func TestNobodyWaitsForEverForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := rest.New(rest.Options{})
		for i := range rest.Parallel {
			if _, err := api.Work(t.Context(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		var refused interface{ GetStatus() int }
		if _, err := api.Work(t.Context(), "ada"); !errors.As(err, &refused) || refused.GetStatus() != http.StatusServiceUnavailable {
			t.Errorf("after a while: %v", err)
		}
	})
}

// deadline is a writer that knows when it has to be done.
type deadline struct {
	*httptest.ResponseRecorder
	at time.Time
}

func (d *deadline) SetWriteDeadline(at time.Time) error { d.at = at; return nil }

func TestWhoDoesNotReadAnswersIsLeftAtSomeTime(t *testing.T) {
	w := &deadline{ResponseRecorder: httptest.NewRecorder()}
	rest.New(rest.Options{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, rest.Prefix+"/health", nil))
	if w.at.IsZero() {
		t.Error("the answer may take for ever")
	}
}

func TestCopiesCountAgainstTheRates(t *testing.T) {
	s := prepare(t, true, func(_ *auth.Options, o *rest.Options) {
		o.Limiter = ratelimit.New(ratelimit.Limits{
			UserOperations: ratelimit.Rate{PerSecond: 0.001, Burst: 3}, MaxWait: time.Millisecond,
		})
	})
	s.own()
	s = s.as("ada", map[string]string{"acme/*": "write"})
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	s.do("PUT", "/documents/acme/notes/content/text", "hello").want(http.StatusNoContent)
	s.do("POST", "/documents/acme/notes/copy", `{"name":"acme/copy"}`).want(http.StatusCreated)
	if a := s.do("POST", "/documents/acme/notes/copy", `{"name":"acme/more"}`).want(429); a.header.Get("Retry-After") == "" {
		t.Error("it does not say when to come back")
	}
}

func TestDeletingAgainReachesWhomTheFirstTimeDidNot(t *testing.T) {
	var catalog storage.Catalog
	s := prepare(t, false, func(_ *auth.Options, o *rest.Options) { catalog = o.Catalog })
	s.own()
	s.do("POST", "/documents", `{"name":"acme/notes"}`).want(http.StatusCreated)
	session, err := s.clients.Open("acme/notes", "test", "ada")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := session.State(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As a request does that ends before the owner answers.
	if _, err := catalog.Delete(t.Context(), "acme/notes", 0, false); err != nil {
		t.Fatal(err)
	}
	s.do("DELETE", "/documents/acme/notes", "").want(http.StatusNotFound)
	if _, err := session.State(t.Context()); !errors.Is(err, edge.ErrDeleted) {
		t.Errorf("who has it open sees %v", err)
	}
}
