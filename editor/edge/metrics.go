package edge

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/protocol"
)

// Metrics measures an edge. A nil Metrics measures nothing.
type Metrics struct {
	connections      *prometheus.GaugeVec
	messages, bytes  *prometheus.CounterVec
	closes, refusals *prometheus.CounterVec
	merged, dropped  prometheus.Counter
	join, turn       prometheus.Histogram
	// in and out are of messages and bytes, by dialect.
	in, out [protocol.Hocuspocus + 1]traffic
}

type traffic struct{ messages, bytes prometheus.Counter }

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "collab_editor_client_connections", Help: "Clients that are connected, by protocol.",
		}, []string{"protocol"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "collab_editor_client_messages_total", Help: "Messages from and to clients, by protocol and direction.",
		}, []string{"protocol", "direction"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "collab_editor_client_bytes_total",
			Help: "Bytes of the messages from clients, uncompressed, and to clients, as they are sent, by protocol and direction.",
		}, []string{"protocol", "direction"}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "collab_editor_client_closes_total", Help: "Connections that this pod closed, by code.",
		}, []string{"code"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "collab_editor_client_refusals_total",
			Help: "Clients that were refused: origin, denied (a document of several), slow.",
		}, []string{"reason"}),
		merged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_client_merged_updates_total",
			Help: "Updates that did not go out by themselves, but merged with others that waited for the same client.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_client_dropped_presences_total",
			Help: "Presences that did not go out because newer ones of the same client came before.",
		}),
		turn: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_client_turn_seconds", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
			Help: "How long changes and presence waited at this pod, together with others of the document, to go out to clients.",
		}),
		join: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_client_join_seconds", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
			Help: "How long it took from a client's question for what it lacks to the answer.",
		}),
	}
	for _, d := range []protocol.Dialect{protocol.YWebsocket, protocol.Hocuspocus} {
		m.in[d] = traffic{m.messages.WithLabelValues(d.String(), "in"), m.bytes.WithLabelValues(d.String(), "in")}
		m.out[d] = traffic{m.messages.WithLabelValues(d.String(), "out"), m.bytes.WithLabelValues(d.String(), "out")}
	}
	registry.MustRegister(m.connections, m.messages, m.bytes, m.closes, m.refusals, m.merged, m.dropped, m.join, m.turn)
	return m
}

func (m *Metrics) connected(d protocol.Dialect, n float64) {
	if m != nil {
		m.connections.WithLabelValues(d.String()).Add(n)
	}
}

func (m *Metrics) received(d protocol.Dialect, size int) {
	if m != nil {
		t := &m.in[d]
		t.messages.Inc()
		t.bytes.Add(float64(size))
	}
}

func (m *Metrics) sent(d protocol.Dialect, messages, size int) {
	if m != nil {
		t := &m.out[d]
		t.messages.Add(float64(messages))
		t.bytes.Add(float64(size))
	}
}

func (m *Metrics) closed(code int) {
	if m != nil {
		m.closes.WithLabelValues(strconv.Itoa(code)).Inc()
	}
}

func (m *Metrics) refuse(reason string) {
	if m != nil {
		m.refusals.WithLabelValues(reason).Inc()
	}
}

func (m *Metrics) merge(updates int) {
	if m != nil {
		m.merged.Add(float64(updates))
	}
}

func (m *Metrics) joined(took time.Duration) {
	if m != nil {
		m.join.Observe(took.Seconds())
	}
}

func (m *Metrics) drop(presences int) {
	if m != nil && presences > 0 {
		m.dropped.Add(float64(presences))
	}
}

func (m *Metrics) turned(after time.Duration) {
	if m != nil {
		m.turn.Observe(after.Seconds())
	}
}
