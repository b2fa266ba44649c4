package edge_test

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

// large returns a change of about n bytes, which compression makes half as many.
func large(t *testing.T, n int) []byte {
	t.Helper()
	text := make([]byte, n/2)
	if _, err := rand.Read(text); err != nil {
		t.Fatal(err)
	}
	doc := crdt.NewDoc(crdt.Options{})
	if err := doc.Map("changes").Set("large", hex.EncodeToString(text)); err != nil {
		t.Fatal(err)
	}
	update, err := doc.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return update
}

func TestALargeChangeArrivesWithAndWithoutCompression(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	plain := connect(t, pods[0], "a")
	squeezed := join(t, open(t, pods[0], "/collab/acme/a")) // It offers compression.
	await(t, "the beginning", func() bool { return plain.knows(0) && squeezed.knows(0) })
	plain.write(protocol.Update, large(t, 1<<20))
	await(t, "the change", func() bool { return squeezed.knows(1) })
	squeezed.edit("small")
	await(t, "another change", func() bool { return plain.changes() == 1 })
}

func TestAClientThatStopsReadingForAWhileMissesNothing(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	busy := connect(t, pods[0], "a")
	await(t, "the beginning", func() bool { return busy.knows(0) })
	slow := open(t, pods[0], "/collab/acme/a")
	// The kernel buffers some of it; the rest waits in the pod.
	if socket, ok := slow.NetConn().(*net.TCPConn); !ok || socket.SetReadBuffer(256<<10) != nil {
		t.Fatal("the client's buffer cannot be made smaller")
	}
	busy.write(protocol.Update, large(t, 6<<20))
	for i := range 200 {
		busy.edit(strings.Repeat("x", i))
	}
	witness := connect(t, pods[0], "a")
	await(t, "everything", func() bool { return witness.knows(201) })
	client := join(t, slow)
	await(t, "everything, late", func() bool { return client.knows(201) })
	client.mustBeConnected(t)
}

func TestPingsAreAnsweredAndCloseFramesEchoed(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	for range 30 { // The server may be writing when the client says that it leaves.
		conn := open(t, pods[0], "/collab/acme/a")
		heard := make(chan string, 1)
		conn.SetPongHandler(func(payload string) error { heard <- payload; return nil })
		deadline := time.Now().Add(20 * time.Second)
		if err := conn.WriteControl(websocket.PingMessage, []byte("here?"), deadline); err != nil {
			t.Fatal(err)
		}
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "done")
		ended := make(chan error)
		go func() { ended <- end(t, conn) }()
		if payload := <-heard; payload != "here?" {
			t.Errorf("answered with %q", payload)
		}
		if err := conn.WriteControl(websocket.CloseMessage, bye, deadline); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Errorf("ended with %v", err)
		}
	}
}
