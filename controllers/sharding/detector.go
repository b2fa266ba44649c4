package sharding

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"syscall"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Process identifies one process of an editor pod: after a restart of its container it is another one.
type Process struct {
	UID      types.UID
	Restarts int32
}

// Detector probes editor pods directly, because the kubelet takes seconds and the loss of a node most of a minute to
// show in the API. It runs on the leader only. Its methods may be called by several goroutines.
type Detector struct {
	// Dial connects to a pod. Required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Clock tells the time. Required.
	Clock clock.WithTicker
	// Notify is called without blocking when the verdict on a pod of the cluster changed. Required.
	Notify func(cluster types.NamespacedName)

	mutex   sync.Mutex
	running context.Context //nolint:containedctx // Of Start, nil before it: it bounds the probes.
	group   sync.WaitGroup
	targets map[types.NamespacedName]map[Process]*target
}

// target is one process that is probed. Its health is guarded by the detector's mutex.
type target struct {
	address string
	health  health
	stop    context.CancelFunc // nil before the detector runs
}

// NewDetector probes by TCP from this process.
func NewDetector(notify func(cluster types.NamespacedName)) *Detector {
	dialer := &net.Dialer{Timeout: probeTimeout}
	return &Detector{Dial: dialer.DialContext, Clock: clock.RealClock{}, Notify: notify}
}

// Start probes until the context ends.
func (d *Detector) Start(ctx context.Context) error {
	d.mutex.Lock()
	d.running = ctx
	for cluster, targets := range d.targets {
		for _, t := range targets {
			d.launch(cluster, t)
		}
	}
	d.mutex.Unlock()

	<-ctx.Done()
	d.mutex.Lock()
	d.running = nil
	d.mutex.Unlock()
	d.group.Wait()
	return nil
}

// NeedLeaderElection says that only the leader probes.
func (d *Detector) NeedLeaderElection() bool { return true }

// Watch sets the processes of a cluster to probe, each with the host:port of its internal HTTP server. Those that were
// probed already keep their verdict.
func (d *Detector) Watch(cluster types.NamespacedName, processes map[Process]string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	targets := d.targets[cluster]
	for process, t := range targets {
		if processes[process] != t.address {
			if t.stop != nil {
				t.stop()
			}
			delete(targets, process)
		}
	}
	if len(processes) == 0 {
		delete(d.targets, cluster)
		return
	}
	if targets == nil {
		targets = map[Process]*target{}
		if d.targets == nil {
			d.targets = map[types.NamespacedName]map[Process]*target{}
		}
		d.targets[cluster] = targets
	}
	for process, address := range processes {
		if targets[process] == nil {
			t := &target{address: address}
			targets[process] = t
			d.launch(cluster, t)
		}
	}
}

// Failed are the processes of a cluster that were found dead, with the reason.
func (d *Detector) Failed(cluster types.NamespacedName) map[Process]string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	silentPods := 0
	failed := map[Process]string{}
	for process, t := range d.targets[cluster] {
		if t.health.verdict == silent {
			silentPods++
		}
		if t.health.verdict != answered {
			failed[process] = t.health.String()
		}
	}
	if !believable(len(d.targets[cluster]), silentPods) {
		maps.DeleteFunc(failed, func(process Process, _ string) bool {
			return d.targets[cluster][process].health.verdict == silent
		})
	}
	return failed
}

// launch starts to probe a target if the detector runs. The caller holds the mutex.
func (d *Detector) launch(cluster types.NamespacedName, t *target) {
	if d.running == nil {
		return
	}
	ctx, cancel := context.WithCancel(d.running)
	t.stop = cancel
	d.group.Go(func() { d.probe(ctx, cluster, t) })
}

// probe probes one target until the context ends.
func (d *Detector) probe(ctx context.Context, cluster types.NamespacedName, t *target) {
	// One connection is kept per pod, so that a probe costs a round trip and a killed process shows as a reset.
	transport := &http.Transport{DialContext: d.Dial, DisableCompression: true, MaxIdleConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: noRedirect}
	for {
		outcome := ask(ctx, client, "http://"+t.address+"/healthz")
		if ctx.Err() != nil {
			return
		}
		d.mutex.Lock()
		changed := t.health.observe(outcome, d.Clock.Now())
		d.mutex.Unlock()
		if changed {
			d.Notify(cluster)
		}

		pause := probePeriod
		if outcome == refused {
			pause = retryPeriod
		}
		timer := d.Clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
	}
}

// ask makes one probe. Any answer at all shows that the process is alive: whether it is well is the kubelet's question.
func ask(ctx context.Context, client *http.Client, url string) answer {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return silent
	}
	response, err := client.Do(request)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return refused
		}
		return silent
	}
	// A short body is read to the end so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 4<<10))
	_ = response.Body.Close()
	return answered
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// internalPort is the port of an editor pod's internal HTTP server, peerPort that of its peer link.
const (
	internalPort = 8081
	peerPort     = 8082
)

func hostPort(host string, port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }
