package edge

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// poller says which sockets are ready, so that an idle connection needs no goroutine and no buffer. Its own descriptor
// waits in the runtime's poller, as any other file does.
type poller struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
}

// event says what a connection is ready for. hung says that the client has ended the stream, perhaps behind data.
type event struct {
	id                       uint64
	readable, writable, hung bool
}

// edgeTriggered is EPOLLET, which package syscall has as a negative number.
const edgeTriggered = 1 << 31

// newPoller returns a poller; run has to be called, and close ends that.
func newPoller() (*poller, error) {
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

// add begins to tell, by run, whenever something new can be read from a connection, or written to it after there was no
// room. That needs no call for each time.
func (p *poller) add(c *conn) error {
	e := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edgeTriggered,
		Fd:     int32(uint32(c.id)), Pad: int32(uint32(c.id >> 32)), //nolint:gosec // Halves.
	}
	if err := syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, c.socket.fd, &e); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// await and room say that the connection waits for reading and for writing, which add has asked for already.
func (p *poller) await(*conn) {}
func (p *poller) room(*conn)  {}

// run calls ready with what happened, until close is called.
func (p *poller) run(ready func([]event)) {
	const gone = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	raw, events := make([]syscall.EpollEvent, 128), make([]event, 0, 128)
	for {
		n := 0
		err := p.raw.Read(func(uintptr) bool {
			n = p.look(raw)
			return n > 0
		})
		if err != nil {
			return // It was closed.
		}
		events = events[:0]
		for _, e := range raw[:n] {
			events = append(events, event{
				id:       uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32, //nolint:gosec // Halves.
				readable: e.Events&(syscall.EPOLLIN|gone) != 0, hung: e.Events&gone != 0,
				writable: e.Events&(syscall.EPOLLOUT|gone) != 0,
			})
		}
		ready(events)
	}
}

// look returns how many events there are now. As with reading and writing, the scheduler need not know.
func (p *poller) look(events []syscall.EpollEvent) int {
	for {
		//nolint:gosec // A slice's data, which the call uses while it lasts.
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&events[0])),
			uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n) //nolint:gosec // At most len(events).
		case syscall.EINTR:
		default:
			return 0
		}
	}
}

func (p *poller) close() error { return p.file.Close() }
