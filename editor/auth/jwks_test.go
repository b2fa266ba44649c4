package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// jwksServer serves keys, and can be broken.
type jwksServer struct {
	*httptest.Server
	reads atomic.Int64

	mu   sync.Mutex
	serv http.HandlerFunc
}

func newJWKSServer(t testing.TB) *jwksServer {
	s := &jwksServer{}
	s.set()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.reads.Add(1)
		s.mu.Lock()
		serve := s.serv
		s.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *jwksServer) serve(f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serv = f
}

func (s *jwksServer) set(keys ...jose.JSONWebKey) {
	s.serve(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: keys})
	})
}

func startJWKS(t *testing.T, url string, minInterval time.Duration) *jwks {
	t.Helper()
	transport := &http.Transport{}
	j := newJWKS(url, &http.Client{Transport: transport}, slog.New(slog.DiscardHandler), nil)
	j.minInterval = minInterval
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { j.run(ctx) })
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		transport.CloseIdleConnections()
	})
	return j
}

func TestKeysAreRotatedAtTheURL(t *testing.T) {
	one, two := newEdDSA(t), newEdDSA(t)
	server := newJWKSServer(t)
	server.set(public("one", "EdDSA", one))
	j := startJWKS(t, server.URL, time.Millisecond)
	find := func(id string) int {
		found, err := j.keys(t.Context(), id, jose.EdDSA)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if find("one") != 1 {
		t.Fatal("the first key is not found")
	}
	server.set(public("two", "EdDSA", two))
	time.Sleep(2 * time.Millisecond)
	if find("two") != 1 {
		t.Fatal("a new key is not read")
	}
	if time.Sleep(2 * time.Millisecond); find("one") != 0 {
		t.Fatal("a key that was taken away is still accepted")
	}
}

func TestUnknownKeysDoNotHammerTheURL(t *testing.T) {
	server := newJWKSServer(t)
	server.set(public("one", "", newEdDSA(t)))
	j := startJWKS(t, server.URL, time.Hour)
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if found, err := j.keys(context.Background(), "unknown", jose.EdDSA); len(found) != 0 || err != nil {
				t.Error(found, err)
			}
		})
	}
	wait.Wait()
	if n := server.reads.Load(); n > 2 {
		t.Errorf("%d reads", n)
	}
}

func TestTheLastGoodKeysStayWhileTheURLIsDown(t *testing.T) {
	key := newEdDSA(t)
	server := newJWKSServer(t)
	server.set(public("one", "", key))
	j := startJWKS(t, server.URL, time.Nanosecond)
	if found, err := j.keys(t.Context(), "one", jose.EdDSA); len(found) != 1 || err != nil {
		t.Fatal(found, err)
	}
	for name, broken := range map[string]http.HandlerFunc{
		"error":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"empty set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>`)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":["` + strings.Repeat("a", maxJWKSBytes) + `"]}`))
		},
	} {
		server.serve(broken)
		before := server.reads.Load()
		if found, err := j.keys(t.Context(), "two", jose.EdDSA); len(found) != 0 || err != nil {
			t.Errorf("%s: %v %v", name, found, err)
		}
		if found, err := j.keys(t.Context(), "one", jose.EdDSA); len(found) != 1 || err != nil {
			t.Errorf("%s: the good key is gone: %v", name, err)
		}
		if server.reads.Load() == before {
			t.Errorf("%s: it was not read", name)
		}
	}
}

func TestWithoutAnyKeyNothingIsDecided(t *testing.T) {
	server := newJWKSServer(t)
	hang := make(chan struct{})
	defer close(hang)
	server.serve(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	j := startJWKS(t, server.URL, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := j.keys(ctx, "one", jose.EdDSA); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("%v", err)
	}
}

func TestOnlyUsefulKeysAreTaken(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	good := public("good", "ES256", p256)
	encrypting := public("encrypting", "", p256)
	encrypting.Use = "enc"
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		good, encrypting, public("curve", "", p384), public("algorithm", "ES512", p256),
		{KeyID: "secret", Key: []byte(secretA)}, {KeyID: "private", Key: p256},
	}})
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.Replace(string(data), `{"keys":[`, `{"keys":[{"kty":"new","kid":"x"},7,`, 1))
	keys, err := parseJWKS(data)
	if err != nil || len(keys) != 1 || keys[0].id != "good" || keys[0].sign != nil {
		t.Fatalf("%+v, %v", keys, err)
	}
}
