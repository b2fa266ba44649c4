package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	accessCookie  = "__Host-collab-access"
	refreshCookie = "__Secure-collab-refresh"
	page          = "https://app.example.com" // whose origin is allowed
)

// site is a service over HTTPS: what a Guard serves at /auth/, and something that it guards at /guarded.
type site struct {
	t         *testing.T
	guard     *Guard
	url, keys string
	transport http.RoundTripper

	mu     sync.Mutex
	passed time.Duration // by which the clock is ahead
	log    bytes.Buffer
	tokens []string
}

// newSite starts a service. At the end no token that it gave or took may be in its log.
func newSite(t *testing.T, o Options) *site {
	t.Helper()
	s := &site{t: t, keys: write(t, "signing", ownKey)}
	clock := func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return time.Now().Add(s.passed)
	}
	o.Sessions, o.SigningKeyFile, o.Clock, o.Origins = openFile(t, clock), s.keys, clock, []string{page}
	o.Logger = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.guard = newGuard(t, o)
	mux := http.NewServeMux()
	mux.Handle("/auth/", s.guard.Handler())
	mux.Handle("/guarded", s.guard.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, IdentityFrom(r.Context()).User)
	})))
	server := httptest.NewTLSServer(mux)
	s.url, s.transport = server.URL, server.Client().Transport
	t.Cleanup(func() {
		server.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, token := range s.tokens {
			for part := range strings.SplitSeq(token, ".") { // A signature or claims alone are too much.
				if len(part) > 16 && strings.Contains(s.log.String(), part) {
					t.Errorf("a token is in the log: %s", s.log.String())
				}
			}
		}
	})
	return s
}

// Write takes a line of the log.
func (s *site) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(line)
}

// pass lets time pass.
func (s *site) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed += d
}

// keep remembers tokens, which must not be in the log, and returns the first one.
func (s *site) keep(tokens ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, tokens...)
	return tokens[0]
}

// application is a token of the application.
func (s *site) application(changes object) string { return s.keep(hs256(s.t, changes)) }

// browser is somebody with cookies.
type browser struct {
	*site
	client *http.Client
}

func (s *site) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s, &http.Client{Transport: s.transport, Jar: jar}}
}

// reply is what the service answered.
type reply struct {
	t       *testing.T
	status  int
	header  http.Header
	cookies map[string]*http.Cookie
	body    string
	tokens
	Problem
}

