package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"pgregory.net/rapid"

	"collab.dev/operator/editor/protocol"
)

// serve runs a server of WebSockets until the test ends, and returns its host.
func serve(t *testing.T, handle func(ws *websocket.Conn)) string {
	t.Helper()
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := upgrader.Upgrade(w, r, nil); err == nil {
			defer func() { _ = ws.Close() }()
			handle(ws)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// dial returns a connection after the handshake, and what arrived with that.
func dial(t *testing.T, host string) (net.Conn, []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	begun, err := handshake(conn, host, "/")
	if err != nil {
		t.Fatal(err)
	}
	return conn, begun
}

func TestAServerUnderstandsFrames(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16, 1 << 18}
	received := make(chan []byte, len(sizes))
	host := serve(t, func(ws *websocket.Conn) {
		for range sizes {
			_, message, err := ws.ReadMessage()
			if err != nil {
				t.Error(err)
			}
			received <- message
		}
	})
	conn, _ := dial(t, host)
	for _, size := range sizes {
		message := bytes.Repeat([]byte("message"), size/7+1)[:size]
		if _, err := conn.Write(appendFrame(nil, binaryFrame, message)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(<-received, message) {
			t.Errorf("a message of %d bytes arrived as another", size)
		}
	}
}

func TestAServersMessagesAreWholeHoweverTheyArrive(t *testing.T) {
	type heard struct {
		kind    byte
		payload string
	}
	rapid.Check(t, func(rt *rapid.T) {
		sent := make(chan []heard, 1)
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 125, 126, 3000, 1 << 16}), 1, 5).Draw(rt, "sizes")
		host := serve(t, func(ws *websocket.Conn) {
			var want []heard
			defer func() { sent <- want }()
			for i, size := range sizes {
				// A message that is written in two parts and does not fit the buffer has two frames or more.
				message := bytes.Repeat([]byte{byte(i)}, size)
				w, err := ws.NextWriter(websocket.BinaryMessage)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = w.Write(message[:size/2])
				_ = ws.WriteControl(websocket.PingMessage, []byte("between"), time.Time{})
				_, _ = w.Write(message[size/2:])
				_ = w.Close()
				want = append(want, heard{pingFrame, "between"}, heard{binaryFrame, string(message)})
			}
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4000, "enough"), time.Time{})
			want = append(want, heard{closeFrame, "\x0f\xa0enough"})
		})
		conn, data := dial(t, host)
		rest, err := io.ReadAll(conn)
		if err != nil {
			rt.Fatal(err)
		}
		var got []heard
		var m messages
		var in []byte
		for chunk := range slices.Chunk(append(data, rest...), rapid.IntRange(1, 5000).Draw(rt, "chunk")) {
			in = append(in, chunk...)
			for {
				kind, payload, rest, err := m.next(in)
				if err != nil {
					rt.Fatal(err)
				}
				if in = rest; kind == 0 {
					break
				}
				got = append(got, heard{kind, string(payload)})
			}
		}
		if want := <-sent; !slices.Equal(got, want) || len(in) > 0 {
			rt.Fatalf("%d messages of %d, and %d bytes", len(got), len(want), len(in))
		}
	})
}

func TestPingsAreAnswered(t *testing.T) {
	host := serve(t, func(ws *websocket.Conn) {
		ws.SetPongHandler(func(data string) error {
			return ws.WriteMessage(websocket.BinaryMessage, protocol.Encode(protocol.Awareness, []byte(data)))
		})
		_ = ws.WriteControl(websocket.PingMessage, []byte("here?"), time.Time{})
		_, _, _ = ws.ReadMessage()
	})
	conn, begun := dial(t, host)
	c := &client{conn: conn, in: begun}
	if m, err := c.read(); err != nil || string(m.Payload) != "here?" {
		t.Errorf("%q: %v", m.Payload, err)
	}
}

func TestWhatIsNoFrameOfAServerIsRefused(t *testing.T) {
	for name, data := range map[string][]byte{
		"masked":     appendFrame(nil, binaryFrame, []byte("x")),
		"compressed": {finalBit | 0x40 | binaryFrame, 1, 'x'},
	} {
		if _, _, _, err := (&messages{}).next(data); err == nil {
			t.Errorf("%s: it is accepted", name)
		}
	}
}
