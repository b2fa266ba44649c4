package shard

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/document"
)

// Metrics measures a manager. A nil Metrics measures nothing.
type Metrics struct {
	document         *document.Metrics
	takeOver, load   prometheus.Histogram
	loadErrors       prometheus.Counter
	bytes            prometheus.Gauge
	evictions        prometheus.Counter
	forwarded, fence prometheus.Counter
	stalls           prometheus.Counter
}

// NewMetrics registers the metrics of a manager and of its documents.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		document: document.NewMetrics(registry),
		takeOver: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_takeover_seconds", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
			Help: "How long it took from the map that gave this pod a shard until the shard was served.",
		}),
		load: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "collab_editor_load_seconds", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
			Help: "How long it took to open a document from the stores.",
		}),
		loadErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_load_errors_total", Help: "Documents that could not be opened.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "collab_editor_documents_bytes", Help: "About the memory that the open documents take.",
		}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_evictions_total",
			Help: "Documents that were chosen to be closed because the memory budget was exceeded.",
		}),
		forwarded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_forwarded_operations_total",
			Help: "Acknowledged operations that this pod handed to the new owner of their shard when it was fenced.",
		}),
		fence: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_fenced_shards_total", Help: "Shards that this pod lost by being fenced.",
		}),
		stalls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "collab_editor_stalled_channels_total",
			Help: "Documents that another pod had to attach to anew because too much waited for it.",
		}),
	}
	registry.MustRegister(m.takeOver, m.load, m.loadErrors, m.bytes, m.evictions, m.forwarded, m.fence, m.stalls)
	return m
}

func (m *Metrics) documents() *document.Metrics {
	if m == nil {
		return nil
	}
	return m.document
}

func (m *Metrics) tookOver(d time.Duration) {
	if m != nil {
		m.takeOver.Observe(d.Seconds())
	}
}

func (m *Metrics) loaded(d time.Duration, err error) {
	switch {
	case m == nil:
	case err != nil:
		m.loadErrors.Inc()
	default:
		m.load.Observe(d.Seconds())
	}
}

func (m *Metrics) memory(total, evicted int) {
	if m != nil {
		m.bytes.Set(float64(total))
		m.evictions.Add(float64(evicted))
	}
}

func (m *Metrics) fenced() {
	if m != nil {
		m.fence.Inc()
	}
}

func (m *Metrics) forward(operations int) {
	if m != nil {
		m.forwarded.Add(float64(operations))
	}
}

func (m *Metrics) stalled() {
	if m != nil {
		m.stalls.Inc()
	}
}