// send sends a request, with pairs of headers. No answer may be kept by anybody.
func (b *browser) send(method, path, body string, header ...string) *reply {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	got := &reply{
		t: b.t, status: response.StatusCode, header: response.Header, body: string(data), cookies: map[string]*http.Cookie{},
	}
	if got.header.Get("Cache-Control") != "no-store" {
		b.t.Errorf("%s %s: Cache-Control is %q", method, path, got.header.Get("Cache-Control"))
	}
	if strings.HasPrefix(path, "/auth/") && strings.HasPrefix(got.header.Get("Content-Type"), "application/") {
		into := any(&got.Problem)
		if got.status == http.StatusOK {
			into = &got.tokens
		}
		if err := json.Unmarshal(data, into); err != nil {
			b.t.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	for _, c := range response.Cookies() {
		got.cookies[c.Name] = c
		b.keep(c.Value)
	}
	b.keep(got.SocketToken, got.AccessToken, got.RefreshToken)
	return got
}

func (b *browser) post(path, body string, header ...string) *reply {
	b.t.Helper()
	return b.send(http.MethodPost, path, body, header...)
}

// want fails unless the answer has the status and, if it is a problem, is of that kind.
func (r *reply) want(status int, kind string) *reply {
	r.t.Helper()
	if r.status != status || kind != "" && r.Type != "urn:collab:problem:"+kind {
		r.t.Fatalf("answered %d %s", r.status, r.body)
	}
	if status >= http.StatusBadRequest &&
		(r.header.Get("Content-Type") != "application/problem+json" && kind != "" || r.status == 401 && r.header.Get("WWW-Authenticate") == "") {
		r.t.Errorf("answered with the header %v", r.header)
	}
	return r
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// login begins a session of a user.
func (b *browser) login(user string) *reply {
	b.t.Helper()
	return b.post("/auth/login", "", bearer(b.application(object{"sub": user}))...).want(200, "")
}

func TestASessionIsKeptInCookiesThatOnlyTheServiceReads(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	begin := time.Now()
	in := ada.login("ada")
	for name, want := range map[string]http.Cookie{
		accessCookie:  {Path: "/", MaxAge: 15 * 60},
		refreshCookie: {Path: "/auth/", MaxAge: 7 * 24 * 60 * 60},
	} {
		c := in.cookies[name]
		if c == nil {
			t.Fatalf("the cookies are %v", slices.Collect(maps.Keys(in.cookies)))
		}
		// The second that the answer took is missing.
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != want.Path || c.Domain != "" ||
			c.MaxAge > want.MaxAge || c.MaxAge < want.MaxAge-60 {
			t.Errorf("%s is %+v", name, c)
		}
		if c.Value == "" || strings.Contains(in.body, c.Value) {
			t.Errorf("scripts can read %s: %s", name, in.body)
		}
	}
	if in.AccessToken+in.RefreshToken != "" || in.User != "ada" || in.Organization != "acme" || in.Family == "" {
		t.Errorf("answered %s", in.body)
	}
	near := func(at time.Time, after time.Duration) bool {
		return at.After(begin.Add(after-time.Minute)) && at.Before(begin.Add(after+time.Minute))
	}
	if !near(in.Expires, 15*time.Minute) || !near(in.SessionExpires, 7*24*time.Hour) {
		t.Errorf("it expires %v and %v", in.Expires, in.SessionExpires)
	}
	if got := ada.send("GET", "/guarded", "").want(200, ""); got.body != "ada" {
		t.Errorf("the cookie speaks for %q", got.body)
	}
	s.browser().send("GET", "/guarded", "").want(401, "")
}

func TestPlainHTTPHasCookiesOfOtherNames(t *testing.T) {
	in := newSite(t, Options{InsecureCookies: true}).browser().login("ada")
	for _, name := range []string{"collab-access", "collab-refresh"} {
		if c := in.cookies[name]; c == nil || c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
			t.Errorf("%s is %+v", name, c)
		}
	}
}

func TestLifetimesAreWhatTheOptionsSay(t *testing.T) {
	in := newSite(t, Options{AccessLifetime: time.Minute, RefreshLifetime: 5 * time.Minute}).browser().login("ada")
	if access, refresh := in.cookies[accessCookie].MaxAge, in.cookies[refreshCookie].MaxAge; access > 60 || access < 30 ||
		refresh > 300 || refresh < 240 {
		t.Errorf("the cookies live %d and %d s", access, refresh)
	}
}

func TestAnAccessTokenDoesNotOutliveItsSession(t *testing.T) {
	s := newSite(t, Options{RefreshLifetime: 20 * time.Minute})
	ada := s.browser()
	ada.login("ada")
	s.pass(10 * time.Minute)
	if again := ada.post("/auth/refresh", "").want(200, ""); again.Expires.After(again.SessionExpires) ||
		again.cookies[accessCookie].MaxAge > 10*60 {
		t.Errorf("it expires %v, its session %v", again.Expires, again.SessionExpires)
	}
}

func TestProgramsGetTheTokensThemselves(t *testing.T) {
	s := newSite(t, Options{})
	program := s.browser()
	in := program.post("/auth/login", `{"token":"`+s.application(nil)+`","tokens":true}`).want(200, "")
	if len(in.cookies) != 0 || in.AccessToken == "" || in.RefreshToken == "" {
		t.Fatalf("answered %s with %v", in.body, in.cookies)
	}
	program.send("GET", "/guarded", "", bearer(in.AccessToken)...).want(200, "")
	next := program.post("/auth/refresh", `{"refreshToken":"`+in.RefreshToken+`"}`).want(200, "")
	if len(next.cookies) != 0 || next.AccessToken == "" || next.RefreshToken == in.RefreshToken || next.Family != in.Family {
		t.Fatalf("answered %s with %v", next.body, next.cookies)
	}
	program.post("/auth/logout", `{"refreshToken":"`+next.RefreshToken+`"}`).want(204, "")
	program.post("/auth/refresh", `{"refreshToken":"`+next.RefreshToken+`"}`).want(401, "")
	eventually(t, "the access token is revoked", func() bool {
		return program.send("GET", "/guarded", "", bearer(next.AccessToken)...).status == 401
	})
}

func TestALostAnswerOfARefreshIsGivenAgain(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	old := ada.login("ada").cookies[refreshCookie]
	first := ada.post("/auth/refresh", "").want(200, "").cookies[refreshCookie]
	if first.Value == old.Value || first.Path != "/auth/" || !first.HttpOnly || !first.Secure {
		t.Fatalf("%+v follows %+v", first, old)
	}
	// Another tab, or this one when the answer was lost.
	tab := s.browser()
	cookie := []string{"Cookie", refreshCookie + "=" + old.Value}
	s.pass(5 * time.Second)
	if again := tab.post("/auth/refresh", "", cookie...).want(200, ""); again.cookies[refreshCookie].Value != first.Value {
		t.Error("it has another token")
	}
	ada.send("GET", "/guarded", "").want(200, "")
	ada.post("/auth/refresh", "").want(200, "")
}

func TestAReplacedRefreshTokenEndsItsSession(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	stolen := ada.login("ada").cookies[refreshCookie].Value
	ada.post("/auth/refresh", "").want(200, "")
	other := s.browser()
	other.login("ada")
	s.pass(11 * time.Second)
	thief := s.browser().post("/auth/refresh", "", "Cookie", refreshCookie+"="+stolen).want(401, "reused")
	for _, name := range []string{accessCookie, refreshCookie} {
		if c := thief.cookies[name]; c == nil || c.MaxAge >= 0 || c.Value != "" {
			t.Errorf("%s stays: %+v", name, c)
		}
	}
	eventually(t, "the access token is revoked", func() bool { return ada.send("GET", "/guarded", "").status == 401 })
	ada.post("/auth/refresh", "").want(401, "unauthenticated")
	other.send("GET", "/guarded", "").want(200, "")
	other.post("/auth/refresh", "").want(200, "")
}

func TestATokenThatCannotBeToldAgainDoesNotEndItsSession(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	old := ada.login("ada").cookies[refreshCookie].Value
	ada.post("/auth/refresh", "").want(200, "")
	if err := os.WriteFile(s.keys, []byte("a new "+ownKey+"\n"+ownKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.pass(2 * keyFileInterval)
	late := s.browser().post("/auth/refresh", "", "Cookie", refreshCookie+"="+old).want(409, "replaced")
	if len(late.cookies) != 0 {
		t.Errorf("the cookies of the other tab are taken: %v", late.cookies)
	}
	ada.post("/auth/refresh", "").want(200, "")
}

func TestLogoutEndsTheSessionAndDeletesTheCookies(t *testing.T) {
	for name, cookies := range map[string]func(in *reply) string{
		"by the refresh token": func(in *reply) string { return refreshCookie + "=" + in.cookies[refreshCookie].Value },
		"by the access token":  func(in *reply) string { return accessCookie + "=" + in.cookies[accessCookie].Value },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, Options{})
			ada := s.browser()
			in := ada.login("ada")
			out := s.browser().post("/auth/logout", "", "Cookie", cookies(in)).want(204, "")
			for name, path := range map[string]string{accessCookie: "/", refreshCookie: "/auth/"} {
				c := out.cookies[name]
				if c == nil || c.MaxAge >= 0 || c.Value != "" || c.Path != path || !c.HttpOnly || !c.Secure ||
					c.SameSite != http.SameSiteStrictMode {
					t.Errorf("%s becomes %+v", name, c)
				}
			}
			eventually(t, "the access token is revoked", func() bool { return ada.send("GET", "/guarded", "").status == 401 })
			ada.post("/auth/refresh", "").want(401, "unauthenticated")
		})
	}
	s := newSite(t, Options{})
	if out := s.browser().post("/auth/logout", "").want(204, ""); len(out.cookies) != 2 {
		t.Errorf("without a session %v are deleted", out.cookies)
	}
}

func TestATokenForWebSocketsIsForNothingElse(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	in := ada.login("ada")
	if _, err := s.guard.Authenticate(t.Context(), in.SocketToken); err != nil {
		t.Fatal(err)
	}
	other := s.browser()
	other.send("GET", "/guarded", "", bearer(in.SocketToken)...).want(401, "")
	other.send("GET", "/guarded", "", "Cookie", accessCookie+"="+in.SocketToken).want(401, "")
	other.post("/auth/login", "", bearer(in.SocketToken)...).want(401, "unauthenticated")
	other.post("/auth/revoke", `{"user":"ada"}`, bearer(in.SocketToken)...).want(403, "forbidden")
	s.pass(ticketLifetime + defaultLeeway + time.Second)
	if _, err := s.guard.Authenticate(t.Context(), in.SocketToken); err == nil {
		t.Error("it opens a WebSocket after more than a minute")
	}
	ada.send("GET", "/guarded", "").want(200, "")
}

func TestASessionDoesNotBeginAnother(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	access := ada.login("ada").cookies[accessCookie].Value
	ada.post("/auth/login", "", bearer(access)...).want(401, "unauthenticated")
	ada.post("/auth/login", `{"token":"`+access+`"}`).want(401, "unauthenticated")
	ada.post("/auth/login", "").want(401, "unauthenticated") // The cookie does not count.
	s.browser().post("/auth/login", "", "Cookie", accessCookie+"="+s.application(nil)).want(401, "unauthenticated")
}

// From tells where a browser's page is.
var (
	foreign = []string{"Origin", "https://evil.example.net", "Sec-Fetch-Site", "cross-site"}
	sibling = []string{"Origin", "https://evil.example.com", "Sec-Fetch-Site", "same-site"}
	hidden  = []string{"Origin", "null", "Sec-Fetch-Site", "cross-site"}
	older   = []string{"Origin", "https://evil.example.net"} // of a browser that does not tell Sec-Fetch-Site
	listed  = []string{"Origin", page, "Sec-Fetch-Site", "cross-site"}
)

func TestForeignPagesChangeNothingWithAUsersCookies(t *testing.T) {
	s := newSite(t, Options{})
	in := s.browser().login("ada")
	cookies := []string{"Cookie", accessCookie + "=" + in.cookies[accessCookie].Value + "; " +
		refreshCookie + "=" + in.cookies[refreshCookie].Value}
	ada := s.browser()
	for name, from := range map[string][]string{"foreign": foreign, "sibling": sibling, "hidden": hidden, "older": older} {
		for _, path := range []string{"/auth/login", "/auth/refresh", "/auth/logout", "/auth/revoke"} {
			got := ada.post(path, "", append(from, cookies...)...).want(403, "cross-site")
			if len(got.cookies) != 0 || got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s %s: %v", name, path, got.header)
			}
		}
		ada.send("POST", "/guarded", "", append(from, cookies...)...).want(403, "")
		// What brings a token on purpose is no forgery.
		ada.send("POST", "/guarded", "", append(from, bearer(s.application(nil))...)...).want(200, "")
	}
	ada.send("POST", "/guarded", "", append(listed, cookies...)...).want(200, "")
	ada.send("POST", "/guarded", "", append([]string{"Origin", s.url, "Sec-Fetch-Site", "same-origin"}, cookies...)...).want(200, "")
	ada.post("/auth/refresh", "", append(listed, cookies...)...).want(200, "")
}

