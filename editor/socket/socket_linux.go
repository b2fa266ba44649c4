package socket

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

// Socket is one that was taken over from package net, which keeps three times as much for each. Nothing waits in it:
// who reads or writes is told how far that went. One goroutine at a time reads, and it is the one that closes.
type Socket struct {
	mu sync.Mutex
	// fd is the descriptor, -1 when it is closed. The mutex keeps it from being closed, and its number from being another's,
	// while somebody else uses it.
	fd int
}

// Take takes a connection over. It is closed, in any case; the socket is another descriptor of it.
func (s *Socket) Take(from net.Conn) error {
	defer func() { _ = from.Close() }()
	s.fd = -1
	transport, ok := from.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T is no socket", from)
	}
	raw, err := transport.SyscallConn()
	if err != nil {
		return fmt.Errorf("the socket: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		// As net has set it, the socket does not block: descriptors of one socket share that.
		copied, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			failed = errno
			return
		}
		s.fd = int(copied)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("the socket: %w", err)
	}
	return nil
}

// Read reads what there is, at most len(b) bytes. n is 0 at the end of the stream, and with more only if the error is
// syscall.EAGAIN, which says that there is nothing now.
func (s *Socket) Read(b []byte) (n int, err error) {
	for {
		n, errno := quick(syscall.SYS_READ, s.fd, b)
		switch errno {
		case 0:
			return n, nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Write writes as much of b as there is room for.
func (s *Socket) Write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return 0, net.ErrClosed
	}
	for n < len(b) {
		m, errno := quick(syscall.SYS_WRITE, s.fd, b[n:min(n+largest, len(b))])
		switch errno {
		case 0:
			n += m
		case syscall.EAGAIN:
			return n, nil
		case syscall.EINTR:
		default:
			return n, errno
		}
	}
	return n, nil
}

// largest bounds what one call copies: the scheduler waits for as long as that takes.
const largest = 64 << 10

// quick reads or writes without telling Go's scheduler. The calls never wait, and take microseconds; the scheduler would take
// each for one that may wait, and find others to run meanwhile and threads for them, which costs more than the calls: a
// fifth of a busy pod's processor.
func quick(call uintptr, fd int, b []byte) (int, syscall.Errno) {
	//nolint:gosec // A slice's data, which the call uses while it lasts.
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno //nolint:gosec // At most len(b), and 0 if there is an error, or not used.
}

// Descriptor is for who waits for the socket without a Poller. It is valid until Close.
func (s *Socket) Descriptor() int { return s.fd }

// Shut ends the stream in both directions, for whoever reads or waits to.
func (s *Socket) Shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		_ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR)
	}
}

// Close closes the socket. Whoever reads calls it.
func (s *Socket) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 {
		_ = syscall.Close(s.fd)
		s.fd = -1
	}
}
