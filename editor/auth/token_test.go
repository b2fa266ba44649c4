package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestTokensAreChecked(t *testing.T) {
	g := newGuard(t, Options{Issuer: "app", Audience: "collab"})
	now := time.Now()
	good := object{"iss": "app", "aud": []string{"x", "collab"}}
	with := func(name string, value any) object {
		return object{"iss": "app", "aud": "collab", name: value}
	}
	for name, c := range map[string]struct {
		claims object
		want   error
	}{
		"good":                   {good, nil},
		"expired":                {with("exp", now.Add(-time.Minute).Unix()), ErrExpired},
		"expired within leeway":  {with("exp", now.Add(-2*time.Second).Unix()), nil},
		"no exp":                 {with("exp", nil), ErrUnauthenticated},
		"exp too far away":       {with("exp", now.Add(25*time.Hour).Unix()), ErrUnauthenticated},
		"exp beyond all numbers": {with("exp", 1e300), ErrUnauthenticated},
		"exp is no number":       {with("exp", "tomorrow"), ErrUnauthenticated},
		"not valid yet":          {with("nbf", now.Add(time.Minute).Unix()), ErrUnauthenticated},
		"from the future":        {with("iat", now.Add(time.Minute).Unix()), ErrUnauthenticated},
		"another issuer":         {with("iss", "evil"), ErrUnauthenticated},
		"no issuer":              {with("iss", nil), ErrUnauthenticated},
		"another audience":       {with("aud", "mail"), ErrUnauthenticated},
		"no audience":            {with("aud", nil), ErrUnauthenticated},
		"no user":                {with("sub", nil), ErrUnauthenticated},
		"user of control bytes":  {with("sub", "a\nb"), ErrUnauthenticated},
		"long user":              {with("sub", strings.Repeat("a", 257)), ErrUnauthenticated},
		"organization is a path": {with("org", "a/b"), ErrUnauthenticated},
		"unknown access":         {with("docs", object{"*": "admin"}), ErrUnauthenticated},
		"docs is a list":         {with("docs", []string{"*"}), ErrUnauthenticated},
		"wrong pattern":          {with("docs", object{"a/b/c": "read"}), ErrUnauthenticated},
		"huge":                   {with("x", strings.Repeat("a", 8<<10)), ErrUnauthenticated},
	} {
		identity, err := g.Authenticate(t.Context(), hs256(t, c.claims))
		if !errors.Is(err, c.want) || c.want != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil && (identity.User != "ada" || identity.Organization != "acme" ||
			identity.Access("acme/plan") != Write || identity.Access("other/plan") != None) {
			t.Errorf("%s: %+v", name, identity)
		}
	}
}

