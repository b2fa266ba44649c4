package ratelimit

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pause is how long a client sends within its rate before its earlier haste is forgotten.
const pause = time.Second

// Connection is one client's. It is safe for concurrent use.
type Connection struct {
	limiter *Limiter

	// The limiter's mutex is taken before this one.
	mu     sync.Mutex
	stays  []stay
	closed bool
	// haste is nil while the client has not sent anything for so long that its buckets are full: there are many of those.
	haste *haste
}

// stay is a user and an organization that a connection counts for; one of them may be nil. documents is for how many
// documents it does.
type stay struct {
	user         *user
	organization *organization
	documents    int
}

func (s stay) is(userName, organizationName string) bool {
	return (s.user == nil && userName == "" || s.user != nil && s.user.name == userName) &&
		(s.organization == nil && organizationName == "" || s.organization != nil && s.organization.name == organizationName)
}

// haste is what a connection sent lately.
type haste struct {
	operations, bytes *rate.Limiter
	// batch began the current operation, which has taken in batched messages.
	batch   time.Time
	batched int
	// pressed is since when the client has been sending faster than its rate without a pause, and waited when its last
	// wait ends.
	pressed, waited time.Time
}

// Enter counts the connection for a user and an organization, as long as it has a document of theirs open: a connection
// with several counts once. An empty user is nobody in particular, and an empty organization none. The error is
// ErrUserConnections or ErrOrganizationConnections, and wraps ErrTooManyConnections.
func (c *Connection) Enter(user, organization string) error {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.find(user, organization); i >= 0 {
		c.stays[i].documents++
		return nil
	}
	s, err := l.enter(user, organization)
	if err == nil {
		c.stays = append(c.stays, s)
	}
	return err
}

// Leave undoes one Enter.
func (c *Connection) Leave(user, organization string) {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.find(user, organization)
	if i < 0 {
		return
	}
	if c.stays[i].documents--; c.stays[i].documents == 0 {
		l.leave(c.stays[i])
		c.stays = slices.Delete(c.stays, i, i+1)
	}
}

func (c *Connection) find(user, organization string) int {
	return slices.IndexFunc(c.stays, func(s stay) bool { return s.is(user, organization) })
}

// Take asks for what has arrived: messages that change something, and bytes of any message. The caller waits for wait
// before it goes on and reads the next message; ok is false when the client floods and must be closed with 4429. A
// message that is greater than a bucket empties it.
func (c *Connection) Take(now time.Time, ops, bytes int) (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limits := &c.limiter.limits
	h := c.haste
	if h == nil {
		h = &haste{operations: limits.ConnectionOperations.bucket(), bytes: limits.ConnectionBytes.bucket()}
		c.haste = h
	}
	var room [4]demand
	demands := c.demands(room[:0], h.begin(limits, now, ops), bytes)
	if enough(demands, now) {
		return 0, true
	}
	taken := make([]*rate.Reservation, 0, len(demands))
	for _, d := range demands {
		r := d.bucket.ReserveN(now, d.n)
		taken, wait = append(taken, r), max(wait, r.DelayFrom(now))
	}
	if wait > 0 {
		if now.Sub(h.waited) > pause {
			h.pressed = now
		}
		h.waited = now.Add(wait)
	}
	patient := limits.Patience <= 0 || wait == 0 || now.Sub(h.pressed) <= limits.Patience
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

// demand is what somebody wants of a bucket.
type demand struct {
	bucket *rate.Limiter
	n      int
}

// demands appends what is wanted of the connection's buckets and of those of its users.
func (c *Connection) demands(to []demand, ops, bytes int) []demand {
	add := func(bucket *rate.Limiter, n int) {
		if bucket != nil && n > 0 {
			to = append(to, demand{bucket, min(n, bucket.Burst())})
		}
	}
	add(c.haste.operations, ops)
	add(c.haste.bytes, bytes)
	for i, s := range c.stays {
		// Several organizations of one user are one user.
		if s.user != nil && !slices.ContainsFunc(c.stays[:i], func(other stay) bool { return other.user == s.user }) {
			add(s.user.operations, ops)
			add(s.user.bytes, bytes)
		}
	}
	return to
}

// enough takes what is wanted if all of it is there, as nearly always: reservations take memory.
func enough(demands []demand, now time.Time) bool {
	for _, d := range demands {
		if d.bucket.TokensAt(now) < float64(d.n) {
			return false
		}
	}
	for _, d := range demands {
		if !d.bucket.AllowN(now, d.n) {
			return false // Another connection of the user was faster. What was taken is lost, which is little.
		}
	}
	return true
}

// begin returns how many operations the messages begin: those that continue the current one cost nothing.
func (h *haste) begin(limits *Limits, now time.Time, messages int) int {
	if limits.Batch < 2 || messages <= 0 {
		return messages
	}
	room := 0
	if now.Sub(h.batch) < limits.BatchWindow {
		room = limits.Batch - h.batched
	}
	if messages <= room {
		h.batched += messages
		return 0
	}
	begun := (messages - room + limits.Batch - 1) / limits.Batch
	h.batch, h.batched = now, messages-room-(begun-1)*limits.Batch
	return begun
}

// Rest frees what the connection keeps of what it sent, if nothing of that matters anymore. It is to be called from time to
// time.
func (c *Connection) Rest(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	full := func(bucket *rate.Limiter) bool {
		return bucket == nil || bucket.TokensAt(now) >= float64(bucket.Burst())
	}
	h := c.haste
	if h != nil && full(h.operations) && full(h.bytes) && now.Sub(h.batch) >= c.limiter.limits.BatchWindow &&
		now.Sub(h.waited) > pause {
		c.haste = nil
	}
}

// Close gives the connection's place back. Further calls do nothing, and neither may any other method be called.
func (c *Connection) Close() {
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	l.connections--
	for _, s := range c.stays {
		l.leave(s)
	}
	c.stays = nil
	l.limits.Metrics.count(l.connections, len(l.users))
}
