package socket

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// Poller says which sockets are ready, so that an idle one needs no goroutine and no buffer. Its own descriptor waits
// in the runtime's poller, as any other file does.
type Poller struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
}

// edgeTriggered is EPOLLET, which package syscall has as a negative number.
const edgeTriggered = 1 << 31

// NewPoller returns a poller; Run has to be called, and Close ends that.
func NewPoller() (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), syscall.Close(fd))
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), p.file.Close())
	}
	return p, nil
}

// Add begins to tell, by Run, whenever something new can be read from a socket, or written to it after there was no
// room. That needs no call for each time. The id is the events'.
func (p *Poller) Add(s *Socket, id uint64) error {
	e := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edgeTriggered,
		Fd:     int32(uint32(id)), Pad: int32(uint32(id >> 32)), //nolint:gosec // Halves.
	}
	if err := syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, s.fd, &e); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// Await says that a socket is waited for until there is something to read, which Add has asked for already.
func (p *Poller) Await(*Socket, uint64) {}

// Room says that a socket is waited for until there is room for writing, which Add has asked for already.
func (p *Poller) Room(*Socket, uint64) {}

// Run calls ready with what happened, until Close is called. The events are the poller's again when ready returns.
func (p *Poller) Run(ready func([]Event)) {
	const gone = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
	raw, events := make([]syscall.EpollEvent, 128), make([]Event, 0, 128)
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
			events = append(events, Event{
				ID:       uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32, //nolint:gosec // Halves.
				Readable: e.Events&(syscall.EPOLLIN|gone) != 0, Hung: e.Events&gone != 0,
				Writable: e.Events&(syscall.EPOLLOUT|gone) != 0,
			})
		}
		ready(events)
	}
}

// look returns how many events there are now. As with reading and writing, the scheduler need not know.
func (p *Poller) look(events []syscall.EpollEvent) int {
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

// Close ends Run.
func (p *Poller) Close() error { return p.file.Close() }
