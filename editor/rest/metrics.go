package rest

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics measures the API. A nil Metrics measures nothing.
type Metrics struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "collab_editor_rest_requests_total", Help: "Requests to the REST API, by operation and status.",
		}, []string{"operation", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "collab_editor_rest_request_seconds", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
			Help: "How long requests to the REST API took, by operation.",
		}, []string{"operation"}),
	}
	registry.MustRegister(m.requests, m.took)
	return m
}

// measure measures the operations.
func (a *API) measure(ctx huma.Context, next func(huma.Context)) {
	m := a.opts.Metrics
	if m == nil {
		next(ctx)
		return
	}
	begin := time.Now()
	next(ctx)
	operation := ctx.Operation().OperationID
	m.requests.WithLabelValues(operation, strconv.Itoa(max(ctx.Status(), http.StatusOK))).Inc()
	m.took.WithLabelValues(operation).Observe(time.Since(begin).Seconds())
}

// write writes a problem as the answer.
func write(w http.ResponseWriter, p *huma.ErrorModel) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	encode(w, p)
}

const problemType = "application/problem+json"

func encode(w io.Writer, p *huma.ErrorModel) {
	_ = json.NewEncoder(w).Encode(p) // The client has left.
}
