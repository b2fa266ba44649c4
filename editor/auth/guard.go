// Package auth decides who a client is and what it may do: it verifies access tokens, keeps sessions with refresh tokens
// and their revocation, asks the application's permission webhook, and tells foreign web pages from the application's.
//
// It knows nothing of documents, protocols and sockets: the edge and the REST API ask it, and are told when somebody's
// access ends.
package auth

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	defaultLeeway          = 10 * time.Second
	defaultMaxLifetime     = time.Hour
	defaultMaxTokenBytes   = 8 << 10
	defaultAccessLifetime  = 15 * time.Minute
	defaultRefreshLifetime = 7 * 24 * time.Hour
	defaultSessionIssuer   = "collab-editor"
	defaultWebhookTimeout  = 2 * time.Second
	defaultWebhookTTL      = 30 * time.Second
	defaultWebhookCache    = 10_000

	// maxSessionLifetime bounds Options.RefreshLifetime: users' revocations are remembered that long.
	maxSessionLifetime = 90 * 24 * time.Hour
	// firstFollow is how long tokens wait, after the start, for the revocations to be read. After it the service works
	// without knowing them, as it does when the store is lost later.
	firstFollow = 5 * time.Second
	pruneEvery  = time.Minute
)

// Options configure a Guard. SecretFile, JWKSURL or both say who signs the application's tokens.
type Options struct {
	// SecretFile has the secrets, one a line and at least 32 bytes long, that the application signs HS256 tokens with. All
	// are accepted, and the file is read again when it changes.
	SecretFile string
	// JWKSURL is where the application's public keys are, for RS256, ES256 and EdDSA. It needs Issuer and Audience.
	JWKSURL string
	// Issuer and Audience are what the application's tokens must have as iss and aud; empty asks for nothing.
	Issuer, Audience string
	// Leeway is how far clocks may differ, 10 s by default.
	Leeway time.Duration
	// MaxLifetime is how far away a token's exp may be, an hour by default: revocations are remembered that long.
	MaxLifetime time.Duration
	// MaxTokenBytes bounds a token, 8 KiB by default.
	MaxTokenBytes int

	// Sessions keeps sessions; without it there is no /auth/ and no revocation. SigningKeyFile then has what the access
	// tokens of sessions are signed with: secrets as in SecretFile, or Ed25519 private keys in PEM. The first one signs,
	// all are accepted.
	Sessions       Sessions
	SigningKeyFile string
	// AccessLifetime is that of sessions' access tokens, 15 minutes by default, RefreshLifetime that of a whole session, 7
	// days by default. SessionIssuer is the iss of these tokens, "collab-editor" by default.
	AccessLifetime, RefreshLifetime time.Duration
	SessionIssuer                   string

	// Origins are the pages, besides those of this host, that may use the service with their users' cookies.
	Origins []string
	// InsecureCookies leaves out what browsers accept over HTTPS only: for trying out over plain HTTP.
	InsecureCookies bool

	// Webhook is asked for permissions; nil for none.
	Webhook *WebhookOptions

	// HTTPClient reads the JWKS and calls the webhook, http.DefaultClient by default. Clock is time.Now by default.
	HTTPClient *http.Client
	Clock      func() time.Time
	Logger     *slog.Logger
	Metrics    *Metrics
}

