package webhook

import (
	"container/heap"
	"slices"
	"time"
)

const (
	// maxUsers bounds the users that a delivery names.
	maxUsers = 50
	// retryFrom and retryUpTo bound the pause before a retry, which doubles with each failure.
	retryFrom = time.Second
	retryUpTo = 5 * time.Minute
	// retryFor is how long a document's deliveries may fail before they are left to the store's memory.
	retryFor = 24 * time.Hour
)

// change is what the application is to be told of a document: all its changes up to an operation.
type change struct {
	document string
	seq      int64
	at       time.Time
	// users made the changes; those beyond maxUsers are left out.
	users []string
}

// by adds a user.
func (c *change) by(users ...string) {
	for _, user := range users {
		if user != "" && len(c.users) < maxUsers && !slices.Contains(c.users, user) {
			c.users = append(c.users, user)
		}
	}
}

// outcome is what became of a delivery.
type outcome uint8

const (
	// told says that the application has taken it, gone that it never wants to hear of this again.
	told outcome = iota
	gone
	// refused says that the application does not take it and trying again would not help.
	refused
	// failed says that trying again may help.
	failed
	// expired is failed for so long that the delivery is left to the store's memory.
	expired
)

var outcomes = [...]string{told: "told", gone: "gone", refused: "refused", failed: "failed", expired: "expired"}

func (o outcome) String() string { return outcomes[o] }

// schedule decides when the application is told of which document. Changes gather until none has come for a while, or
// until the first has waited long enough. Of a document one delivery at a time is under way; one that failed is merged
// with what came meanwhile. A schedule has no clock: it is told the time, which must not fall. It is not safe for
// concurrent use.
type schedule struct {
	debounce, maxWait time.Duration
	// limit bounds the documents.
	limit int
	// random is from [0, 1).
	random func() float64

	documents map[string]*entry
	// retrying are how many of them have failed last.
	retrying int
	// queue has those that are not being delivered.
	queue queue
	// closing lets nothing wait anymore.
	closing bool
}

// entry is a document whose changes the application was not told of.
type entry struct {
	change
	// sent is being delivered; the change has only what came after it, if fresh says that something did.
	sent    change
	sending bool
	fresh   bool
	// first and last are when fresh changes came.
	first, last time.Time
	// failures are those since the last success, the first of them at since. Nothing is sent before retry.
	failures     int
	since, retry time.Time
	// due sorts the queue. It may be before the time at which the entry is ready, but not after it.
	due time.Time
}

// ready is when the entry is to be delivered.
func (s *schedule) ready(e *entry) time.Time {
	switch {
	case s.closing:
		return time.Time{}
	case e.failures > 0:
		return e.retry
	}
	ready := e.last.Add(s.debounce)
	if latest := e.first.Add(s.maxWait); latest.Before(ready) {
		return latest
	}
	return ready
}

func (s *schedule) enqueue(e *entry) {
	e.due = s.ready(e)
	heap.Push(&s.queue, e)
}

// changed takes an operation. It returns false if there is no room for another document. What is known already is left
// alone.
func (s *schedule) changed(now time.Time, document string, seq int64, user string, at time.Time) bool {
	e := s.documents[document]
	if e == nil {
		if len(s.documents) >= s.limit {
			return false
		}
		e = &entry{change: change{document: document}}
		s.documents[document] = e
	} else if known := e.newest(); seq <= known.seq && !at.After(known.at) {
		// A purged document begins anew with lower numbers, but not at an earlier time.
		return true
	}
	if !e.fresh {
		e.first = now
	}
	added := !e.fresh && !e.sending
	e.fresh, e.last, e.seq, e.at = true, now, seq, at
	e.by(user)
	if added {
		s.enqueue(e)
	}
	return true
}

// newest is the last change of a document, on its way or not.
func (e *entry) newest() change {
	if e.sending && !e.fresh {
		return e.sent
	}
	return e.change
}

// next is when take may have something, if anything waits.
func (s *schedule) next() (time.Time, bool) {
	if len(s.queue) == 0 {
		return time.Time{}, false
	}
	return s.queue[0].due, true
}

// take returns a change that is to be delivered now, if there is one. Its outcome must be told to done.
func (s *schedule) take(now time.Time) (change, bool) {
	for len(s.queue) > 0 && !s.queue[0].due.After(now) {
		e := s.queue[0]
		if ready := s.ready(e); ready.After(now) {
			e.due = ready
			heap.Fix(&s.queue, 0)
			continue
		}
		heap.Pop(&s.queue)
		e.sent, e.sending, e.fresh = e.change, true, false
		e.change = change{document: e.document}
		return e.sent, true
	}
	return change{}, false
}

// done takes the outcome of a delivery. A failed one is tried again, not before a pause that the application asked for.
// It returns the outcome, which becomes expired when the document's deliveries have failed for too long.
func (s *schedule) done(now time.Time, document string, o outcome, pause time.Duration) outcome {
	e := s.documents[document]
	e.sending = false
	if o == failed {
		if e.failures == 0 {
			e.since = now
			s.retrying++
		}
		pause = max(pause, backoff(e.failures, s.random()))
		e.failures++
		e.retry = now.Add(pause)
		if e.retry.Sub(e.since) > retryFor {
			o = expired
		}
	}
	if o == failed && !s.closing {
		merged := e.sent
		if e.fresh {
			merged.seq, merged.at = e.seq, e.at
			merged.by(e.users...)
		}
		e.change, e.fresh = merged, true
		s.enqueue(e)
		return o
	}
	if e.failures > 0 {
		s.retrying--
	}
	e.failures, e.sent = 0, change{}
	if e.fresh && o != failed && o != expired {
		s.enqueue(e)
	} else {
		delete(s.documents, document)
	}
	return o
}

// backoff is the pause after a number of former failures, with random from [0, 1).
func backoff(failures int, random float64) time.Duration {
	pause := retryUpTo
	if failures < 16 {
		pause = min(retryFrom<<failures, retryUpTo)
	}
	return pause/2 + time.Duration(random*float64(pause/2))
}

// flush makes everything due that waits for more changes, and forgets what waits for a retry: it returns how many. What
// comes afterwards does not wait.
func (s *schedule) flush() (forgotten int) {
	s.closing = true
	var waiting queue
	for _, e := range s.queue {
		if e.failures > 0 {
			delete(s.documents, e.document)
			s.retrying--
			forgotten++
			continue
		}
		e.due = time.Time{}
		waiting = append(waiting, e) // All are due at once: in any order they are a heap.
	}
	s.queue = waiting
	return forgotten
}

// queue is a heap of entries by their due times.
type queue []*entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(*entry)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
