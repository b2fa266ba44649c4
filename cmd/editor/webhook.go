package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/webhook"
)

// tellTimeout bounds the time in which a process that ends tells of its last changes.
const tellTimeout = 3 * time.Second

// openNotifier returns who tells the application of changes, nil if nobody is to.
func openNotifier(
	c config, kept backends, registry prometheus.Registerer, log *slog.Logger,
) (*webhook.Notifier, error) {
	if c.webhookURL == "" {
		return nil, nil
	}
	notifier, err := webhook.New(webhook.Options{
		URL: c.webhookURL, SecretFile: c.webhookSecretFile, Debounce: c.webhookDebounce,
		Notices: kept.store, Shards: int32(c.shards), Metrics: webhook.NewMetrics(registry), Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("--webhook-url: %w", err)
	}
	return notifier, nil
}
