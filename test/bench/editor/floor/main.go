//go:build linux

// Command floor is the least that a server can do which brings what clients of a document type to each other over
// WebSockets of their own: the calls of the system, and nothing else. It decodes, checks, merges, stores and limits
// nothing, and forgets everything. What it costs is what no server gets below; it serves benchmarks only.
//
// It reads whatever is ready, and at fixed times sends each client all that the others of its document wrote since, in one
// call. One thread does all of that.
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"runtime"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/socket"
)

// client is a connection.
type client struct {
	socket socket.Socket
	room   *room
	// in is the begin of a frame whose rest has not arrived, out what the next turn sends.
	in, out []byte
}

type room struct{ clients []*client }

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	turn := flag.Duration("turn", 100*time.Millisecond, "time from one turn to the next")
	flag.Parse()
	if err := serve(*listen, *turn); err != nil {
		log.Fatal(err)
	}
}

func serve(address string, turn time.Duration) error {
	arrivals := make(chan arrival, 64)
	upgrader := websocket.Upgrader{ReadBufferSize: 1024, WriteBufferSize: 1024}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Addr: address, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			ws, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			c := &client{}
			if c.socket.Take(ws.NetConn()) == nil {
				arrivals <- arrival{c, r.URL.Path}
			}
		})}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	return loop(arrivals, failed, turn)
}

// arrival is a new client and where its document is.
type arrival struct {
	client *client
	path   string
}

// loop reads and sends until the server fails.
func loop(arrivals <-chan arrival, failed <-chan error, turn time.Duration) error {
	runtime.LockOSThread()
	poll, err := syscall.EpollCreate1(0)
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	rooms, clients := map[string]*room{}, map[int]*client{}
	events, buffer := make([]syscall.EpollEvent, 256), make([]byte, 64<<10)
	pending := []*client{}
	for next := time.Now().Add(turn); ; {
		select {
		case err := <-failed:
			return err
		case a := <-arrivals:
			r := rooms[a.path]
			if r == nil {
				r = &room{}
				rooms[a.path] = r
			}
			a.client.room = r
			r.clients = append(r.clients, a.client)
			fd := a.client.socket.Descriptor()
			clients[fd] = a.client
			e := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)} //nolint:gosec // Descriptors are small.
			if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, fd, &e); err != nil {
				return fmt.Errorf("epoll: %w", err)
			}
			continue
		default:
		}
		// New clients wait for at most this long.
		wait := min(max(time.Until(next), 0), 5*time.Millisecond)
		n, err := syscall.EpollWait(poll, events, int((wait+time.Millisecond-1)/time.Millisecond))
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			c := clients[int(e.Fd)]
			got, err := c.socket.Read(buffer)
			if errors.Is(err, syscall.EAGAIN) {
				continue
			}
			if err != nil || got == 0 {
				c.leave()
				delete(clients, int(e.Fd))
				c.socket.Close()
				continue
			}
			pending = c.take(buffer[:got], pending)
		}
		if now := time.Now(); !now.Before(next) {
			for _, c := range pending {
				c.send()
			}
			pending = pending[:0]
			next = now.Add(turn)
		}
	}
}

func (c *client) leave() {
	for i, other := range c.room.clients {
		if other == c {
			c.room.clients = append(c.room.clients[:i], c.room.clients[i+1:]...)
			return
		}
	}
}

// take takes what arrived. It returns pending with those that got something to send.
func (c *client) take(data []byte, pending []*client) []*client {
	if len(c.in) > 0 {
		c.in = append(c.in, data...)
		data = c.in
	}
	for {
		payload, rest, ok := unframe(data)
		if !ok {
			break
		}
		data = rest
		switch _, m, err := protocol.YWebsocket.Parse(payload); {
		case err != nil:
		case m.Kind == protocol.SyncStep1:
			c.add(protocol.YWebsocket.Append(nil, "", protocol.SyncStep2, []byte{0, 0}), nil)
			c.send()
		case m.Kind == protocol.Update:
			for _, other := range c.room.clients {
				if other != c {
					pending = other.add(payload, pending)
				}
			}
		default:
		}
	}
	c.in = append(c.in[:0], data...)
	return pending
}

func (c *client) add(message []byte, pending []*client) []*client {
	if len(c.out) == 0 {
		pending = append(pending, c)
	}
	c.out = append(c.out, 0x82)
	if n := len(message); n < 126 {
		c.out = append(c.out, byte(n))
	} else {
		c.out = binary.BigEndian.AppendUint16(append(c.out, 126), uint16(n)) //nolint:gosec // Typed characters are short.
	}
	c.out = append(c.out, message...)
	return pending
}

// send sends what waits. Who does not keep up waits for the next turn.
func (c *client) send() {
	n, _ := c.socket.Write(c.out)
	c.out = append(c.out[:0], c.out[n:]...)
}

// unframe takes a client's message off the front, and unmasks it in place. Messages have one frame of less than 64 KiB.
func unframe(data []byte) (payload, rest []byte, ok bool) {
	if len(data) < 2 {
		return nil, data, false
	}
	n, at := int(data[1]&0x7f), 2
	if n == 126 {
		if len(data) < 4 {
			return nil, data, false
		}
		n, at = int(binary.BigEndian.Uint16(data[2:])), 4
	}
	if len(data) < at+4+n {
		return nil, data, false
	}
	mask := data[at : at+4]
	payload = data[at+4 : at+4+n]
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	return payload, data[at+4+n:], true
}
