package edge

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// poller says which sockets have something to read, so that an idle connection needs no goroutine and no buffer. Its own
// descriptor waits in the runtime's poller, as any other file does.
type poller struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
}

// newPoller returns a poller; run has to be called, and close ends that.
func newPoller(func(id uint64)) (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), syscall.Close(fd))
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), p.file.Close())
	}
	return p, nil
}

// wait asks to be told once, by run, when there is something to read; again says that it was asked for before.
func (p *poller) wait(c *conn, again bool) error {
	event := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT,
		Fd:     int32(uint32(c.id)), Pad: int32(uint32(c.id >> 32)), //nolint:gosec // Halves.
	}
	operation := syscall.EPOLL_CTL_ADD
	if again {
		operation = syscall.EPOLL_CTL_MOD
	}
	if err := syscall.EpollCtl(p.fd, operation, c.fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// run calls ready with the ids of connections that have something to read, until close is called.
func (p *poller) run(ready func(ids []uint64)) {
	events, ids := make([]syscall.EpollEvent, 128), make([]uint64, 0, 128)
	for {
		n := 0
		err := p.raw.Read(func(uintptr) bool {
			var err error
			for n, err = syscall.EpollWait(p.fd, events, 0); errors.Is(err, syscall.EINTR); {
				n, err = syscall.EpollWait(p.fd, events, 0)
			}
			return n > 0
		})
		if err != nil {
			return // It was closed.
		}
		ids = ids[:0]
		for _, e := range events[:n] {
			ids = append(ids, uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32) //nolint:gosec // Halves.
		}
		ready(ids)
	}
}

func (p *poller) close() error { return p.file.Close() }
