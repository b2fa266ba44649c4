//go:build !linux

package edge

import (
	"errors"
	"sync"
	"syscall"
)

// poller says which sockets are ready. Where there is no epoll a goroutine waits for each of them.
type poller struct {
	wg    sync.WaitGroup
	ready chan event
	ended chan struct{}
}

// event says what a connection is ready for. hung says that the client has ended the stream, perhaps behind data.
type event struct {
	id                       uint64
	readable, writable, hung bool
}

func newPoller() (*poller, error) {
	return &poller{ready: make(chan event), ended: make(chan struct{})}, nil
}

// add begins to tell of a connection, when await or room ask for it.
func (p *poller) add(*conn) error { return nil }

// await asks to be told once when there is something to read.
func (p *poller) await(c *conn) {
	p.wg.Go(func() {
		_ = c.socket.raw.Read(func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			return !errors.Is(err, syscall.EAGAIN)
		})
		p.tell(event{id: c.id, readable: true, hung: true})
	})
}

// room asks to be told once when there is room for writing.
func (p *poller) room(c *conn) {
	p.wg.Go(func() {
		asked := false
		_ = c.socket.raw.Write(func(uintptr) bool {
			again := asked
			asked = true
			return again
		})
		p.tell(event{id: c.id, writable: true})
	})
}

func (p *poller) tell(e event) {
	select {
	case p.ready <- e:
	case <-p.ended:
	}
}

func (p *poller) run(ready func([]event)) {
	for {
		select {
		case e := <-p.ready:
			ready([]event{e})
		case <-p.ended:
			return
		}
	}
}

func (p *poller) close() error {
	close(p.ended)
	p.wg.Wait()
	return nil
}
