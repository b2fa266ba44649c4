//go:build !linux

package edge

import (
	"errors"
	"sync"
	"syscall"
)

// poller says which sockets have something to read. Where there is no epoll a goroutine waits for each of them.
type poller struct {
	ready func(id uint64)
	wg    sync.WaitGroup
	ended chan struct{}
}

func newPoller(ready func(id uint64)) (*poller, error) {
	return &poller{ready: ready, ended: make(chan struct{})}, nil
}

func (p *poller) wait(c *conn, _ bool) error {
	p.wg.Go(func() {
		_ = c.raw.Read(func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			return !errors.Is(err, syscall.EAGAIN)
		})
		p.ready(c.id)
	})
	return nil
}

func (p *poller) run(func([]uint64)) { <-p.ended }

func (p *poller) close() error {
	p.wg.Wait()
	close(p.ended)
	return nil
}
