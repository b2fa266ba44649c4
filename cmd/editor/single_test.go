package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is a running editor.
type process struct {
	address, internal string
	stop              func()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// start runs a single process on the directory until the test ends or stop is called.
func start(t *testing.T, data string, flags ...string) process {
	t.Helper()
	address, internal := freeAddress(t), freeAddress(t)
	c, err := parse(append(flags,
		"--data="+data, "--listen="+address, "--internal-listen="+internal, "--drain-over=10ms", "--shards=16",
	), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, c, slog.New(slog.DiscardHandler)) }()
	stopped := false
	p := process{address: address, internal: internal, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}}
	t.Cleanup(p.stop)
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		response, err := client.Get("http://" + internal + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return p
			}
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the editor is not ready: %v", err)
		}
	}
}

// client is a Yjs client with an empty document.
type client struct {
	t    *testing.T
	conn *websocket.Conn
	doc  *crdt.Doc
	last []byte
}

func (p process) connect(t *testing.T, document string) *client {
	t.Helper()
	conn, response, err := websocket.DefaultDialer.Dial("ws://"+p.address+"/collab/"+document, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, conn: conn, doc: crdt.NewDoc(crdt.Options{})}
	c.doc.OnUpdate(func(update []byte, _ any) { c.last = update })
	c.write(protocol.SyncStep1, c.doc.EncodeStateVector())
	return c
}

func (c *client) write(kind protocol.Kind, payload []byte) {
	c.t.Helper()
	if err := c.conn.WriteMessage(websocket.BinaryMessage, protocol.Encode(kind, payload)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) insert(text string) {
	c.t.Helper()
	if err := c.doc.Text("text").Insert(0, text); err != nil {
		c.t.Fatal(err)
	}
	c.write(protocol.Update, c.last)
}

// await reads until the client has the text.
func (c *client) await(text string) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	for c.doc.Text("text").String() != text {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			c.t.Fatalf("has %q, waits for %q: %v", c.doc.Text("text").String(), text, err)
		}
		m, err := protocol.Parse(data)
		if err != nil {
			c.t.Fatal(err)
		}
		if m.Kind == protocol.Update || m.Kind == protocol.SyncStep2 {
			if err := c.doc.ApplyUpdate(m.Payload, nil); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

func TestASingleProcessKeepsDocumentsOverARestart(t *testing.T) {
	data := t.TempDir()
	first := start(t, data)
	a, b := first.connect(t, "acme/notes"), first.connect(t, "acme/notes")
	a.insert("world")
	b.await("world")
	b.insert("hello ")
	a.await("hello world")
	first.stop()

	second := start(t, data)
	second.connect(t, "acme/notes").await("hello world")
}

func TestADirectoryBelongsToOneProcess(t *testing.T) {
	data := t.TempDir()
	start(t, data)
	c, err := parse([]string{"--data=" + data}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), c, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("a second process opened the directory")
	}
}
