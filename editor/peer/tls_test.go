package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

type released struct{ shard int32 }

func (*released) Serve(ctx context.Context, _ Stream) error { <-ctx.Done(); return ctx.Err() }
func (r *released) Release(_ context.Context, shard int32, _ int64) error {
	r.shard = shard
	return nil
}

// issue writes a key and a certificate for a name, and their authority.
func issue(t *testing.T, name string, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der},
		"tls.key": {Type: "PRIVATE KEY", Bytes: keyDER},
		"ca.crt":  {Type: "CERTIFICATE", Bytes: authority.Raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newAuthority(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peers"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority, key
}

func TestPodsTrustOnlyTheirOwnClustersCertificates(t *testing.T) {
	const name = "peer.docs.default.collab.dev"
	authority, key := newAuthority(t)
	foreign, foreignKey := newAuthority(t)
	server, client, err := Credentials(issue(t, name, authority, key), name)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := &released{}
	pod := NewServer(handler, server)
	go func() { _ = pod.Serve(listener) }()
	defer pod.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	address := listener.Addr().String()
	if err := (Dialer{Credentials: client}).Release(ctx, address, 7, 1); err != nil || handler.shard != 7 {
		t.Fatalf("%v, shard %d", err, handler.shard)
	}
	for what, dir := range map[string]string{
		"a foreign authority": issue(t, name, foreign, foreignKey),
		"another cluster":     issue(t, "peer.other.default.collab.dev", authority, key),
	} {
		_, stranger, err := Credentials(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := (Dialer{Credentials: stranger}).Release(ctx, address, 7, 1); err == nil {
			t.Errorf("a pod with a certificate of %s was let in", what)
		}
	}
}
