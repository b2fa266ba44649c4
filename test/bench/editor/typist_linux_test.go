package main

import (
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/protocol"
)

// A room whose socket is full waits, and no other does. When there is room again nothing is missing.
func TestARoomWaitsForItsSocketAlone(t *testing.T) {
	read := make(chan struct{})
	var connections, slow, pongs atomic.Int64
	host := serve(t, func(ws *websocket.Conn) {
		first := connections.Add(1) == 1
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Error(err)
		}
		empty := protocol.Encode(protocol.SyncStep2, protocol.EmptyUpdate())
		if err := ws.WriteMessage(websocket.BinaryMessage, empty); err != nil {
			t.Error(err)
		}
		if first {
			if socket, ok := ws.NetConn().(*net.TCPConn); !ok || socket.SetReadBuffer(64<<10) != nil {
				t.Error("the server cannot make its socket small")
			}
			ws.SetPongHandler(func(string) error { pongs.Add(1); return nil })
			_ = ws.WriteControl(websocket.PingMessage, nil, time.Time{})
			<-read
		}
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				return
			}
			if first {
				slow.Add(1)
			}
		}
	})
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLoad(t.Context(), &running{port: port, system: systems()[0]}, 1, 4000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for documents := range 2 {
		if err := l.resize(t.Context(), documents+1); err != nil {
			t.Fatal(err)
		}
	}
	full, other := l.rooms[0], l.rooms[1]
	err = syscall.SetsockoptInt(full.authors[0].socket.Descriptor(), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 32<<10)
	if err != nil {
		t.Fatal(err)
	}
	turns := func(r *room) (n int, blocked bool) {
		l.typist.mu.Lock()
		defer l.typist.mu.Unlock()
		return r.turns, r.blocked != nil
	}
	until := func(what string, reached func() bool) {
		t.Helper()
		for begin := time.Now(); !reached(); time.Sleep(time.Millisecond) {
			if time.Since(begin) > 30*time.Second {
				t.Fatal("this has not happened: " + what)
			}
		}
	}
	// The server's side of the socket is full some time after this one.
	stuck := 0
	until("the room waits while the other one goes on", func() bool {
		before, _ := turns(other)
		stuck, _ = turns(full)
		until("the other room goes on", func() bool { n, _ := turns(other); return n > before+1000 })
		n, blocked := turns(full)
		return blocked && n == stuck
	})
	close(read)
	until("the room goes on", func() bool { n, _ := turns(full); return n > stuck+100 })
	if !l.settled(t.Context(), time.Second) || l.failure() != nil {
		t.Error(l.failure())
	}
	typed, _ := turns(full)
	until("all has arrived", func() bool { return slow.Load() == int64(typed) && pongs.Load() == 1 })
}
