package sharding

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var docs = types.NamespacedName{Namespace: "default", Name: "docs"}

// serve answers probes at the address until the test or the returned function ends it.
func serve(t *testing.T, address string) (string, func()) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	stop := func() { _ = server.Close(); <-done }
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// detect runs a detector for the length of the test. The channel gets a value after each change of a verdict.
func detect(t *testing.T) (*Detector, <-chan struct{}) {
	t.Helper()
	changed := make(chan struct{}, 100)
	detector := NewDetector(func(types.NamespacedName) { changed <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- detector.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return detector, changed
}

func await(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Fatalf("no verdict: %s", what)
	}
}

func TestDetectorFindsAClosedPortAndItsRecovery(t *testing.T) {
	detector, changed := detect(t)
	address, stop := serve(t, "127.0.0.1:0")
	process := Process{UID: "a"}
	detector.Watch(docs, map[Process]string{process: address})
	if failed := detector.Failed(docs); len(failed) != 0 {
		t.Fatalf("failed at once: %v", failed)
	}
	stop()
	await(t, changed, "the port was closed")
	if why := detector.Failed(docs)[process]; !strings.Contains(why, "refuses") {
		t.Fatalf("the reason is %q", why)
	}
	serve(t, address)
	await(t, changed, "the port was opened")
	if failed := detector.Failed(docs); len(failed) != 0 {
		t.Fatalf("failed although it answers: %v", failed)
	}
}

func TestDetectorFindsSilenceUnlessMostPodsAreSilent(t *testing.T) {
	detector, changed := detect(t)
	// Sockets that nobody accepts from connect, and never answer.
	processes := map[Process]string{}
	mute := func(uid types.UID) {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		processes[Process{UID: uid}] = listener.Addr().String()
	}
	for _, uid := range []types.UID{"a", "b"} {
		processes[Process{UID: uid}], _ = serve(t, "127.0.0.1:0")
	}
	mute("c")
	detector.Watch(docs, processes)
	await(t, changed, "one pod is silent")
	if failed := detector.Failed(docs); len(failed) != 1 || !strings.Contains(failed[Process{UID: "c"}], "has not answered for") {
		t.Fatalf("failed are %v, want c", failed)
	}
	mute("d")
	mute("e")
	mute("f")
	detector.Watch(docs, processes)
	for range 3 {
		await(t, changed, "four of six pods are silent")
	}
	if failed := detector.Failed(docs); len(failed) != 0 {
		t.Fatalf("failed are %v although most pods are silent", failed)
	}
}

func TestDetectorForgetsWhatIsNotWatched(t *testing.T) {
	detector, changed := detect(t)
	address, stop := serve(t, "127.0.0.1:0")
	stop()
	detector.Watch(docs, map[Process]string{{UID: "a"}: address})
	await(t, changed, "the port is closed")
	detector.Watch(docs, map[Process]string{{UID: "a", Restarts: 1}: address})
	if failed := detector.Failed(docs); failed[Process{UID: "a"}] != "" {
		t.Fatalf("the process of before the restart is still judged: %v", failed)
	}
	detector.Watch(docs, nil)
	if len(detector.targets) != 0 {
		t.Fatal("a cluster that is gone is still remembered")
	}
}
