package storage

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what stores measure. It is safe for concurrent use; a nil *Metrics measures nothing.
type Metrics struct {
	appendTime, drainTime, drainSize, loadTime, snapshotTime, openTime prometheus.Histogram
	depth, depthBytes, partitions                                      prometheus.Gauge
	fenced, refused, adopted, quarantined, degraded, dropped           prometheus.Counter
	failures                                                           *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "collab_editor", Subsystem: "storage", Name: name, Help: help, Buckets: buckets,
		})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "collab_editor", Subsystem: "storage", Name: name, Help: help,
		})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "collab_editor", Subsystem: "storage", Name: name, Help: help,
		})
	}
	seconds := prometheus.ExponentialBuckets(0.0002, 2, 16) // 0.2 ms to 6.5 s
	m := &Metrics{
		appendTime: histogram("append_seconds", "How long a group of operations took to be appended to the log.", seconds),
		drainTime: histogram("drain_seconds", "How long a batch of operations took to be committed to the database.",
			seconds),
		drainSize: histogram("drain_operations", "How many operations a batch for the database had.",
			prometheus.ExponentialBuckets(1, 2, 12)),
		loadTime:     histogram("load_seconds", "How long a document took to be read.", seconds),
		snapshotTime: histogram("snapshot_seconds", "How long a snapshot took to be stored.", seconds),
		openTime:     histogram("open_seconds", "How long a shard took to be opened.", seconds),
		depth:        gauge("log_operations", "Operations that the database does not have yet."),
		depthBytes:   gauge("log_bytes", "Bytes of the operations that the database does not have yet."),
		partitions:   gauge("partitions", "Partitions of the operations, as this process saw them last."),
		fenced:       counter("fenced_total", "Shards whose writes were refused because a newer owner exists."),
		refused:      counter("refused_total", "Operations that were not taken because the buffer was full."),
		adopted:      counter("adopted_total", "Operations of former owners that were found in the log and stored."),
		quarantined:  counter("quarantined_total", "Records of the log that could not be read and were put aside."),
		degraded:     counter("degraded_opens_total", "Shards that were opened although the log could not be read."),
		dropped:      counter("dropped_partitions_total", "Partitions of operations that the retention has dropped."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "collab_editor", Subsystem: "storage", Name: "failures_total",
			Help: "Calls that failed, by the store that they went to: redis, postgres or disk.",
		}, []string{"store"}),
	}
	registerer.MustRegister(m.appendTime, m.drainTime, m.drainSize, m.loadTime, m.snapshotTime, m.openTime, m.depth,
		m.depthBytes, m.partitions, m.fenced, m.refused, m.adopted, m.quarantined, m.degraded, m.dropped, m.failures)
	return m
}

// Appended measures a group that was appended to the log.
func (m *Metrics) Appended(took time.Duration) {
	if m != nil {
		m.appendTime.Observe(took.Seconds())
	}
}

// Drained measures a batch that was committed to the database.
func (m *Metrics) Drained(took time.Duration, operations int) {
	if m != nil {
		m.drainTime.Observe(took.Seconds())
		m.drainSize.Observe(float64(operations))
	}
}

// Loaded measures a document that was read.
func (m *Metrics) Loaded(took time.Duration) {
	if m != nil {
		m.loadTime.Observe(took.Seconds())
	}
}

// Snapshot measures a snapshot that was stored.
func (m *Metrics) Snapshot(took time.Duration) {
	if m != nil {
		m.snapshotTime.Observe(took.Seconds())
	}
}

// Opened measures a shard that was opened, perhaps without having read the log.
func (m *Metrics) Opened(took time.Duration, degraded bool) {
	if m != nil {
		m.openTime.Observe(took.Seconds())
		if degraded {
			m.degraded.Inc()
		}
	}
}

// Buffered counts operations that the database lacks, or no longer if negative.
func (m *Metrics) Buffered(operations int, bytes int64) {
	if m != nil {
		m.depth.Add(float64(operations))
		m.depthBytes.Add(float64(bytes))
	}
}

// Fenced counts a shard whose writes were refused.
func (m *Metrics) Fenced() {
	if m != nil {
		m.fenced.Inc()
	}
}

// Refused counts an operation that was not taken.
func (m *Metrics) Refused() {
	if m != nil {
		m.refused.Inc()
	}
}

// Adopted counts operations of former owners, and records that could not be read.
func (m *Metrics) Adopted(operations, quarantined int) {
	if m != nil {
		m.adopted.Add(float64(operations))
		m.quarantined.Add(float64(quarantined))
	}
}

// Failed counts a call to the store that failed.
func (m *Metrics) Failed(store string) {
	if m != nil {
		m.failures.WithLabelValues(store).Inc()
	}
}

// Partitions measures how many partitions there are, and counts those that were dropped.
func (m *Metrics) Partitions(present, dropped int) {
	if m != nil {
		m.partitions.Set(float64(present))
		m.dropped.Add(float64(dropped))
	}
}
