package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	authorityValidity = 10 * 365 * 24 * time.Hour
	peerValidity      = 365 * 24 * time.Hour
	// clockSkew is how far the clocks of the operator and of an editor pod may differ.
	clockSkew = 5 * time.Minute
)

// Keys of the Secrets of the peer link. The authority's key is in a Secret that no pod mounts.
const (
	keyCACertificate = "ca.crt"
	keyCAKey         = "ca.key"
	keyCertificate   = "tls.crt"
	keyPrivateKey    = "tls.key"
)

// PeerName is the name that an editor pod's certificate carries and that the other end of the peer link verifies.
func PeerName(cluster, namespace string) string {
	return "peer." + cluster + "." + namespace + ".collab.dev"
}

// authority returns the data of the authority's Secret: what is there, if it is of use, or a new authority. A new
// authority makes every certificate of the old one invalid, hence it is made only when there is none.
func authority(present map[string][]byte, name string, now time.Time) (map[string][]byte, error) {
	if pair, err := tls.X509KeyPair(present[keyCACertificate], present[keyCAKey]); err == nil &&
		pair.Leaf.IsCA && now.Before(pair.Leaf.NotAfter) {
		return present, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the key of the peer link's authority: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name + " authority"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityValidity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	certificate, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{keyCACertificate: certificate, keyCAKey: private}, nil
}

// peerCertificate returns the data of the Secret that editor pods mount: what is there, until two thirds of its time
// have passed or the authority is another, or a new certificate of the authority.
func peerCertificate(present, authority map[string][]byte, name string, now time.Time) (map[string][]byte, error) {
	if usable(present, authority[keyCACertificate], name, now) {
		return present, nil
	}
	pair, err := tls.X509KeyPair(authority[keyCACertificate], authority[keyCAKey])
	if err != nil {
		return nil, fmt.Errorf("read the peer link's authority: %w", err)
	}
	signer, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("read the peer link's authority: its key is not an ECDSA key")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the peer link's key: %w", err)
	}
	expires := now.Add(peerValidity)
	if expires.After(pair.Leaf.NotAfter) {
		expires = pair.Leaf.NotAfter
	}
	certificate, err := sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{name},
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    expires,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, pair.Leaf, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	private, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		keyCACertificate: authority[keyCACertificate], keyCertificate: certificate, keyPrivateKey: private,
	}, nil
}

func usable(present map[string][]byte, authority []byte, name string, now time.Time) bool {
	pair, err := tls.X509KeyPair(present[keyCertificate], present[keyPrivateKey])
	if err != nil || !bytes.Equal(present[keyCACertificate], authority) {
		return false
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now})
	renew := pair.Leaf.NotBefore.Add(pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore) * 2 / 3)
	return err == nil && now.Before(renew)
}

func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	template.SerialNumber = serial
	certificate, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}
