// Package server owns the editor's internal endpoints: health, readiness, load, metrics and profiles; and what holds for
// every HTTP server of the editor.
package server

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Load is what the autoscaler reads.
type Load struct {
	Pod                 string  `json:"pod"`
	UID                 string  `json:"uid"`
	Connections         int     `json:"connections"`
	Documents           int     `json:"documents"`
	Shards              int     `json:"shards"`
	OperationsPerSecond float64 `json:"operationsPerSecond"`
	Draining            bool    `json:"draining"`
}

// Options are what the endpoints tell.
type Options struct {
	// Pod and UID identify this pod.
	Pod, UID string
	// Ready says whether the pod can take clients and shards.
	Ready func() bool
	// Connections, Documents, Shards, Updates (since the start) and Draining are read at every request.
	Connections, Documents, Shards func() int
	Updates                        func() int64
	Draining                       func() bool
	// Registry takes the metrics.
	Registry *prometheus.Registry
}

// New returns the internal endpoints.
func New(opts Options) http.Handler {
	gauge := func(name, help string, value func() int) {
		opts.Registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	gauge("collab_editor_connections", "Clients that are connected to this pod.", opts.Connections)
	gauge("collab_editor_documents", "Documents that are open at this pod as their owner.", opts.Documents)
	gauge("collab_editor_shards", "Shards that this pod owns.", opts.Shards)
	opts.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "collab_editor_updates_total", Help: "Changes that this pod received as an owner.",
	}, func() float64 { return float64(opts.Updates()) }))

	rate := rate{count: opts.Updates, at: time.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case opts.Draining():
			http.Error(w, "draining", http.StatusServiceUnavailable)
		case !opts.Ready():
			http.Error(w, "the ShardMap has not been read yet", http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("ok\n"))
		}
	})
	mux.HandleFunc("GET /load", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Load{
			Pod: opts.Pod, UID: opts.UID, Connections: opts.Connections(), Documents: opts.Documents(),
			Shards: opts.Shards(), OperationsPerSecond: rate.read(time.Now()), Draining: opts.Draining(),
		})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(opts.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// rate is how fast a counter rose between two reads, at least a second apart.
type rate struct {
	count func() int64

	mu    sync.Mutex
	at    time.Time
	last  int64
	value float64
}

func (r *rate) read(now time.Time) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if elapsed := now.Sub(r.at); elapsed >= time.Second {
		count := r.count()
		r.value = float64(count-r.last) / elapsed.Seconds()
		r.at, r.last = now, count
	}
	return r.value
}