func TestNoWrongSignaturePasses(t *testing.T) {
	g := newGuard(t, Options{})
	good := hs256(t, nil)
	parts := strings.Split(good, ".")
	raw := base64.RawURLEncoding.EncodeToString
	for name, token := range map[string]string{
		"empty":            "",
		"another secret":   sign(t, jose.HS256, "", secretB, valid(nil)),
		"HS512":            sign(t, jose.HS512, "", secretA+secretB, valid(nil)),
		"none":             raw([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
		"None":             raw([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2],
		"no signature":     parts[0] + "." + parts[1] + ".",
		"changed claims":   parts[0] + "." + raw([]byte(`{"sub":"eve","exp":9999999999}`)) + "." + parts[2],
		"critical header":  raw([]byte(`{"alg":"HS256","crit":["x"],"x":1}`)) + "." + parts[1] + "." + parts[2],
		"more parts":       good + ".x",
		"JSON":             `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"space":            good + " ",
		"own header's key": sign(t, jose.EdDSA, "", newEdDSA(t), valid(nil)),
	} {
		if _, err := g.Authenticate(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), parts[1]) || token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error tells the token", name)
		}
	}
}

func newEdDSA(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// A public key is public: whoever takes it for an HMAC secret must not get in.
func TestAlgorithmsCannotBeConfused(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edKey := newEdDSA(t)
	server := newJWKSServer(t)
	server.set(public("rsa", "", rsaKey), public("ec", "", ecKey), public("ed", "", edKey))
	g := newGuard(t, Options{
		JWKSURL: server.URL, Issuer: "app", Audience: "collab", SecretFile: write(t, "secret", secretA),
	})
	c := valid(object{"iss": "app", "aud": "collab"})
	for _, ok := range []string{
		sign(t, jose.RS256, "rsa", rsaKey, c), sign(t, jose.ES256, "ec", ecKey, c), sign(t, jose.EdDSA, "ed", edKey, c),
		sign(t, jose.HS256, "rsa", secretA, c), sign(t, jose.RS256, "", rsaKey, c),
	} {
		if _, err := g.Authenticate(t.Context(), ok); err != nil {
			t.Error(err)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk, err := public("rsa", "", rsaKey).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	forged := map[string]string{
		"RSA key in PEM as a secret": sign(t, jose.HS256, "rsa", string(text), c),
		"RSA key in DER as a secret": sign(t, jose.HS256, "rsa", string(der), c),
		"JWK as a secret":            sign(t, jose.HS256, "rsa", string(jwk), c),
		"Ed25519 key as a secret":    sign(t, jose.HS256, "ed", string(edKey.Public().(ed25519.PublicKey)), c),
		"PS256":                      sign(t, jose.PS256, "rsa", rsaKey, c),
		"RS512":                      sign(t, jose.RS512, "rsa", rsaKey, c),
		"RSA for another key's id":   sign(t, jose.RS256, "ec", rsaKey, c),
	}
	for name, token := range forged {
		if _, err := g.Authenticate(t.Context(), token); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretsAreRotated(t *testing.T) {
	path := write(t, "secret", secretA)
	g := newGuard(t, Options{SecretFile: path})
	old, fresh := hs256(t, nil), sign(t, jose.HS256, "", secretB, valid(nil))
	accepted := func(token string) bool {
		_, err := g.Authenticate(t.Context(), token)
		return err == nil
	}
	if !accepted(old) || accepted(fresh) {
		t.Fatal("the first secret is not the one in use")
	}
	replace := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace(secretB + "\n" + secretA + "\n")
	eventually(t, "both secrets are accepted", func() bool { return accepted(old) && accepted(fresh) })
	replace("too short")
	replace(secretB)
	eventually(t, "the old secret is refused", func() bool { return !accepted(old) && accepted(fresh) })
	replace("too short")
	time.Sleep(keyFileInterval) // So that it is read once more.
	if !accepted(fresh) {
		t.Error("a broken file took the last good secret away")
	}
}

func TestOptionsAreExplained(t *testing.T) {
	secret := write(t, "secret", secretA)
	for want, o := range map[string]Options{
		"Somebody must sign":   {},
		"the issuer and":       {JWKSURL: "https://app.example.com/jwks"},
		"https:// or http://":  {JWKSURL: "ftp://app", Issuer: "a", Audience: "b"},
		"at least 32":          {SecretFile: write(t, "short", "short")},
		"there is no key":      {SecretFile: write(t, "empty", "\n\n")},
		"no such file":         {SecretFile: secret + ".not"},
		"The leeway":           {SecretFile: secret, Leeway: time.Hour},
		"Sessions need a file": {SecretFile: secret, Sessions: &FileSessions{}},
		"must differ":          {SecretFile: secret, Issuer: "collab-editor"},
		"must be like https":   {SecretFile: secret, Origins: []string{"app.example.com"}},
		"a subdomain only":     {SecretFile: secret, Origins: []string{"https://*"}},
		"webhook needs a file": {SecretFile: secret, Webhook: &WebhookOptions{URL: "https://app.example.com"}},
		"of access tokens":     {SecretFile: secret, AccessLifetime: 2 * time.Hour},
		"lifetime of sessions": {SecretFile: secret, RefreshLifetime: 365 * 24 * time.Hour},
	} {
		g, err := New(o)
		if err == nil {
			g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAnOpenGuardLetsEverybodyIn(t *testing.T) {
	g := Open()
	defer g.Close()
	i, err := g.Authenticate(t.Context(), "")
	if err != nil || i.User != "" || !i.Expires.IsZero() || i.Access("any/thing") != Write {
		t.Fatal(i, err)
	}
	if a, err := g.Authorize(t.Context(), i, "any/thing"); a != Write || err != nil {
		t.Fatal(a, err)
	}
	g.Watch(i, func() { t.Error("revoked") })()
	if g.Token(request("GET", "http://collab/", "", "Authorization", "Bearer x")) != "x" {
		t.Fatal("no token")
	}
}

func TestTheTokenGivenOnPurposeGoesFirst(t *testing.T) {
	g := newGuard(t, Options{})
	cookie := []string{"Cookie", "__Host-collab-access=cookie; other=x"}
	socket := []string{"Upgrade", "websocket"}
	for name, c := range map[string]struct {
		target string
		header []string
		want   string
	}{
		"nothing":             {"https://collab/x", nil, ""},
		"cookie":              {"https://collab/x", cookie, "cookie"},
		"header":              {"https://collab/x", append([]string{"Authorization", "bearer  head"}, cookie...), "head"},
		"other scheme":        {"https://collab/x", append([]string{"Authorization", "Basic eDp5"}, cookie...), "cookie"},
		"parameter":           {"https://collab/x?token=q", append(socket, cookie...), "q"},
		"empty parameter":     {"https://collab/x?token=", append(socket, cookie...), "cookie"},
		"no WebSocket":        {"https://collab/x?token=q", nil, ""},
		"cookie of plain use": {"https://collab/x", []string{"Cookie", "collab-access=plain"}, ""},
	} {
		if got := g.Token(request("GET", c.target, "", c.header...)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzToken(f *testing.F) {
	path := write(f, "secret", secretA)
	g, err := New(Options{SecretFile: path})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(g.Close)
	good := hs256(f, nil)
	f.Add(good)
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(hs256(f, object{"docs": nil}))
	f.Fuzz(func(t *testing.T, token string) {
		identity, err := g.Authenticate(t.Context(), token)
		switch {
		case err == nil && identity.User != "ada":
			t.Fatalf("%q speaks for %q", token, identity.User)
		case err != nil && !errors.Is(err, ErrUnauthenticated):
			t.Fatalf("%q: %v", token, err)
		}
	})
}

func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"a","exp":1000,"org":"acme","docs":{"*":"write"}}`))
	f.Add([]byte(`{"sub":"a","exp":1e300,"docs":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c claims
		if json.Unmarshal(data, &c) != nil {
			return
		}
		now := time.Unix(900, 0)
		r := rules{leeway: time.Second, maxLifetime: time.Hour}
		if i, err := r.identify(c, now); err == nil && (i.User == "" || i.Expires.Before(now)) {
			t.Fatalf("%s: %+v", data, i)
		}
	})
}

func FuzzRefreshToken(f *testing.F) {
	f.Add(newRefreshToken().encode())
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := parseRefreshToken(text); err == nil && token.encode() != text {
			t.Fatalf("%q is read as %q", text, token.encode())
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(secretA))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if err == nil && (len(keys) == 0 || keys[0].sign == nil) {
			t.Fatalf("%q: no key signs", data)
		}
		_, _ = parseJWKS(data)
	})
}
