package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheApplicationIsToldOfChangesAtTheLatestWhenTheProcessEnds(t *testing.T) {
	type delivery struct {
		Document string
		Seq      int64
	}
	got := make(chan delivery, 100)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var d delivery
		if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
			t.Error(err)
		}
		got <- d
	}))
	defer application.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	flags := []string{"--webhook-url=" + application.URL, "--webhook-secret-file=" + secret}
	edit := func(p process, text, before string) {
		a, b := p.connect(t, "acme/notes"), p.connect(t, "acme/notes")
		a.await(before)
		a.insert(text)
		b.await(text + before)
	}

	p := start(t, data, append(flags, "--webhook-debounce=10ms")...)
	edit(p, "world", "")
	select {
	case d := <-got:
		if d.Document != "acme/notes" || d.Seq != 1 {
			t.Errorf("got %+v", d)
		}
	case <-time.After(time.Minute):
		t.Fatal("the application is not told")
	}
	p.stop()

	p = start(t, data, append(flags, "--webhook-debounce=1m")...)
	edit(p, "hello ", "world")
	if len(got) > 0 {
		t.Fatalf("told too early: %+v", <-got)
	}
	p.stop()
	if len(got) != 1 {
		t.Fatalf("told %d times until the process had ended", len(got))
	}
	if d := <-got; d.Document != "acme/notes" || d.Seq != 2 {
		t.Errorf("got %+v", d)
	}
}
