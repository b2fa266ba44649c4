package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics is what a Notifier measures. It is safe for concurrent use; a nil *Metrics measures nothing.
type Metrics struct {
	deliveries *prometheus.CounterVec
	duration   prometheus.Histogram
	waiting    prometheus.Gauge
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "collab_editor", Subsystem: "webhook", Name: name, Help: help}
	}
	m := &Metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts(opts("deliveries_total",
			"Deliveries of change webhooks, by result: told, gone, refused, failed (and tried again) or expired.")),
			[]string{"result"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "collab_editor", Subsystem: "webhook", Name: "duration_seconds",
			Help:    "How long the application took to answer a delivery.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts(opts("waiting_documents",
			"Documents whose changes the application is to be told of by this pod."))),
	}
	for _, result := range outcomes {
		m.deliveries.WithLabelValues(result)
	}
	registerer.MustRegister(m.deliveries, m.duration, m.waiting)
	return m
}

func (m *Metrics) delivered(o outcome, took time.Duration) {
	if m != nil {
		m.deliveries.WithLabelValues(o.String()).Inc()
		m.duration.Observe(took.Seconds())
	}
}

func (m *Metrics) wait(documents int) {
	if m != nil {
		m.waiting.Set(float64(documents))
	}
}
