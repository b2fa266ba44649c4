package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"syscall"
	"time"

	"collab.dev/operator/editor/socket"
)

// reader reads the connections of all authors of a load, by one goroutine: one each would cost more than what it reads.
type reader struct {
	load   *load
	poller *socket.Poller
	// buffer is the running goroutine's.
	buffer []byte

	mu      sync.Mutex
	authors map[uint64]*author
	added   uint64
}

func newReader(l *load) (*reader, error) {
	poller, err := socket.NewPoller()
	if err != nil {
		return nil, fmt.Errorf("read the authors: %w", err)
	}
	return &reader{load: l, poller: poller, buffer: make([]byte, 64<<10), authors: map[uint64]*author{}}, nil
}

// run reads until close is called, before which all rooms have to be closed.
func (r *reader) run() { r.poller.Run(r.ready) }

func (r *reader) close() { _ = r.poller.Close() }

// add takes an author's connection over.
func (r *reader) add(a *author) error {
	if err := a.socket.Take(a.client.conn); err != nil {
		return fmt.Errorf("read an author: %w", err)
	}
	r.mu.Lock()
	r.added++
	a.id = r.added
	r.authors[a.id] = a
	r.mu.Unlock()
	a.room.wait.Add(1)
	err := a.take(nil, time.Since(r.load.begin)) // What has arrived with the document.
	if err == nil {
		err = r.poller.Add(&a.socket, a.id)
	}
	if err != nil {
		r.end(a)
		return fmt.Errorf("read an author: %w", err)
	}
	r.poller.Await(&a.socket, a.id)
	return nil
}

// ready lets authors read and write that can.
func (r *reader) ready(events []socket.Event) {
	for _, e := range events {
		r.mu.Lock()
		a := r.authors[e.ID]
		r.mu.Unlock()
		if a == nil {
			continue
		}
		var err error
		if e.Writable {
			err = r.load.typist.send(a, nil)
		}
		if err == nil && e.Readable {
			err = r.read(a, e.Hung)
		}
		if err != nil {
			if !a.room.closing.Load() {
				r.load.fail(err)
			}
			r.end(a)
		}
	}
	// With one processor nobody could type while there is something to read.
	runtime.Gosched()
}

// read reads all that has arrived.
func (r *reader) read(a *author, hung bool) error {
	for {
		n, err := a.socket.Read(r.buffer)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			r.poller.Await(&a.socket, a.id)
			return nil
		case err == nil && n == 0:
			err = io.EOF
		}
		if err != nil {
			return fmt.Errorf("receive from the server: %w", err)
		}
		if err := a.take(r.buffer[:n], time.Since(r.load.begin)); err != nil {
			return err
		}
		// The end of the stream is told of once, maybe together with what comes before it.
		if n < len(r.buffer) && !hung {
			r.poller.Await(&a.socket, a.id)
			return nil
		}
	}
}

// end closes an author's connection.
func (r *reader) end(a *author) {
	a.socket.Close()
	r.mu.Lock()
	delete(r.authors, a.id)
	r.mu.Unlock()
	a.room.wait.Done()
}