// defaults fills in what is not set.
func (o *Options) defaults() {
	duration := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	duration(&o.Leeway, defaultLeeway)
	duration(&o.MaxLifetime, defaultMaxLifetime)
	duration(&o.AccessLifetime, defaultAccessLifetime)
	duration(&o.RefreshLifetime, defaultRefreshLifetime)
	if o.MaxTokenBytes == 0 {
		o.MaxTokenBytes = defaultMaxTokenBytes
	}
	if o.SessionIssuer == "" {
		o.SessionIssuer = defaultSessionIssuer
	}
	if o.HTTPClient == nil {
		o.HTTPClient = http.DefaultClient
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Webhook != nil {
		w := *o.Webhook
		duration(&w.Timeout, defaultWebhookTimeout)
		duration(&w.TTL, defaultWebhookTTL)
		if w.CacheSize == 0 {
			w.CacheSize = defaultWebhookCache
		}
		o.Webhook = &w
	}
}

// check says everything that is wrong, one sentence a line.
func (o *Options) check() error {
	var wrong []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	isURL := func(text string) bool {
		parsed, err := url.Parse(text)
		return err == nil && (parsed.Scheme == "https" || parsed.Scheme == "http") && parsed.Host != ""
	}
	check(o.SecretFile != "" || o.JWKSURL != "", "Somebody must sign the tokens: set a file of secrets or the URL of a JWKS.")
	check(o.JWKSURL == "" || isURL(o.JWKSURL), "The URL of the JWKS must begin with https:// or http://.")
	check(o.JWKSURL == "" || o.Issuer != "" && o.Audience != "",
		"With a JWKS set the issuer and the audience: else tokens that are meant for others would be accepted here.")
	check(o.Leeway >= 0 && o.Leeway <= 5*time.Minute, "The leeway must be from 0 to 5m, not %v.", o.Leeway)
	check(o.MaxLifetime > 0, "The longest lifetime of a token must be above 0.")
	check(o.AccessLifetime > 0 && o.AccessLifetime <= o.MaxLifetime,
		"The lifetime of access tokens must be above 0 and at most %v.", o.MaxLifetime)
	check(o.RefreshLifetime > o.AccessLifetime && o.RefreshLifetime <= maxSessionLifetime,
		"The lifetime of sessions must be above that of access tokens and at most %v.", maxSessionLifetime)
	check(o.MaxTokenBytes > 0, "The bound of a token's size must be above 0.")
	check(o.Sessions == nil || o.SigningKeyFile != "", "Sessions need a file with the key that signs their tokens.")
	check(o.Issuer != o.SessionIssuer, "The application's issuer and that of sessions must differ.")
	if w := o.Webhook; w != nil {
		check(isURL(w.URL), "The URL of the permission webhook must begin with https:// or http://.")
		check(w.SecretFile != "", "The permission webhook needs a file with the secret that signs its requests.")
		check(w.Timeout > 0 && w.TTL > 0 && w.CacheSize > 0, "The permission webhook's bounds must be above 0.")
	}
	return errors.Join(wrong...)
}

// Retention is how long Sessions must keep revocations: no token that one concerns lives longer.
func (o Options) Retention() time.Duration {
	o.defaults()
	return o.keep() + time.Minute
}

// keep is how long this process remembers revocations: a little less than the store, so that it never gives the store
// back what that has rightly forgotten.
func (o *Options) keep() time.Duration { return o.MaxLifetime + 2*o.Leeway }

// Guard answers who may do what. It is safe for concurrent use.
type Guard struct {
	options     Options
	open        bool
	verifier    verifier
	signing     *keyFile
	origins     *origins
	webhook     *webhook
	revocations *revocations
	ready       chan struct{} // closed when revocations are known, or have been waited for long enough
	becomeReady sync.Once

	wait   sync.WaitGroup
	cancel context.CancelFunc
}

// New returns a guard. Its error names everything that is wrong with the options. Close ends it.
func New(o Options) (*Guard, error) {
	o.defaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	g := &Guard{options: o, revocations: newRevocations(o.keep()), ready: make(chan struct{})}
	var err error
	if g.origins, err = parseOrigins(o.Origins); err != nil {
		return nil, err
	}
	g.verifier = verifier{maxBytes: o.MaxTokenBytes, application: source{
		rules:       rules{issuer: o.Issuer, audience: o.Audience, leeway: o.Leeway, maxLifetime: o.MaxLifetime},
		byAlgorithm: map[jose.SignatureAlgorithm]keySource{},
	}}
	if o.SecretFile != "" {
		secrets, err := openSecretFile(o.SecretFile, g.options.Clock, g.options.Logger)
		if err != nil {
			return nil, err
		}
		g.verifier.application.byAlgorithm[jose.HS256] = secrets
	}
	if o.Sessions != nil {
		if g.signing, err = openKeyFile(o.SigningKeyFile, o.Clock, o.Logger); err != nil {
			return nil, err
		}
		g.verifier.session = &source{
			rules: rules{issuer: o.SessionIssuer, audience: o.SessionIssuer, leeway: o.Leeway,
				maxLifetime: o.MaxLifetime, session: true},
			byAlgorithm: map[jose.SignatureAlgorithm]keySource{jose.HS256: g.signing, jose.EdDSA: g.signing},
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	if o.Webhook != nil {
		if g.webhook, err = g.newWebhook(ctx); err != nil {
			cancel()
			return nil, err
		}
	}
	g.start(ctx)
	return g, nil
}

// newWebhook returns who asks the application, with a file of secrets of its own.
func (g *Guard) newWebhook(ctx context.Context) (*webhook, error) {
	o := g.options.Webhook
	secret, err := openSecretFile(o.SecretFile, g.options.Clock, g.options.Logger)
	if err != nil {
		return nil, err
	}
	client := *g.options.HTTPClient
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &webhook{
		options: *o, secret: &SecretFile{secret}, client: &client, clock: g.options.Clock, metrics: g.options.Metrics,
		calls: make(chan struct{}, maxWebhookCalls), known: map[WebhookRequest]*answer{}, recent: list.New(),
		spawn: func(call func(context.Context)) { g.wait.Go(func() { call(ctx) }) },
	}, nil
}

// start starts what runs until Close.
func (g *Guard) start(ctx context.Context) {
	o := g.options
	if o.JWKSURL != "" {
		set := newJWKS(o.JWKSURL, o.HTTPClient, o.Logger, o.Metrics)
		for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
			g.verifier.application.byAlgorithm[algorithm] = set
		}
		g.wait.Go(func() { set.run(ctx) })
	}
	if o.Sessions == nil {
		close(g.ready)
		return
	}
	g.wait.Go(func() {
		o.Sessions.Follow(ctx, g.follow, func() []Revocation { return g.revocations.list(o.Clock()) })
	})
	g.wait.Go(func() { g.prune(ctx) })
}

// follow takes in what the store tells.
func (g *Guard) follow(batch []Revocation, complete bool) {
	now := g.options.Clock()
	g.revocations.add(batch, now)
	g.options.Metrics.followedRevocations(g.revocations.size(), now)
	if complete {
		g.becomeReady.Do(func() { close(g.ready) })
	}
}

// prune forgets old revocations, and ends the wait for the first ones.
func (g *Guard) prune(ctx context.Context) {
	first := time.NewTimer(firstFollow)
	defer first.Stop()
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-first.C:
			g.becomeReady.Do(func() {
				g.options.Logger.Warn("The revocations could not be read in time; tokens are accepted without knowing them")
				close(g.ready)
			})
		case <-ticker.C:
			g.revocations.prune(g.options.Clock())
		}
	}
}

