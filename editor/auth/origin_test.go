package auth

import "testing"

func TestPagesOfOtherHostsAreNotLetIn(t *testing.T) {
	list := []string{"https://app.example.com", "https://*.apps.example.com", "http://dev.example.com:3000", "https://x.example.com:443"}
	guarded := newGuard(t, Options{Origins: list})
	unlisted := newGuard(t, Options{})
	listed, err := OpenTo(list)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTo([]string{"app.example.com"}); err == nil {
		t.Error("an origin that is none is taken")
	}
	guards := map[string]*Guard{"guarded": guarded, "unlisted": unlisted, "open": Open(), "open, listed": listed}
	all := []string{"guarded", "unlisted", "open", "open, listed"}
	lists, opens := []string{"guarded", "open, listed"}, []string{"open", "open, listed"}
	for _, c := range []struct {
		to, from string
		allowed  []string
	}{
		{"http://collab:8080", "", all}, // no browser
		{"http://collab:8080", "http://collab:8080", all},
		{"http://collab:8080", "http://collab", nil},
		{"http://collab", "https://collab", all}, // TLS ends before the service.
		{"http://collab:443", "https://collab", all},
		{"http://Collab", "https://collab", all},
		{"http://collab", "https://evil.example.net", nil},
		{"http://collab", "null", nil},
		{"http://collab", "file://", nil},
		{"http://collab", "https://app.example.com", lists},
		{"http://collab", "HTTPS://APP.example.com", lists},
		{"http://collab", "http://app.example.com", nil},
		{"http://collab", "https://app.example.com:8443", nil},
		{"http://collab", "https://app.example.com.evil.net", nil},
		{"http://collab", "https://a.apps.example.com", lists},
		{"http://collab", "https://apps.example.com", nil},
		{"http://collab", "https://evilapps.example.com", nil},
		{"http://collab", "http://dev.example.com:3000", lists},
		{"http://collab", "https://x.example.com", lists},
		{"http://collab", "https://app.example.com/", nil},
		{"http://collab", "https://app.example.com@evil.net", nil},
		// Pages of this machine, where no token is wanted.
		{"http://localhost:8080", "http://localhost:5173", opens},
		{"http://127.0.0.1:8080", "http://localhost:5173", opens},
		{"http://[::1]:8080", "http://127.0.0.1:3000", opens},
		{"http://localhost:8080", "https://evil.example.net", nil},
		{"http://localhost:8080", "http://localhost.evil.net", nil},
		{"http://collab:8080", "http://localhost:5173", nil},
	} {
		header := []string{}
		if c.from != "" {
			header = []string{"Origin", c.from}
		}
		want := map[string]bool{}
		for _, name := range c.allowed {
			want[name] = true
		}
		for name, g := range guards {
			if got := g.AllowOrigin(request("GET", c.to+"/collab/acme/plan", "", header...)); got != want[name] {
				t.Errorf("%s: from %q to %s: %v", name, c.from, c.to, got)
			}
		}
	}
	if guarded.AllowOrigin(request("GET", "http://collab/", "", "Origin", list[0], "Origin", "https://evil.example.net")) {
		t.Error("who names two origins is let in")
	}
}
