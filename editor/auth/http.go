package auth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	maxBody = 32 << 10
	// bodyTimeout bounds the reading of a request's body.
	bodyTimeout = 10 * time.Second
	// ticketLifetime is how long a WebSocket can be opened or prolonged with the token that pages can read.
	ticketLifetime = time.Minute
	// rotationGrace is how long after its replacement a refresh token is answered again, by the same new one, instead of
	// being taken for stolen: tabs refresh at the same time, and answers get lost. A thief who is as quick gets it, too,
	// and is found when thief and user replace the new one.
	rotationGrace = 10 * time.Second
	corsMaxAge    = "600"
)

// accessCookie is the cookie with the access token. Its prefix makes browsers refuse it from subdomains and over HTTP.
func (g *Guard) accessCookie() string {
	if g.options.InsecureCookies {
		return "collab-access"
	}
	return "__Host-collab-access"
}

// refreshCookie is sent to /auth/ only.
func (g *Guard) refreshCookie() string {
	if g.options.InsecureCookies {
		return "collab-refresh"
	}
	return "__Secure-collab-refresh"
}

// Problem is an error as RFC 9457 writes it.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{
		Type: "urn:collab:problem:" + kind, Title: http.StatusText(status), Status: status, Detail: detail,
	})
}

// fail answers an error of this package. Only its own errors are told; what went wrong with a store is logged.
func (g *Guard) fail(w http.ResponseWriter, r *http.Request, err error) {
	kind := "unauthenticated"
	switch {
	case errors.Is(err, ErrReplaced):
		problem(w, http.StatusConflict, "replaced", err.Error())
		return
	case errors.Is(err, ErrReused):
		g.options.Logger.Warn("A replaced refresh token was used again; its session is revoked", "path", r.URL.Path)
		kind = "reused"
	case errors.Is(err, ErrRevoked):
		kind = "revoked"
	case errors.Is(err, ErrExpired):
		kind = "expired"
	case !errors.Is(err, ErrUnauthenticated):
		if !errors.Is(err, ErrUnavailable) { // Whoever could not be asked is logged where that was found.
			g.options.Logger.Warn("The store of sessions does not answer", "path", r.URL.Path, "error", err)
		}
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable, "unavailable", "Authentication cannot be decided now; try again.")
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	problem(w, http.StatusUnauthorized, kind, err.Error())
}

// Middleware puts the identity of each request into its context, for IdentityFrom, and refuses requests without one.
// What changes something with a cookie's token must come from an allowed page.
func (g *Guard) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.open {
			w.Header().Set("Cache-Control", "no-store")
		}
		token, cookie := g.token(r)
		if cookie && g.origins.forged(r) {
			problem(w, http.StatusForbidden, "cross-site", "The request comes from another site.")
			return
		}
		identity, err := g.Authenticate(r.Context(), token)
		if err == nil && identity.ticket {
			err = refuse("this token is for WebSockets only")
		}
		if err != nil {
			g.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, identity)))
	})
}

// Handler serves /auth/login, /auth/refresh, /auth/logout and /auth/revoke. Without sessions there is nothing there.
func (g *Guard) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(what string, serve http.HandlerFunc) {
		mux.HandleFunc("/auth/"+what, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				w.Header().Set("Allow", http.MethodPost)
				problem(w, http.StatusMethodNotAllowed, "method", "Use POST.")
				return
			}
			defer g.options.Metrics.requested(what, time.Now())
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			// Where this is not supported the server bounds it.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
			serve(w, r)
		})
	}
	if !g.open && g.options.Sessions != nil {
		handle("login", g.login)
		handle("refresh", g.refresh)
		handle("logout", g.logout)
		handle("revoke", g.revoke)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "not-found", "There is nothing here.")
	})
	return g.Pages(mux, http.MethodPost)
}

