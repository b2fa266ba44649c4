package autoscaling

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestScrapeReadsWhatPodsReport(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   int64
		fails  string
	}{
		"a report": {200, `{"pod":"a","uid":"u1","connections":12,"documents":3,"shards":86,"operationsPerSecond":4.5,` +
			`"draining":false}`, 12, ""},
		"another pod at the address": {200, `{"uid":"u2","connections":12}`, 0, "another pod answers"},
		"an error":                   {500, `{"uid":"u1","connections":12}`, 0, "status 500"},
		"no number":                  {200, `{"uid":"u1"}`, 0, "no plausible number"},
		"a negative number":          {200, `{"uid":"u1","connections":-1}`, 0, "no plausible number"},
		"an absurd number":           {200, `{"uid":"u1","connections":1000000000000}`, 0, "no plausible number"},
		"not JSON":                   {200, `<html>`, 0, "parsing"},
		"a report without end":       {200, `{"pod":"` + strings.Repeat("x", 1<<20) + `"}`, 0, "parsing"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/load" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			host, port, err := net.SplitHostPort(server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			number, err := strconv.Atoi(port)
			if err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{Status: corev1.PodStatus{PodIP: host}}
			pod.Name, pod.UID = "a", types.UID("u1")
			loads, err := scrape(t.Context(), server.Client(), number, []*corev1.Pod{pod})
			switch {
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails) || loads[0] != nil):
				t.Errorf("got %+v and %v, want an error with %q", loads[0], err, test.fails)
			case test.fails == "" && (err != nil || loads[0].Connections != test.want):
				t.Errorf("got %+v and %v, want %d connections", loads[0], err, test.want)
			}
		})
	}
}
