package edge_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/protocol"
)

// open opens a socket and reads nothing.
func open(t *testing.T, p *pod, path string) *websocket.Conn {
	t.Helper()
	dialer := websocket.Dialer{EnableCompression: true}
	conn, resp, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(p.http.URL, "http")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// end reads until the connection is closed.
func end(t *testing.T, conn *websocket.Conn) error {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			return err
		}
	}
}

func TestWhatIsMalformedEndsTheConnectionAndReachesNobody(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	other := connect(t, pods[0], "a")
	await(t, "the beginning", func() bool { return other.knows(0) })
	for _, message := range [][]byte{
		protocol.Encode(protocol.Update, []byte("no update of Yjs")),
		protocol.Encode(protocol.SyncStep2, []byte("no update of Yjs")),
		protocol.Encode(protocol.SyncStep1, []byte{5, 1}),
	} {
		conn := open(t, pods[0], "/collab/acme/a")
		if err := conn.WriteMessage(websocket.BinaryMessage, message); err != nil {
			t.Fatal(err)
		}
		if err := end(t, conn); !websocket.IsCloseError(err, websocket.CloseInvalidFramePayloadData) {
			t.Fatalf("%q: %v", message, err)
		}
	}
	// The other client panics on an update that is none.
	writer := connect(t, pods[0], "a")
	writer.edit("fine")
	await(t, "the change", func() bool { return other.knows(1) })
}

func TestAMessageIsMeasuredUncompressed(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	conn := open(t, pods[0], "/hocuspocus")
	if err := conn.WriteMessage(websocket.BinaryMessage, make([]byte, 64<<20)); err != nil {
		return // The server has had enough before all of it was sent.
	}
	if err := end(t, conn); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Fatal(err)
	}
}

func TestAStrangerMayNotSendOnAndOn(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	conn := open(t, pods[0], "/hocuspocus")
	go func() {
		for conn.WriteMessage(websocket.BinaryMessage, []byte{9}) == nil {
			time.Sleep(100 * time.Microsecond)
		}
	}()
	if err := end(t, conn); !websocket.IsCloseError(err, 4429) {
		t.Fatal(err)
	}
}

func TestAStrangersMessageMayNotBeLarge(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	conn := open(t, pods[0], "/hocuspocus")
	if err := conn.WriteMessage(websocket.BinaryMessage, large(t, 1<<20)); err != nil {
		return // The server has had enough before all of it was sent.
	}
	if err := end(t, conn); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Fatal(err)
	}
}

func TestAClientMayNotPretendToBeACrowd(t *testing.T) {
	pods := startPods(t, 2)
	assign(pods, pods, "pod-1", "", 1)
	ada := connect(t, pods[0], "a")
	await(t, "the beginning", func() bool { return ada.knows(0) })
	for id := range uint64(500) {
		ada.write(protocol.Awareness, protocol.EncodeAwareness([]protocol.Presence{{Client: id, Clock: 1, State: "{}"}}))
	}
	// What follows it on the connection comes later.
	ada.edit("done")
	bob := connect(t, pods[1], "a")
	await(t, "the change", func() bool { return bob.knows(1) })
	conn := open(t, pods[1], "/collab/acme/a")
	if err := conn.WriteMessage(websocket.BinaryMessage, protocol.Encode(protocol.QueryAwareness, nil)); err != nil {
		t.Fatal(err)
	}
	most := 0
	for range 2 { // The answer, and whatever came before it.
		_, data, err := conn.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		m, err := protocol.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if m.Kind != protocol.Awareness {
			continue
		}
		presences, err := protocol.ParseAwareness(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if most = max(most, len(presences)); most > 0 {
			break
		}
	}
	if most == 0 || most > 64 {
		t.Fatalf("one client appears as %d", most)
	}
}

func TestThePresenceOfALostPodIsForgotten(t *testing.T) {
	pods := startPods(t, 2)
	assign(pods, pods, "pod-1", "", 1)
	ada, bob := connect(t, pods[1], "a"), connect(t, pods[0], "a")
	await(t, "the beginning", func() bool { return ada.knows(0) && bob.knows(0) })
	ada.write(protocol.Awareness, protocol.EncodeAwareness([]protocol.Presence{{Client: 7, Clock: 1, State: `"Ada"`}}))
	here := func() bool {
		conn := open(t, pods[0], "/collab/acme/a")
		defer func() { _ = conn.Close() }()
		question := protocol.Encode(protocol.SyncStep1, protocol.EmptyStateVector())
		if err := conn.WriteMessage(websocket.BinaryMessage, question); err != nil {
			t.Fatal(err)
		}
		for synced := false; ; {
			_, data, err := conn.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			m, err := protocol.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			synced = synced || m.Kind == protocol.SyncStep2
			if synced && m.Kind == protocol.Awareness {
				return strings.Contains(string(m.Payload), "Ada")
			}
		}
	}
	await(t, "Ada", here)
	pods[1].kill()
	assign(pods[:1], pods[:1], "pod-0", "", 2)
	await(t, "nobody", func() bool { return !here() })
}
