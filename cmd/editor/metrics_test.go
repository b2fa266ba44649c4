package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/ratelimit"
	documents "collab.dev/operator/editor/rest"
	"collab.dev/operator/editor/server"
	"collab.dev/operator/editor/shard"
	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/webhook"
)

var update = flag.Bool("update", false, "write docs/metrics.md instead of comparing with it")

const metricsPage = `# Metrics of an editor pod

Served at ` + "`:8081/metrics`" + ` (internal only), besides those of the Go runtime and the process. This page is made from the
code: ` + "`go test ./cmd/editor -update`" + `.

| metric | what it tells | labels |
|---|---|---|
`

var described = regexp.MustCompile(`fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`)

func TestAllMetricsAreDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	shard.NewMetrics(registry)
	storage.NewMetrics(registry)
	ratelimit.NewMetrics(registry)
	auth.NewMetrics(registry)
	edge.NewMetrics(registry)
	webhook.NewMetrics(registry)
	documents.NewMetrics(registry)
	none := func() int { return 0 }
	server.New(server.Options{
		Registry: registry, Connections: none, Documents: none, Shards: none, Updates: func() int64 { return 0 },
		Draining: func() bool { return false }, Ready: func() bool { return true },
	})
	descriptions := make(chan *prometheus.Desc)
	go func() { defer close(descriptions); registry.Describe(descriptions) }()
	var lines []string
	for d := range descriptions {
		match := described.FindStringSubmatch(d.String())
		if match == nil {
			t.Fatalf("what does %s mean?", d)
		}
		if !strings.HasPrefix(match[1], "collab_editor_") || !strings.HasSuffix(match[2], ".") {
			t.Errorf("%s: the name must begin with collab_editor_, and its help must be a sentence", match[1])
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |\n", match[1], match[2], strings.ReplaceAll(match[3], ",", ", ")))
	}
	slices.Sort(lines)
	page := metricsPage + strings.Join(lines, "")
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there, err := os.ReadFile(path)
	if err != nil || string(there) != page {
		t.Errorf("docs/metrics.md does not tell of all metrics as they are (%v): go test ./cmd/editor -update", err)
	}
}