func TestListedPagesMayCallAndReadAnswers(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	check := func(got *reply, allowed bool) {
		t.Helper()
		origin, credentials := got.header.Get("Access-Control-Allow-Origin"), got.header.Get("Access-Control-Allow-Credentials")
		if allowed != (origin == page && credentials == "true") || !allowed && origin+credentials != "" ||
			got.header.Get("Vary") != "Origin" {
			t.Errorf("allowed is %v, and the header %v", allowed, got.header)
		}
	}
	ask := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"}
	asked := ada.send("OPTIONS", "/auth/refresh", "", append(ask, listed...)...).want(204, "")
	check(asked, true)
	if asked.header.Get("Access-Control-Allow-Methods") != "POST" ||
		!strings.Contains(asked.header.Get("Access-Control-Allow-Headers"), "Content-Type") {
		t.Errorf("the header is %v", asked.header)
	}
	check(ada.post("/auth/refresh", "", listed...).want(401, "unauthenticated"), true)
	for _, from := range [][]string{foreign, sibling, hidden, older} {
		check(ada.send("OPTIONS", "/auth/refresh", "", append(ask, from...)...), false)
		check(ada.post("/auth/refresh", "", from...).want(403, "cross-site"), false)
	}
}

func TestOnlyAdministratorsRevoke(t *testing.T) {
	s := newSite(t, Options{})
	ada, root := s.browser(), s.browser()
	in := ada.login("ada")
	admin := s.application(object{"sub": "root", "collab_admin": true})
	root.post("/auth/revoke", `{"user":"ada"}`).want(401, "unauthenticated")
	root.post("/auth/revoke", `{"user":"ada"}`, bearer(s.application(nil))...).want(403, "forbidden")
	root.post("/auth/login", "", bearer(admin)...).want(200, "") // A session has no such power.
	root.post("/auth/revoke", `{"user":"ada"}`).want(401, "unauthenticated")
	for _, body := range []string{``, `{}`, `{"user":"a","family":"b"}`, `{"user":"a\nb"}`, `{"all":true}`, `[`} {
		root.post("/auth/revoke", body, bearer(admin)...).want(400, "malformed")
	}
	root.post("/auth/revoke", `{"family":"`+in.Family+`"}`, bearer(admin)...).want(204, "")
	eventually(t, "the family is revoked", func() bool { return ada.send("GET", "/guarded", "").status == 401 })
	ada.login("ada")
	root.post("/auth/revoke", `{"user":"ada"}`, bearer(admin)...).want(204, "")
	ada.post("/auth/refresh", "").want(401, "revoked")
}

