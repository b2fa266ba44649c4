package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/gorilla/websocket"
)

// reply is what a process answered.
type reply struct {
	status int
	header http.Header
}

// ask asks a process and follows no redirection. header are pairs.
func ask(t *testing.T, method, url string, header ...string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return reply{response.StatusCode, response.Header}
}

// keys is a directory with secrets.
func keys(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	for _, name := range []string{"jwt-secret", "webhook-secret"} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(strings.Repeat("s", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func TestNobodyKeepsAnAnswer(t *testing.T) {
	for name, flags := range map[string][]string{"open": nil, "guarded": {"--auth-secret-dir=" + keys(t)}} {
		p := start(t, t.TempDir(), flags...)
		for url, status := range map[string]int{
			p.address + "/":                     http.StatusNotFound,
			p.address + "/nothing":              http.StatusNotFound,
			p.address + "/collab/acme/plan":     http.StatusUpgradeRequired,
			p.address + "/hocuspocus":           http.StatusUpgradeRequired,
			p.address + "/auth":                 http.StatusTemporaryRedirect,
			p.address + "/api":                  http.StatusTemporaryRedirect,
			p.address + "/api/v1//documents":    http.StatusTemporaryRedirect,
			p.address + "/auth/":                http.StatusNotFound,
			p.address + "/auth/login":           0,
			p.address + "/api/v1/documents":     0,
			p.address + "/api/v1/nothing":       0,
			p.address + "/api/v1/health":        http.StatusOK,
			p.address + "/api/v1/openapi.json":  http.StatusOK,
			p.internal + "/healthz":             http.StatusOK,
			p.internal + "/readyz":              http.StatusOK,
			p.internal + "/load":                http.StatusOK,
			p.internal + "/metrics":             http.StatusOK,
			p.internal + "/debug/pprof/":        http.StatusOK,
			p.internal + "/debug/pprof/cmdline": 0,
			p.internal + "/debug/pprof":         http.StatusTemporaryRedirect,
			p.internal + "/nothing":             http.StatusNotFound,
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
				got := ask(t, method, "http://"+url)
				if kept := got.header.Get("Cache-Control"); kept != "no-store" {
					t.Errorf("%s: %s %s: %d, Cache-Control is %q", name, method, url, got.status, kept)
				}
				if method == http.MethodGet && status != 0 && got.status != status {
					t.Errorf("%s: %s: %d", name, url, got.status)
				}
			}
		}
		p.stop()
	}
}

func TestLifetimesOfSessionsAreFlags(t *testing.T) {
	directory := keys(t)
	p := start(t, t.TempDir(), "--auth-secret-dir="+directory, "--auth-access-lifetime=1m", "--auth-session-lifetime=1h")
	got := ask(t, http.MethodPost, "http://"+p.address+"/auth/login", "Authorization", "Bearer "+token(t, directory))
	age := map[string]int{}
	for _, c := range (&http.Response{Header: got.header}).Cookies() {
		age[c.Name] = c.MaxAge
	}
	if access, refresh := age["__Host-collab-access"], age["__Secure-collab-refresh"]; access > 60 || access < 30 ||
		refresh > 3600 || refresh < 3500 {
		t.Errorf("%d with cookies that live %v s", got.status, age)
	}
}

func TestPagesOfOtherSitesDoNotReachAnOpenService(t *testing.T) {
	p := start(t, t.TempDir(), "--allowed-origins=https://app.example.com")
	for origin, allowed := range map[string]bool{
		"": true, "http://" + p.address: true, "https://app.example.com": true, "http://localhost:5173": true,
		"https://evil.example.com": false, "null": false,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		conn, response, err := websocket.DefaultDialer.Dial("ws://"+p.address+"/collab/acme/plan", header)
		if allowed != (err == nil) || !allowed && response.StatusCode != http.StatusForbidden {
			t.Errorf("from %q: %v", origin, err)
		}
		if response != nil {
			_ = response.Body.Close()
		}
		if err == nil {
			_ = conn.Close()
		}
		wrote := ask(t, http.MethodPut, "http://"+p.address+"/api/v1/documents/acme/plan/content/text", "Origin", origin)
		if allowed != (wrote.status == http.StatusNoContent) || !allowed && wrote.status != http.StatusForbidden {
			t.Errorf("from %q it writes: %d", origin, wrote.status)
		}
	}
}

// token is one that the directory's secret signs.
func token(t *testing.T, directory string) string {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(directory, "jwt-secret"))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := json.Marshal(map[string]any{"sub": "ada", "exp": time.Now().Add(time.Minute).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}
