package auth

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what a Guard measures. It is safe for concurrent use; a nil *Metrics measures nothing.
type Metrics struct {
	tokens, sessions, webhook, jwks *prometheus.CounterVec
	webhookTook                     prometheus.Histogram
	requestTook                     *prometheus.HistogramVec
	revocations, followed           prometheus.Gauge
	ended                           prometheus.Counter
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "collab_editor", Subsystem: "auth", Name: name, Help: help}
	}
	counters := func(label, name, help string, values ...string) *prometheus.CounterVec {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{label})
		for _, value := range values {
			vec.WithLabelValues(value)
		}
		return vec
	}
	m := &Metrics{
		tokens: counters("outcome", "tokens_total", "Access tokens that were looked at, by outcome.",
			"ok", "expired", "revoked", "invalid", "unavailable"),
		sessions: counters("event", "sessions_total", "What happened to sessions.",
			"created", "rotated", "replaced", "reused", "ended", "revoked", "refused", "failed"),
		webhook: counters("outcome", "webhook_total", "Questions to the permission webhook, by outcome.",
			"answered", "cached", "failed"),
		jwks: counters("outcome", "jwks_reads_total", "Reads of the application's public keys, by outcome.", "ok", "failed"),
		webhookTook: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_auth_webhook_seconds", Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
			Help: "How long the permission webhook took to answer, or to fail.",
		}),
		requestTook: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "collab_editor_auth_request_seconds", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
			Help: "How long requests to /auth/ took, by what was asked for.",
		}, []string{"request"}),
		revocations: prometheus.NewGauge(prometheus.GaugeOpts(opts("revocations",
			"Revocations in force that this pod knows."))),
		followed: prometheus.NewGauge(prometheus.GaugeOpts(opts("revocations_read_timestamp_seconds",
			"When this pod last read the revocations."))),
		ended: prometheus.NewCounter(prometheus.CounterOpts(opts("ended_connections_total",
			"Connections of this pod that a revocation ended."))),
	}
	registerer.MustRegister(m.tokens, m.sessions, m.webhook, m.jwks, m.webhookTook, m.requestTook, m.revocations, m.followed, m.ended)
	return m
}

func (m *Metrics) token(err error) {
	if m == nil {
		return
	}
	outcome := "invalid"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.Is(err, ErrExpired):
		outcome = "expired"
	case errors.Is(err, ErrRevoked):
		outcome = "revoked"
	case errors.Is(err, ErrUnavailable):
		outcome = "unavailable"
	}
	m.tokens.WithLabelValues(outcome).Inc()
}

// session counts what happened to a session: the event, or what kept it from happening.
func (m *Metrics) session(event string, err error) {
	if m == nil {
		return
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrReplaced):
		event = "replaced"
	case errors.Is(err, ErrReused):
		event = "reused"
	case errors.Is(err, ErrUnauthenticated):
		event = "refused"
	default:
		event = "failed"
	}
	m.sessions.WithLabelValues(event).Inc()
}

// called measures a call of the webhook that began at a time, requested a request to /auth/.
func (m *Metrics) called(begin time.Time) {
	if m != nil {
		m.webhookTook.Observe(time.Since(begin).Seconds())
	}
}

func (m *Metrics) requested(what string, begin time.Time) {
	if m != nil {
		m.requestTook.WithLabelValues(what).Observe(time.Since(begin).Seconds())
	}
}

func (m *Metrics) asked(outcome string) {
	if m != nil {
		m.webhook.WithLabelValues(outcome).Inc()
	}
}

func (m *Metrics) readJWKS(err error) {
	switch {
	case m == nil:
	case err != nil:
		m.jwks.WithLabelValues("failed").Inc()
	default:
		m.jwks.WithLabelValues("ok").Inc()
	}
}

func (m *Metrics) followedRevocations(known int, now time.Time) {
	if m != nil {
		m.revocations.Set(float64(known))
		m.followed.Set(float64(now.UnixMilli()) / 1000)
	}
}

func (m *Metrics) endedConnection() {
	if m != nil {
		m.ended.Inc()
	}
}
