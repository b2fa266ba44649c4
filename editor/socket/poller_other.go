//go:build !linux

package socket

import (
	"errors"
	"sync"
	"syscall"
)

// Poller says which sockets are ready. Where there is no epoll a goroutine waits for each of them.
type Poller struct {
	wg    sync.WaitGroup
	ready chan Event
	ended chan struct{}
}

// NewPoller returns a poller; Run has to be called, and Close ends that.
func NewPoller() (*Poller, error) {
	return &Poller{ready: make(chan Event), ended: make(chan struct{})}, nil
}

// Add begins to tell of a socket, by Run, when Await or Room ask for it. The id is the events'.
func (p *Poller) Add(*Socket, uint64) error { return nil }

// Await asks to be told once when there is something to read.
func (p *Poller) Await(s *Socket, id uint64) {
	p.wg.Go(func() {
		_ = s.raw.Read(func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			return !errors.Is(err, syscall.EAGAIN)
		})
		p.tell(Event{ID: id, Readable: true, Hung: true})
	})
}

// Room asks to be told once when there is room for writing.
func (p *Poller) Room(s *Socket, id uint64) {
	p.wg.Go(func() {
		asked := false
		_ = s.raw.Write(func(uintptr) bool {
			again := asked
			asked = true
			return again
		})
		p.tell(Event{ID: id, Writable: true})
	})
}

func (p *Poller) tell(e Event) {
	select {
	case p.ready <- e:
	case <-p.ended:
	}
}

// Run calls ready with what happened, until Close is called. The events are the poller's again when ready returns.
func (p *Poller) Run(ready func([]Event)) {
	for {
		select {
		case e := <-p.ready:
			ready([]Event{e})
		case <-p.ended:
			return
		}
	}
}

// Close ends Run. Sockets that are waited for have to be closed before.
func (p *Poller) Close() error {
	close(p.ended)
	p.wg.Wait()
	return nil
}
