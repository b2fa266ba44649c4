package auth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	minSecretBytes = 32
	maxKeys        = 16
	maxKeyFile     = 64 << 10
	// keyFileInterval is how soon a changed file is noticed.
	keyFileInterval = time.Second
)

// key signs or verifies with one algorithm, and never with another.
type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	sign      any // nil: it only verifies
	verify    any
}

// keySource finds the keys that may have signed a token.
type keySource interface {
	keys(ctx context.Context, id string, algorithm jose.SignatureAlgorithm) ([]key, error)
}

// parseKeys reads a file of keys: Ed25519 private keys in PEM (PKCS #8), or one HS256 secret a line. The first signs,
// all verify.
func parseKeys(data []byte) ([]key, error) {
	keys, err := parseSecrets(data)
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		keys, err = parsePrivateKeys(data)
	}
	switch {
	case err != nil:
		return nil, err
	case len(keys) == 0:
		return nil, errors.New("there is no key in it")
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("there are more than %d keys in it", maxKeys)
	}
	return keys, nil
}

func parseSecrets(data []byte) ([]key, error) {
	var keys []key
	for line := range bytes.Lines(data) {
		secret := bytes.TrimSpace(line)
		switch {
		case len(secret) == 0:
			continue
		case len(secret) < minSecretBytes:
			return nil, fmt.Errorf("a secret has %d bytes; HS256 needs at least %d", len(secret), minSecretBytes)
		}
		secret = bytes.Clone(secret)
		keys = append(keys, key{id: keyID("secret", secret), algorithm: jose.HS256, sign: secret, verify: secret})
	}
	return keys, nil
}

func parsePrivateKeys(data []byte) ([]key, error) {
	var keys []key
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return keys, nil
		}
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New("it must hold Ed25519 private keys in PKCS #8")
		}
		private, ok := parsed.(ed25519.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("it holds a %T; only Ed25519 keys sign sessions", parsed)
		}
		public := private.Public().(ed25519.PublicKey)
		keys = append(keys, key{id: keyID("ed25519", public), algorithm: jose.EdDSA, sign: private, verify: public})
	}
}

// keyID names a key by a hash that does not tell a secret of at least 32 bytes.
func keyID(kind string, material []byte) string {
	sum := sha256.Sum256(append([]byte("collab key id\x00"+kind+"\x00"), material...))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// keyFile is a file of keys that is read again when it changes. It is safe for concurrent use.
type keyFile struct {
	path  string
	clock func() time.Time
	log   *slog.Logger
	// secrets says that it must hold secrets, also when it is read again.
	secrets bool

	mu      sync.Mutex
	read    time.Time
	data    []byte
	current []key
	broken  bool
}

// openKeyFile reads a file of keys for the first time, openSecretFile one of secrets.
func openKeyFile(path string, clock func() time.Time, log *slog.Logger) (*keyFile, error) {
	return (&keyFile{path: path, clock: clock, log: log}).open()
}

func openSecretFile(path string, clock func() time.Time, log *slog.Logger) (*keyFile, error) {
	return (&keyFile{path: path, clock: clock, log: log, secrets: true}).open()
}

func (f *keyFile) open() (*keyFile, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	f.read = f.clock()
	return f, nil
}

func (f *keyFile) load() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if info.Size() > maxKeyFile {
		return fmt.Errorf("keys: %s has more than %d bytes", f.path, maxKeyFile)
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if f.current != nil && bytes.Equal(data, f.data) {
		return nil
	}
	keys, err := parseKeys(data)
	if err == nil && f.secrets && keys[0].algorithm != jose.HS256 {
		err = errors.New("it must hold secrets, one a line, and no PEM")
	}
	if err != nil {
		return fmt.Errorf("keys: %s: %w", f.path, err)
	}
	if f.current != nil {
		f.log.Info("Keys were read again", "file", f.path, "keys", len(keys))
	}
	f.data, f.current = data, keys
	return nil
}

// all returns the keys. A file that cannot be read leaves those that it had.
func (f *keyFile) all() []key {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.clock(); now.Sub(f.read) >= keyFileInterval {
		f.read = now
		err := f.load()
		if err != nil && !f.broken {
			f.log.Error("Keys cannot be read; the last ones stay in use", "error", err)
		}
		f.broken = err != nil
	}
	return f.current
}

func (f *keyFile) keys(_ context.Context, id string, algorithm jose.SignatureAlgorithm) ([]key, error) {
	var named, fitting []key
	for _, k := range f.all() {
		if k.algorithm == algorithm {
			fitting = append(fitting, k)
			if k.id == id {
				named = append(named, k)
			}
		}
	}
	if named != nil {
		return named, nil
	}
	return fitting, nil // Whoever shares a secret with us need not name it.
}

// mint signs claims with the first key.
func (f *keyFile) mint(c claims) (string, error) {
	k := f.all()[0]
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", k.id)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: k.sign}, options)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return token, nil
}

// secret is what only who has the first key knows.
func (f *keyFile) secret() []byte {
	switch secret := f.all()[0].sign.(type) {
	case ed25519.PrivateKey:
		return secret.Seed()
	default:
		return secret.([]byte)
	}
}
