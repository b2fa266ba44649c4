package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestWebhooksAreSignedWithTheFilesFirstSecret(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if _, err := OpenSecretFile(write(t, "key", key), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a private key was taken as a secret")
	}
	synctest.Test(t, func(t *testing.T) {
		path := write(t, "secret", secretA)
		file, err := OpenSecretFile(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(`{"a": 1}`)
		signedBy := func(secret string) {
			t.Helper()
			request, err := file.Request(t.Context(), "https://app.example", body)
			if err != nil {
				t.Fatal(err)
			}
			header := request.Header.Get(SignatureHeader)
			if !VerifySignature([]byte(secret), header, body, time.Now(), time.Minute) {
				t.Errorf("the signature %q is of another secret", header)
			}
		}
		signedBy(secretA)
		for _, change := range []struct{ text, signer string }{
			{secretB + "\n" + secretA, secretB}, {key, secretB}, {"too short", secretB}, {secretA, secretA},
		} {
			if err := os.WriteFile(path, []byte(change.text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(keyFileInterval)
			signedBy(change.signer)
		}
	})
}
