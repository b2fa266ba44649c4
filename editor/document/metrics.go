package document

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics measures all documents of a process. A nil Metrics measures nothing.
type Metrics struct {
	integrate, store, join prometheus.Histogram
	updates, bytes         prometheus.Counter
	snapshots              prometheus.Counter
	snapshotBytes          prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	fast := prometheus.ExponentialBuckets(10e-6, 4, 10)
	m := &Metrics{
		integrate: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_integrate_seconds", Buckets: fast,
			Help: "How long it took to integrate an update into its document.",
		}),
		store: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_stored_seconds", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
			Help: "How long it took from the arrival of an update at its document's owner until it was durable.",
		}),
		join: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_join_seconds", Buckets: fast,
			Help: "How long it took to encode what somebody who joined an open document lacked.",
		}),
		updates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_integrated_updates_total", Help: "Updates that were integrated into documents.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_integrated_bytes_total", Help: "Bytes of the updates that were integrated.",
		}),
		snapshots: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_snapshots_total", Help: "Snapshots that were stored.",
		}),
		snapshotBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_snapshot_bytes", Buckets: prometheus.ExponentialBuckets(256, 4, 10),
			Help: "Sizes of the snapshots that were stored.",
		}),
	}
	registry.MustRegister(m.integrate, m.store, m.join, m.updates, m.bytes, m.snapshots, m.snapshotBytes)
	return m
}

func (m *Metrics) integrated(d time.Duration, size int) {
	if m != nil {
		m.integrate.Observe(d.Seconds())
		m.updates.Inc()
		m.bytes.Add(float64(size))
	}
}

func (m *Metrics) stored(d time.Duration) {
	if m != nil {
		m.store.Observe(d.Seconds())
	}
}

func (m *Metrics) joined(d time.Duration) {
	if m != nil {
		m.join.Observe(d.Seconds())
	}
}

func (m *Metrics) snapshot(size int) {
	if m != nil {
		m.snapshots.Inc()
		m.snapshotBytes.Observe(float64(size))
	}
}