// Pages lets pages of the listed origins call next by these methods, with their users' cookies, and read its answers.
// Pages of other sites change nothing, whatever they know.
func (g *Guard) Pages(next http.Handler, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Vary", "Origin")
		if g.origins.listed(r) {
			header.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
			header.Set("Access-Control-Allow-Credentials", "true")
			header.Set("Access-Control-Expose-Headers", "ETag, Location, Retry-After")
			if r.Method == http.MethodOptions {
				header.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
				header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
				header.Set("Access-Control-Max-Age", corsMaxAge)
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		if g.origins.forged(r) {
			problem(w, http.StatusForbidden, "cross-site", "The request comes from another site.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// decode reads a JSON body, which may be empty, and answers itself when it cannot.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		// The decoder's own words could contain what was sent.
		problem(w, http.StatusBadRequest, "malformed", "The body must be a JSON object with the documented fields.")
		return false
	}
	return true
}

// tokens is what a login and a refresh answer. AccessToken and RefreshToken are there only for who asked for them rather
// than for cookies.
type tokens struct {
	User           string    `json:"user"`
	Organization   string    `json:"org,omitempty"`
	Family         string    `json:"family"`
	Expires        time.Time `json:"expires"`
	SessionExpires time.Time `json:"sessionExpires"`
	SocketToken    string    `json:"socketToken"`
	AccessToken    string    `json:"accessToken,omitempty"`
	RefreshToken   string    `json:"refreshToken,omitempty"`
}

// login exchanges the application's token for a session.
func (g *Guard) login(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Token string `json:"token"`
		// Tokens asks for the tokens themselves instead of cookies: for programs that are no browsers.
		Tokens bool `json:"tokens"`
	}
	if !decode(w, r, &body) {
		return
	}
	token := body.Token
	if bearer, ok := bearerToken(r); ok {
		token = bearer
	}
	// The cookie is not looked at: nobody can be logged in by what a browser adds by itself.
	identity, err := g.Authenticate(r.Context(), token)
	if err == nil && !identity.began.IsZero() {
		err = refuse("only the application's token begins a session")
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	refresh := newRefreshToken()
	session, err := g.options.Sessions.Create(r.Context(), Session{
		Family: refresh.family(), User: identity.User, Organization: identity.Organization, Docs: identity.docs,
		Issued: identity.issued,
	}, refresh.secret(), g.options.RefreshLifetime)
	g.options.Metrics.session("created", err)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	g.grant(w, r, session, refresh, !body.Tokens)
}

// refresh replaces a refresh token and gives a new access token. What came by cookie goes back by cookie only.
func (g *Guard) refresh(w http.ResponseWriter, r *http.Request) {
	text, cookies, ok := g.refreshTokenOf(w, r)
	if !ok {
		return
	}
	now, err := parseRefreshToken(text)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	next := now.next(g.signing.secret())
	session, err := g.options.Sessions.Rotate(r.Context(), now.family(), now.secret(), next.secret(), rotationGrace)
	g.options.Metrics.session("rotated", err)
	if err != nil {
		if cookies && errors.Is(err, ErrUnauthenticated) {
			g.clearCookies(w)
		}
		g.fail(w, r, err)
		return
	}
	g.grant(w, r, session, next, cookies)
}

// refreshTokenOf returns the refresh token that a request has in its body or cookie.
func (g *Guard) refreshTokenOf(w http.ResponseWriter, r *http.Request) (text string, cookies, ok bool) {
	var body struct {
		RefreshToken string `json:"refreshToken"`
	}
	if !decode(w, r, &body) {
		return "", false, false
	}
	if body.RefreshToken != "" {
		return body.RefreshToken, false, true
	}
	if c, err := r.Cookie(g.refreshCookie()); err == nil {
		return c.Value, true, true
	}
	return "", false, true
}

// grant answers with a session's tokens.
func (g *Guard) grant(w http.ResponseWriter, r *http.Request, s Session, refresh refreshToken, cookies bool) {
	now := g.options.Clock()
	expires := now.Add(g.options.AccessLifetime)
	if expires.After(s.Expires) {
		expires = s.Expires
	}
	c := claims{
		Claims: jwt.Claims{
			Issuer: g.options.SessionIssuer, Audience: jwt.Audience{g.options.SessionIssuer}, Subject: s.User,
			IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(expires),
		},
		Organization: s.Organization, Docs: s.Docs, Family: s.Family, Began: s.Began.UnixMilli(),
	}
	access, err := g.signing.mint(c)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	c.Until = expires.Unix()
	if ticket := now.Add(ticketLifetime); ticket.Before(expires) {
		c.Expiry = jwt.NewNumericDate(ticket)
	}
	ticket, err := g.signing.mint(c)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	answer := tokens{
		User: s.User, Organization: s.Organization, Family: s.Family, Expires: expires.UTC().Truncate(time.Second),
		SessionExpires: s.Expires.UTC().Truncate(time.Second), SocketToken: ticket,
	}
	if cookies {
		g.setCookie(w, g.accessCookie(), "/", access, expires.Sub(now))
		g.setCookie(w, g.refreshCookie(), "/auth/", refresh.encode(), s.Expires.Sub(now))
	} else {
		answer.AccessToken, answer.RefreshToken = access, refresh.encode()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// setCookie sets a cookie that no script can read and no foreign page can use; no lifetime deletes it.
func (g *Guard) setCookie(w http.ResponseWriter, name, path, value string, lifetime time.Duration) {
	age := int(lifetime.Seconds())
	if age <= 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: path, MaxAge: age, HttpOnly: true, Secure: !g.options.InsecureCookies,
		SameSite: http.SameSiteStrictMode,
	})
}

func (g *Guard) clearCookies(w http.ResponseWriter) {
	g.setCookie(w, g.accessCookie(), "/", "", 0)
	g.setCookie(w, g.refreshCookie(), "/auth/", "", 0)
}

// logout ends the session of the refresh token or, without one, of the access token. The cookies go whatever happens.
func (g *Guard) logout(w http.ResponseWriter, r *http.Request) {
	text, _, ok := g.refreshTokenOf(w, r)
	if !ok {
		return
	}
	g.clearCookies(w)
	var err error
	if token, bad := parseRefreshToken(text); bad == nil {
		// Whoever knows the family's number had its token: that may end it, current or not.
		err = g.options.Sessions.End(r.Context(), token.family())
	} else if identity, bad := g.Authenticate(r.Context(), g.Token(r)); bad == nil && identity.Family != "" {
		err = g.options.Sessions.Revoke(r.Context(), identity.Family, "")
	}
	g.options.Metrics.session("ended", err)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// revoke ends a family or all that a user has begun.
func (g *Guard) revoke(w http.ResponseWriter, r *http.Request) {
	bearer, _ := bearerToken(r)
	identity, err := g.Authenticate(r.Context(), bearer)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	if !identity.Admin {
		problem(w, http.StatusForbidden, "forbidden", "Revoking needs a token with the claim collab_admin.")
		return
	}
	var body struct {
		User   string `json:"user"`
		Family string `json:"family"`
	}
	if !decode(w, r, &body) {
		return
	}
	if (body.User == "") == (body.Family == "") || !validName(body.User+body.Family) {
		problem(w, http.StatusBadRequest, "malformed", "Name a user or a family.")
		return
	}
	err = g.options.Sessions.Revoke(r.Context(), body.Family, body.User)
	g.options.Metrics.session("revoked", err)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	g.options.Logger.Info("Access was revoked", "by", identity.User, "user", body.User, "family", body.Family)
	w.WriteHeader(http.StatusNoContent)
}
