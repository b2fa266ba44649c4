package ratelimit

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what a Limiter measures. It is safe for concurrent use; a nil *Metrics measures nothing.
type Metrics struct {
	connections, users prometheus.Gauge
	refused            *prometheus.CounterVec
	waits, waitSeconds prometheus.Counter
	floods             prometheus.Counter
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "collab_editor", Subsystem: "ratelimit", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts(opts(name, help)))
	}
	m := &Metrics{
		connections: gauge("connections", "Connections that are admitted."),
		users:       gauge("users", "Users whose rates are known: connected ones, and those who left a moment ago."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts(opts("refused_connections_total",
			"Connections that were refused, by the bound that was reached: user, organization or pod.")), []string{"limit"}),
		waits:       counter("waits_total", "Messages that had to wait because their client sent too fast."),
		waitSeconds: counter("wait_seconds_total", "How long these messages were told to wait, together."),
		floods:      counter("floods_total", "Messages that would have had to wait too long: their connections were closed."),
	}
	for _, limit := range []string{"user", "organization", "pod"} {
		m.refused.WithLabelValues(limit)
	}
	registerer.MustRegister(m.connections, m.users, m.refused, m.waits, m.waitSeconds, m.floods)
	return m
}

func (m *Metrics) count(connections, users int) {
	if m != nil {
		m.connections.Set(float64(connections))
		m.users.Set(float64(users))
	}
}

func (m *Metrics) refuse(err error, limit string) error {
	if m != nil {
		m.refused.WithLabelValues(limit).Inc()
	}
	return err
}

func (m *Metrics) waited(wait time.Duration) {
	if m != nil && wait > 0 {
		m.waits.Inc()
		m.waitSeconds.Add(wait.Seconds())
	}
}

func (m *Metrics) flooded() {
	if m != nil {
		m.floods.Inc()
	}
}