func TestWhatIsNotAskedForProperlyIsRefused(t *testing.T) {
	s := newSite(t, Options{})
	b := s.browser()
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		kind               string
	}{
		"another method":      {"GET", "/auth/login", "", 405, "method"},
		"nothing there":       {"POST", "/auth/nothing", "", 404, "not-found"},
		"the folder":          {"GET", "/auth/", "", 404, "not-found"},
		"no JSON":             {"POST", "/auth/login", "{", 400, "malformed"},
		"an unknown field":    {"POST", "/auth/login", `{"password":"x"}`, 400, "malformed"},
		"a long body":         {"POST", "/auth/login", `{"token":"` + strings.Repeat("x", maxBody) + `"}`, 400, "malformed"},
		"no token":            {"POST", "/auth/login", "", 401, "unauthenticated"},
		"no refresh token":    {"POST", "/auth/refresh", "", 401, "unauthenticated"},
		"a malformed one":     {"POST", "/auth/refresh", `{"refreshToken":"x"}`, 401, "unauthenticated"},
		"an unknown one":      {"POST", "/auth/refresh", `{"refreshToken":"` + s.keep(newRefreshToken().encode()) + `"}`, 401, "unauthenticated"},
		"an expired token":    {"POST", "/auth/login", `{"token":"` + s.application(object{"exp": 1}) + `"}`, 401, "expired"},
		"another one's token": {"POST", "/auth/login", `{"token":"` + s.application(object{"iss": defaultSessionIssuer}) + `"}`, 401, "unauthenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			got := b.send(c.method, c.path, c.body)
			got.t = t
			got.want(c.status, c.kind)
			if len(got.cookies) != 0 {
				t.Errorf("it sets %v", got.cookies)
			}
		})
	}
}

