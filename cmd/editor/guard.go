package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/auth"
)

// openGuard returns who decides who may do what, and what ends it. Without keys everybody may do everything.
func openGuard(c config, kept backends, registry prometheus.Registerer, log *slog.Logger) (*auth.Guard, func(), error) {
	var origins []string
	if c.allowedOrigins != "" {
		origins = strings.Split(c.allowedOrigins, ",")
	}
	if !c.authenticates() {
		log.Warn("Clients are not authenticated: everybody who reaches this address may read and write every document")
		guard, err := auth.OpenTo(origins)
		return guard, func() {}, err
	}
	options := auth.Options{
		JWKSURL: c.authJWKSURL, Issuer: c.authIssuer, Audience: c.authAudience, InsecureCookies: c.insecureCookies,
		SigningKeyFile: c.authSessionKeyFile, AccessLifetime: c.accessLifetime, RefreshLifetime: c.sessionLifetime,
		Origins: origins, Logger: log, Metrics: auth.NewMetrics(registry),
	}
	if c.authSecretDir != "" {
		options.SecretFile = filepath.Join(c.authSecretDir, "jwt-secret")
	}
	if c.authPermissionURL != "" {
		options.Webhook = &auth.WebhookOptions{
			URL: c.authPermissionURL, SecretFile: filepath.Join(c.authSecretDir, "webhook-secret"),
			Timeout: c.permissionTimeout, TTL: c.permissionTTL,
		}
	}
	closeSessions := func() {}
	if c.alone() && options.SigningKeyFile == "" {
		var err error
		if options.SigningKeyFile, err = ownKey(c.data); err != nil {
			return nil, nil, err
		}
	}
	if options.SigningKeyFile != "" {
		var err error
		if options.Sessions, closeSessions, err = kept.sessions(options.Retention()); err != nil {
			return nil, nil, err
		}
	}
	guard, err := auth.New(options)
	if err != nil {
		closeSessions()
		return nil, nil, err
	}
	return guard, func() { guard.Close(); closeSessions() }, nil
}

// ownKey is a file in the directory with a secret that is made once.
func ownKey(directory string) (string, error) {
	path := filepath.Join(directory, "session-key")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("the key of sessions: %w", err)
	}
	_, err = file.WriteString(rand.Text() + rand.Text() + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", fmt.Errorf("the key of sessions: %w", errors.Join(err, os.Remove(path)))
	}
	return path, nil
}
