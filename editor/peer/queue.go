package peer

import (
	"context"
	"sync"
)

// Queue is a bounded queue whose writers never block: who cannot keep up is cut off and starts afresh. It is safe for
// concurrent use.
type Queue[T any] struct {
	limit int
	size  func(T) int

	mu     sync.Mutex
	items  []T
	used   int
	wake   chan struct{}
	closed bool
}

// NewQueue returns a queue that holds items up to a total size.
func NewQueue[T any](limit int, size func(T) int) *Queue[T] {
	return &Queue[T]{limit: limit, size: size, wake: make(chan struct{}, 1)}
}

// Push adds an item. It returns false, and adds nothing, if the queue is full or closed. An empty queue takes any item.
func (q *Queue[T]) Push(item T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.size(item)
	if q.closed || len(q.items) > 0 && q.used+n > q.limit {
		return false
	}
	q.items = append(q.items, item)
	q.used += n
	q.signal()
	return true
}

// Pop takes the oldest item, waiting for one. It returns false when the queue is closed and empty or ctx ends. Only one
// goroutine may pop.
func (q *Queue[T]) Pop(ctx context.Context) (T, bool) {
	var none T
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			item := q.items[0]
			q.items[0] = none
			q.items = q.items[1:]
			q.used -= q.size(item)
			q.mu.Unlock()
			return item, true
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return none, false
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return none, false
		}
	}
}

// Close refuses further items. What is queued can still be popped.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *Queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
