//go:build linux

package edge_test

import (
	"runtime"
	"testing"

	"collab.dev/operator/editor/protocol"
)

func TestAnIdleConnectionNeedsNoGoroutine(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	first := connect(t, pods[0], "a")
	await(t, "the beginning", func() bool { return first.knows(0) })
	before := runtime.NumGoroutine()
	const connections = 200
	for range connections {
		conn := open(t, pods[0], "/collab/acme/a")
		question := protocol.Encode(protocol.SyncStep1, protocol.EmptyStateVector())
		if err := conn.WriteMessage(2, question); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the end of goroutines", func() bool { return runtime.NumGoroutine() < before+connections/4 })
}
