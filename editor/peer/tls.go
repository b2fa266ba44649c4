package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/grpc/credentials"
)

// Credentials returns the credentials of both ends of the link from a directory with tls.crt, tls.key and ca.crt. The
// files are read at every handshake, so that renewed certificates are used without a restart. name is what the other
// end's certificate must be for.
func Credentials(dir, name string) (server, client credentials.TransportCredentials, err error) {
	files := keyFiles(dir)
	if _, _, err := files.load(); err != nil {
		return nil, nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, _, err := files.load()
			return cert, err
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _, err := files.load()
			return cert, err
		},
		// The verification below replaces the standard one, which knows no renewed authority and no name of clients.
		InsecureSkipVerify: true,
		ServerName:         name,
		VerifyConnection:   func(state tls.ConnectionState) error { return files.verify(state, name) },
	}
	return credentials.NewTLS(config), credentials.NewTLS(config.Clone()), nil
}

type keyFiles string

func (dir keyFiles) load() (*tls.Certificate, *x509.CertPool, error) {
	path := func(name string) string { return filepath.Join(string(dir), name) }
	cert, err := tls.LoadX509KeyPair(path("tls.crt"), path("tls.key"))
	if err != nil {
		return nil, nil, fmt.Errorf("peer certificate: %w", err)
	}
	pem, err := os.ReadFile(path("ca.crt"))
	if err != nil {
		return nil, nil, fmt.Errorf("peer authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("peer authority: %s holds no certificate", path("ca.crt"))
	}
	return &cert, pool, nil
}

func (dir keyFiles) verify(state tls.ConnectionState, name string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer shows no certificate")
	}
	_, pool, err := dir.load()
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: name, Roots: pool, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("the peer's certificate: %w", err)
	}
	return nil
}
