package ratelimit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pause is how long a client sends within its rate before its earlier haste is forgotten.
const pause = time.Second

// Connection is one client's. It is safe for concurrent use.
type Connection struct {
	limiter           *Limiter
	user              *user
	organization      string
	operations, bytes *rate.Limiter
	closed            sync.Once

	mu sync.Mutex
	// batch began the current operation, which has taken in batched messages.
	batch   time.Time
	batched int
	// pressed is since when the client has been sending faster than its rate without a pause, and waited when its last
	// wait ends.
	pressed, waited time.Time
}

// Take asks for what has arrived: messages that change something, and bytes of any message. The caller waits for wait
// before it goes on and reads the next message; ok is false when the client floods and must be closed with 4429. A
// message that is greater than a bucket empties it.
func (c *Connection) Take(now time.Time, ops, bytes int) (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limits, ops := c.limiter.limits, c.begin(now, ops)
	taken := make([]*rate.Reservation, 0, 4)
	take := func(bucket *rate.Limiter, n int) {
		if bucket == nil || n <= 0 {
			return
		}
		r := bucket.ReserveN(now, min(n, bucket.Burst()))
		taken, wait = append(taken, r), max(wait, r.DelayFrom(now))
	}
	take(c.operations, ops)
	take(c.bytes, bytes)
	if c.user != nil {
		take(c.user.operations, ops)
		take(c.user.bytes, bytes)
	}
	if wait > 0 {
		if now.Sub(c.waited) > pause {
			c.pressed = now
		}
		c.waited = now.Add(wait)
	}
	patient := limits.Patience <= 0 || wait == 0 || now.Sub(c.pressed) <= limits.Patience
	if patient && (limits.MaxWait <= 0 || wait <= limits.MaxWait) {
		limits.Metrics.waited(wait)
		return wait, true
	}
	for _, r := range taken {
		r.CancelAt(now)
	}
	limits.Metrics.flooded()
	return 0, false
}

// begin returns how many operations the messages begin: those that continue the current one cost nothing.
func (c *Connection) begin(now time.Time, messages int) int {
	limits := c.limiter.limits
	if limits.Batch < 2 || messages <= 0 {
		return messages
	}
	room := 0
	if now.Sub(c.batch) < limits.BatchWindow {
		room = limits.Batch - c.batched
	}
	if messages <= room {
		c.batched += messages
		return 0
	}
	begun := (messages - room + limits.Batch - 1) / limits.Batch
	c.batch, c.batched = now, messages-room-(begun-1)*limits.Batch
	return begun
}

// Close gives the connection's place back. Further calls do nothing.
func (c *Connection) Close() { c.closed.Do(func() { c.limiter.leave(c) }) }
