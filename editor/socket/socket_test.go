package socket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"collab.dev/operator/editor/socket"
)

// pair returns the two ends of a connection, one of which was taken over.
func pair(t *testing.T) (*socket.Socket, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	other, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := &socket.Socket{}
	if err := s.Take(conn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, other
}

// poll runs a poller to which a socket was added until the test ends.
func poll(t *testing.T, s *socket.Socket) (*socket.Poller, <-chan socket.Event) {
	t.Helper()
	p, err := socket.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan socket.Event, 1<<10)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(func(ready []socket.Event) {
			for _, e := range ready {
				events <- e
			}
		})
	}()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	if err := p.Add(s, id); err != nil {
		t.Fatal(err)
	}
	return p, events
}

const id = 1<<40 + 7

// await waits for an event of the socket.
func await(t *testing.T, events <-chan socket.Event, what string, wanted func(socket.Event) bool) {
	t.Helper()
	for {
		select {
		case e := <-events:
			if e.ID != id {
				t.Fatalf("an event of %d", e.ID)
			}
			if wanted(e) {
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told of " + what)
		}
	}
}

func TestWhatArrivesAndTheEndOfItAreToldOf(t *testing.T) {
	s, other := pair(t)
	p, events := poll(t, s)
	buffer := make([]byte, 16)
	if n, err := s.Read(buffer); n != 0 || !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("%d bytes of nothing: %v", n, err)
	}
	p.Await(s, id)
	if _, err := other.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	await(t, events, "what arrived", func(e socket.Event) bool { return e.Readable })
	if n, err := s.Read(buffer); err != nil || string(buffer[:n]) != "hello" {
		t.Fatalf("%q: %v", buffer[:n], err)
	}
	p.Await(s, id)
	_ = other.Close()
	await(t, events, "the end", func(e socket.Event) bool { return e.Readable && e.Hung })
	if n, err := s.Read(buffer); n != 0 || err != nil {
		t.Errorf("%d bytes after the end: %v", n, err)
	}
}

func TestRoomAfterThereWasNoneIsToldOf(t *testing.T) {
	s, other := pair(t)
	p, events := poll(t, s)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	n, err := s.Write(sent)
	if err != nil || n == len(sent) {
		t.Fatalf("%d bytes were taken by somebody who does not read: %v", n, err)
	}
	p.Room(s, id)
	received := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(other)
		received <- all
	}()
	for n < len(sent) {
		await(t, events, "room", func(e socket.Event) bool { return e.Writable })
		more, err := s.Write(sent[n:])
		if err != nil {
			t.Fatal(err)
		}
		if n += more; n < len(sent) {
			p.Room(s, id)
		}
	}
	s.Shut()
	if !bytes.Equal(<-received, sent) {
		t.Error("something else arrived than was sent")
	}
	s.Close()
	if _, err := s.Write(sent); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to a closed socket: %v", err)
	}
}

func TestOnlySocketsAreTakenOver(t *testing.T) {
	conn, other := net.Pipe()
	defer func() { _ = other.Close() }()
	if (&socket.Socket{}).Take(conn) == nil {
		t.Error("a pipe was taken over")
	}
	if _, err := conn.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("it stays open: %v", err)
	}
}