func TestWithoutSessionsThereIsNothing(t *testing.T) {
	for name, g := range map[string]*Guard{"guarded": newGuard(t, Options{}), "open": Open()} {
		w := httptest.NewRecorder()
		g.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/auth/login", nil))
		if w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: answered %d %v", name, w.Code, w.Header())
		}
	}
}

// lost is a store of sessions that cannot be reached.
type lost struct{ Sessions }

func (lost) Rotate(context.Context, string, Secret, Secret, time.Duration) (Session, error) {
	return Session{}, io.ErrUnexpectedEOF
}

func TestWhileTheStoreCannotBeReachedCookiesStay(t *testing.T) {
	s := newSite(t, Options{})
	ada := s.browser()
	ada.login("ada")
	s.guard.options.Sessions = lost{s.guard.options.Sessions}
	got := ada.post("/auth/refresh", "").want(503, "unavailable")
	if len(got.cookies) != 0 || got.header.Get("Retry-After") == "" || strings.Contains(got.body, io.ErrUnexpectedEOF.Error()) {
		t.Errorf("answered %v %s", got.header, got.body)
	}
	ada.send("GET", "/guarded", "").want(200, "")
}

func TestARefusedTokenIsLoggedWithoutTheToken(t *testing.T) {
	s := newSite(t, Options{})
	s.browser().send("GET", "/guarded", "", bearer(s.application(object{"exp": 1}))...).want(401, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(s.log.String(), "level=DEBUG") || !strings.Contains(s.log.String(), ErrExpired.Error()) {
		t.Errorf("logged %q", s.log.String())
	}
}

func TestRequestsAndCallsAreMeasured(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := NewMetrics(registry)
	newSite(t, Options{Metrics: metrics}).browser().login("ada")
	a := newApplication(t, WebhookOptions{}, says("read"))
	a.guard.webhook.metrics = metrics
	a.want(Read, nil)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]uint64{}
	for _, family := range families {
		counted[family.GetName()] = family.Metric[0].GetHistogram().GetSampleCount()
	}
	for _, name := range []string{"collab_editor_auth_request_seconds", "collab_editor_auth_webhook_seconds"} {
		if counted[name] != 1 {
			t.Errorf("%s has measured %d times", name, counted[name])
		}
	}
}

func TestWhoDoesNotSendWhatWasAnnouncedIsLeftAtSomeTime(t *testing.T) {
	w := &slow{ResponseRecorder: httptest.NewRecorder()}
	newSite(t, Options{}).guard.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/auth/login", nil))
	if in := time.Until(w.at); in <= 0 || in > bodyTimeout {
		t.Errorf("it may take %v", in)
	}
}

// slow is a writer that knows when its request has to be read.
type slow struct {
	*httptest.ResponseRecorder
	at time.Time
}

func (s *slow) SetReadDeadline(at time.Time) error { s.at = at; return nil }
