package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	jwksInterval    = 10 * time.Minute // between two reads when nothing is wrong
	jwksMinInterval = 5 * time.Second  // between two reads, however many unknown keys are asked for
	jwksMaxBackoff  = time.Minute
	jwksTimeout     = 5 * time.Second
	maxJWKSBytes    = 1 << 20
	maxJWKSKeys     = 64
	minRSABits      = 2048
)

// jwks are the public keys at a URL. Reading them fails safe: the last good ones stay in use. It is safe for concurrent
// use.
type jwks struct {
	url     string
	client  *http.Client
	log     *slog.Logger
	metrics *Metrics
	// minInterval is jwksMinInterval, but in tests.
	minInterval time.Duration
	kick        chan struct{}

	mu      sync.Mutex
	current []key
	last    time.Time     // when the last read ended
	attempt chan struct{} // closed when the next read ends
}

func newJWKS(url string, client *http.Client, log *slog.Logger, metrics *Metrics) *jwks {
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &jwks{
		url: url, client: &own, log: log, metrics: metrics, minInterval: jwksMinInterval,
		kick: make(chan struct{}, 1), attempt: make(chan struct{}),
	}
}

// run reads the keys at once, then at intervals, and when an unknown key is asked for, until ctx ends.
func (j *jwks) run(ctx context.Context) {
	backoff := time.Second
	for {
		wait := jwksInterval
		if err := j.refresh(ctx); err != nil && ctx.Err() == nil {
			j.log.Warn("The application's public keys cannot be read; the last ones stay in use",
				"url", j.url, "error", err, "retry", backoff)
			wait, backoff = backoff, min(2*backoff, jwksMaxBackoff)
		} else {
			backoff = time.Second
		}
		wait += rand.N(wait/10 + 1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-j.kick:
		}
	}
}

// refresh reads the keys once.
func (j *jwks) refresh(ctx context.Context) error {
	keys, err := j.fetch(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		j.current = keys
	}
	j.metrics.readJWKS(err)
	j.last = time.Now()
	close(j.attempt)
	j.attempt = make(chan struct{})
	return err
}

func (j *jwks) fetch(ctx context.Context) ([]key, error) {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := j.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s; redirects are not followed", response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxJWKSBytes+1))
	if err != nil {
		return nil, err
	}
	return parseJWKS(data)
}

// parseJWKS reads a JWK Set and leaves out what cannot verify a token here.
func parseJWKS(data []byte) ([]key, error) {
	if len(data) > maxJWKSBytes {
		return nil, fmt.Errorf("the set has more than %d bytes", maxJWKSBytes)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("the answer is no JWK Set")
	}
	if len(set.Keys) > maxJWKSKeys {
		return nil, fmt.Errorf("the set has more than %d keys", maxJWKSKeys)
	}
	var keys []key
	for _, raw := range set.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil || jwk.Use != "" && jwk.Use != "sig" {
			continue
		}
		algorithm := algorithmOf(jwk.Key)
		if algorithm == "" || jwk.Algorithm != "" && jwk.Algorithm != string(algorithm) {
			continue
		}
		keys = append(keys, key{id: jwk.KeyID, algorithm: algorithm, verify: jwk.Key})
	}
	if len(keys) == 0 {
		return nil, errors.New("the set has no public key for RS256, ES256 or EdDSA")
	}
	return keys, nil
}

// algorithmOf returns the one algorithm that a public key is used with here, empty for other and for private keys.
func algorithmOf(public any) jose.SignatureAlgorithm {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return jose.RS256
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256
		}
	case ed25519.PublicKey:
		return jose.EdDSA
	}
	return ""
}

// keys returns the keys of an id. For one that is unknown the set is read again, but not within minInterval of the last
// time: until then the answer is that there is none.
func (j *jwks) keys(ctx context.Context, id string, algorithm jose.SignatureAlgorithm) ([]key, error) {
	j.mu.Lock()
	found, loaded := j.find(id, algorithm), j.current != nil
	attempt, recent := j.attempt, !j.last.IsZero() && time.Since(j.last) < j.minInterval
	j.mu.Unlock()
	if len(found) > 0 || recent && loaded {
		return found, nil
	}
	if recent {
		return nil, fmt.Errorf("%w: the application's public keys cannot be read", ErrUnavailable)
	}
	select {
	case j.kick <- struct{}{}:
	default: // It is coming.
	}
	timeout := time.NewTimer(jwksTimeout)
	defer timeout.Stop()
	select {
	case <-attempt:
	case <-timeout.C:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.current == nil {
		return nil, fmt.Errorf("%w: the application's public keys cannot be read", ErrUnavailable)
	}
	return j.find(id, algorithm), nil
}

// find returns the keys that fit; a token that names none may be any key's.
func (j *jwks) find(id string, algorithm jose.SignatureAlgorithm) []key {
	var found []key
	for _, k := range j.current {
		if k.algorithm == algorithm && (id == "" || k.id == id) {
			found = append(found, k)
		}
	}
	return found
}