// Open returns a guard for a service without authentication: everybody is anonymous and may write everything. Pages are
// let in as by OpenTo without origins.
func Open() *Guard {
	g, _ := OpenTo(nil) // Only origins can be wrong.
	return g
}

// OpenTo returns a guard as Open does that lets these pages in besides those of the service's host: for whoever opens any
// web page would else give it what only he can reach. To a service that is reached as this very machine, pages of this
// machine are no strangers, whatever their port. The error says what is wrong with an origin.
func OpenTo(list []string) (*Guard, error) {
	allowed, err := parseOrigins(list)
	if err != nil {
		return nil, err
	}
	allowed.local = true
	return &Guard{open: true, origins: allowed}, nil
}

// Close ends the guard's goroutines and waits for them. Nothing may ask it anymore. It does not close Options.Sessions.
func (g *Guard) Close() {
	if g.open {
		return
	}
	g.cancel()
	g.wait.Wait()
}

// anonymous is every visitor of an open Guard.
var anonymous = &Identity{open: true}

// Authenticate returns whom a token speaks for. The error is an ErrUnauthenticated, of which ErrExpired and ErrRevoked
// are two, or an ErrUnavailable; it contains nothing of the token and may be told to the client.
func (g *Guard) Authenticate(ctx context.Context, token string) (*Identity, error) {
	if g.open {
		return anonymous, nil
	}
	identity, err := g.authenticate(ctx, token)
	g.options.Metrics.token(err)
	if err != nil {
		g.options.Logger.Debug("A token was refused", "error", err)
	}
	return identity, err
}

