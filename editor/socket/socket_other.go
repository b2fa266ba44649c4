//go:build !linux

package socket

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Socket is one that was taken over from package net. Nothing waits in it: who reads or writes is told how far that
// went. Where there is no epoll it stays with package net, whose poller is the one that knows when it is ready.
type Socket struct {
	conn net.Conn
	raw  syscall.RawConn
}

// Take takes a connection over.
func (s *Socket) Take(from net.Conn) error {
	transport, ok := from.(syscall.Conn)
	if !ok {
		_ = from.Close()
		return fmt.Errorf("a %T is no socket", from)
	}
	raw, err := transport.SyscallConn()
	if err != nil {
		_ = from.Close()
		return fmt.Errorf("the socket: %w", err)
	}
	s.conn, s.raw = from, raw
	return nil
}

// Read reads what there is, at most len(b) bytes. n is 0 at the end of the stream, and with more only if the error is
// syscall.EAGAIN, which says that there is nothing now.
func (s *Socket) Read(b []byte) (n int, err error) {
	closed := s.raw.Read(func(fd uintptr) bool {
		for {
			n, err = syscall.Read(int(fd), b)
			if !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	return max(n, 0), errors.Join(err, closed)
}

// Write writes as much of b as there is room for.
func (s *Socket) Write(b []byte) (n int, err error) {
	closed := s.raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			m, failed := syscall.Write(int(fd), b[n:])
			switch {
			case failed == nil:
				n += m
			case errors.Is(failed, syscall.EAGAIN):
				return true
			case !errors.Is(failed, syscall.EINTR):
				err = failed
				return true
			}
		}
		return true
	})
	return n, errors.Join(err, closed)
}

// Shut ends the stream in both directions, for whoever reads or waits to.
func (s *Socket) Shut() {
	_ = s.raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
}

// Close closes the socket. Whoever reads calls it.
func (s *Socket) Close() { _ = s.conn.Close() }
