package auth

import (
	"crypto"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretA = "a secret of the application: 0123456789abcdef"
	secretB = "another secret of the application: 0123456789"
	ownKey  = "the key of this service's sessions: 0123456789"
)

// write puts a text into a file of its own.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newGuard returns a guard, with the application's secretA unless the options say otherwise.
func newGuard(t testing.TB, o Options) *Guard {
	t.Helper()
	if o.SecretFile == "" && o.JWKSURL == "" {
		o.SecretFile = write(t, "secret", secretA)
	}
	if o.Sessions != nil && o.SigningKeyFile == "" {
		o.SigningKeyFile = write(t, "signing", ownKey)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

type object = map[string]any

// sign makes a token. The key may be a secret or a private key.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, kid string, key any, c object) string {
	t.Helper()
	if text, ok := key.(string); ok {
		key = []byte(text)
	}
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// valid returns claims that are in order, with changes; a nil value removes a claim.
func valid(changes object) object {
	now := time.Now()
	c := object{
		"sub": "ada", "org": "acme", "iat": now.Unix(), "exp": now.Add(15 * time.Minute).Unix(),
		"docs": object{"*": "write"},
	}
	for name, value := range changes {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// hs256 makes a token of the application.
func hs256(t testing.TB, changes object) string {
	t.Helper()
	return sign(t, jose.HS256, "", secretA, valid(changes))
}

// public returns a private key's half for a JWKS.
func public(kid, algorithm string, private crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{KeyID: kid, Algorithm: algorithm, Use: "sig", Key: private.Public()}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

func request(method, target, body string, header ...string) *http.Request {
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Host = r.URL.Host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}