func (g *Guard) authenticate(ctx context.Context, token string) (*Identity, error) {
	identity, err := g.verifier.verify(ctx, token, g.options.Clock())
	if err != nil {
		return nil, err
	}
	select {
	case <-g.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	if g.revocations.revoked(identity) {
		return nil, ErrRevoked
	}
	return identity, nil
}

// Authorize returns what an identity may do with organization/document: what its claims allow, which the webhook may
// narrow; where the claims have no docs, the webhook decides alone about the identity's own organization. The error is
// an ErrUnavailable when the webhook could not be asked; the access is None then.
func (g *Guard) Authorize(ctx context.Context, i *Identity, document string) (Access, error) {
	if g.webhook == nil || i.open {
		return i.Access(document), nil
	}
	ceiling := i.ceiling(document)
	if ceiling == None {
		return None, nil
	}
	return g.webhook.ask(ctx, WebhookRequest{
		User: i.User, Organization: i.Organization, Document: document, Granted: ceiling,
	})
}

// MayWriteIn says whether an identity may write any document of an organization, as far as that can be said without
// asking the webhook: where that decides, it may.
func (g *Guard) MayWriteIn(i *Identity, organization string) bool {
	if i.open {
		return true
	}
	if g.webhook != nil && !i.scoped {
		return i.Organization == "" || i.Organization == organization
	}
	return slices.ContainsFunc(i.grants, func(one grant) bool {
		return one.access == Write && match(one.organization, organization)
	})
}

// Token returns the token of a request, empty when it has none: that of the header Authorization, the parameter token of
// a WebSocket's URL, or the cookie. What was given on purpose goes before what the browser adds by itself.
func (g *Guard) Token(r *http.Request) string {
	token, _ := g.token(r)
	return token
}

// token also says whether the token came by cookie.
func (g *Guard) token(r *http.Request) (token string, cookie bool) {
	if bearer, ok := bearerToken(r); ok {
		return bearer, false
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		if token := r.URL.Query().Get("token"); token != "" {
			return token, false
		}
	}
	if g.open {
		return "", false
	}
	if c, err := r.Cookie(g.accessCookie()); err == nil {
		return c.Value, true
	}
	return "", false
}

// bearerToken returns the token of the header Authorization, and whether it has one.
func bearerToken(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// AllowOrigin says whether a request comes from a page that may use the service with its user's cookies, or from no
// browser. It keeps foreign pages from opening WebSockets.
func (g *Guard) AllowOrigin(r *http.Request) bool { return g.origins.allow(r) }

// Watch calls revoked, at most once, within 2 s of the revocation of the identity's user or session on any pod; at once,
// before it returns, if it is revoked already. revoked must not block nor call the guard. It may still be running when
// stop returns.
func (g *Guard) Watch(i *Identity, revoked func()) (stop func()) {
	if g.open || i.open {
		return func() {}
	}
	return g.revocations.watch(i, func() {
		g.options.Metrics.endedConnection()
		revoked()
	})
}
