package rest_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/rest"
	"collab.dev/operator/editor/shard"
	"collab.dev/operator/editor/storage/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "a secret of the tests, of thirty-two bytes and more"
	// maxDocument bounds documents.
	maxDocument = 1 << 20
)

// service is the API with a real store, owner and edge.
type service struct {
	t       *testing.T
	url     string
	clients *edge.Edge
	token   string
	// own makes the process the owner of all documents.
	own func()
}

// start starts the service; guarded ones want tokens.
func start(t *testing.T, guarded bool) *service {
	t.Helper()
	s := prepare(t, guarded, nil)
	s.own()
	return s
}

// prepare starts the service with documents that have no owner yet. change changes how it is made.
func prepare(t *testing.T, guarded bool, change func(*auth.Options, *rest.Options)) *service {
	t.Helper()
	if change == nil {
		change = func(*auth.Options, *rest.Options) {}
	}
	log := slog.New(slog.DiscardHandler)
	store, err := embedded.Open(embedded.Options{Directory: t.TempDir(), Shards: 4, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	guard := auth.Open()
	if guarded {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		options := auth.Options{SecretFile: file, Logger: log}
		change(&options, &rest.Options{})
		if guard, err = auth.New(options); err != nil {
			t.Fatal(err)
		}
	}
	maps := &shard.Maps{}
	maps.Set(shard.Alone("self", 4))
	manager := shard.NewManager(shard.Options{
		Name: "self", Maps: maps, Store: store, Logger: log, MaxDocumentBytes: maxDocument,
	})
	clients, err := edge.New(edge.Options{Maps: maps, Self: "self", Local: manager, Guard: guard, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	options := rest.Options{
		Guard: guard, Catalog: store.Catalog(), Clients: clients, MaxDocumentBytes: maxDocument, Logger: log,
		Metrics: rest.NewMetrics(prometheus.NewRegistry()),
	}
	change(&auth.Options{}, &options)
	server := httptest.NewServer(rest.New(options))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		server.Close()
		clients.Close()
		cancel()
		running.Wait()
		guard.Close()
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &service{
		t: t, url: server.URL + rest.Prefix, clients: clients, own: func() { running.Go(func() { manager.Run(ctx) }) },
	}
}

// as is the service for somebody with these claims.
func (s *service) as(user string, docs map[string]string) *service {
	s.t.Helper()
	claims, err := json.Marshal(map[string]any{"sub": user, "docs": docs, "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		s.t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	as := *s
	as.token = signed + "." + encode(mac.Sum(nil))
	return &as
}

// answer is what the service answered.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// do asks the service. header are pairs.
func (s *service) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if strings.HasPrefix(body, "{") {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		s.t.Errorf("%s %s: Cache-Control is %q", method, path, got)
	}
	return answer{s.t, response.StatusCode, response.Header, string(read)}
}

// want fails unless the answer has the status, and returns it.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d instead of %d: %s", a.status, status, a.body)
	}
	if status >= http.StatusBadRequest {
		var problem struct {
			Status        int
			Title, Detail string
		}
		if a.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(a.body), &problem) != nil ||
			problem.Status != status || problem.Title == "" || problem.Detail == "" {
			a.t.Errorf("the problem is not described: %s %s", a.header.Get("Content-Type"), a.body)
		}
	}
	return a
}

// into decodes the answer.
func (a answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
}

// edit changes a document as a client does.
func (s *service) edit(name string, edit func(doc *crdt.Doc) error) {
	s.t.Helper()
	session, err := s.clients.Open(name, "y-websocket", "ada")
	if err != nil {
		s.t.Fatal(err)
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	state, err := session.State(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	doc := crdt.NewDoc(crdt.Options{})
	if err := doc.ApplyUpdate(state, nil); err != nil {
		s.t.Fatal(err)
	}
	update, err := doc.Edit(nil, func() error { return edit(doc) })
	if err != nil {
		s.t.Fatal(err)
	}
	if err := session.Apply(ctx, update); err != nil {
		s.t.Fatal(err)
	}
}

// text is the text of a document.
func (s *service) text(name string) string {
	s.t.Helper()
	return s.do(http.MethodGet, "/documents/"+name+"/content?format=text", "").want(http.StatusOK).body
}

// lines are the lines of JSON.
func lines[T any](t *testing.T, body string) []T {
	t.Helper()
	var out []T
	for line := range bytes.Lines([]byte(body)) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, v)
	}
	return out
}
