package edge

import (
	"runtime"
	"sync"
)

// perReader is how many connections that have something to say it takes for another reader.
const perReader = 16

// readers read connections that have something to say. A reader is a goroutine that takes one after the other, so that a
// busy pod does not begin one, with a stack that has to grow, for each message. Who waits while it reads lets another one
// take its place.
type readers struct {
	// group is what readers belong to; there is something in it whenever one is begun.
	group *sync.WaitGroup

	mu sync.Mutex
	// queue from head on is who has something to say.
	queue []*conn
	head  int
	// active is the number of readers that do not wait.
	active int
}

// add lets connections be read.
func (r *readers) add(conns []*conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, conns...)
	r.staff()
}

// begin lets something begin with a reader of its own.
func (r *readers) begin(something func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active++
	r.group.Go(func() {
		something()
		r.run()
	})
}

// staff begins as many readers as the queue needs.
func (r *readers) staff() {
	for n := len(r.queue) - r.head; n > 0 && r.active < min(1+n/perReader, 4*runtime.GOMAXPROCS(0)); r.active++ {
		r.group.Go(r.run)
	}
}

// run reads until nobody has something to say.
func (r *readers) run() {
	for c := r.next(); c != nil; c = r.next() {
		c.read()
	}
}

// next returns who is read next. If there is nobody it returns nil, and the reader has to end.
func (r *readers) next() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.head == len(r.queue) {
		r.queue, r.head = r.queue[:0], 0
		r.active--
		return nil
	}
	c := r.queue[r.head]
	r.queue[r.head] = nil
	r.head++
	return c
}

// wait calls something that waits, in a reader.
func (r *readers) wait(something func()) {
	r.mu.Lock()
	r.active--
	r.staff()
	r.mu.Unlock()
	something()
	r.mu.Lock()
	r.active++
	r.mu.Unlock()
}
