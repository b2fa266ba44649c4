// Package ratelimit bounds what clients may ask of a pod: how many connections a user, an organization and the pod have,
// and how many operations and bytes a connection and a user send.
//
// It knows nothing of sockets and documents. The edge asks before it takes a message and waits as long as it is told,
// which slows the client by TCP's own backpressure; it closes the connections of those that go on all the same.
package ratelimit

import (
	"container/list"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// ErrTooManyConnections is what the three errors of Limiter.Connection wrap.
var ErrTooManyConnections = errors.New("too many connections")

// Errors of Limiter.Connection: which bound is reached. Their texts are for the client.
var (
	ErrUserConnections         error = full("this user has too many connections: close some")
	ErrOrganizationConnections error = full("this organization has too many connections: try again later")
	ErrPodConnections          error = full("this server has too many connections: try again, to reach another one")
)

// full is the error of a bound that is reached.
type full string

func (f full) Error() string { return string(f) }
func (f full) Unwrap() error { return ErrTooManyConnections }

// Rate is a token bucket: Burst is what it holds at most, PerSecond refills it. With a PerSecond of 0 there is no bound.
type Rate struct {
	PerSecond float64
	Burst     int
}

// bucket returns a full bucket, nil without a bound.
func (r Rate) bucket() *rate.Limiter {
	if r.PerSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(r.PerSecond), max(r.Burst, 1))
}

// refill is how long an empty bucket takes to be full.
func (r Rate) refill() time.Duration {
	if r.PerSecond <= 0 {
		return 0
	}
	return time.Duration(float64(max(r.Burst, 1)) / r.PerSecond * float64(time.Second))
}

// Limits are the bounds. The zero value has none; Defaults returns the usual ones.
type Limits struct {
	// ConnectionOperations and ConnectionBytes bound a connection, UserOperations and UserBytes all connections of a
	// user to this pod together. They count operations as Batch and BatchWindow define them.
	ConnectionOperations, UserOperations Rate
	ConnectionBytes, UserBytes           Rate

	// Batch is how many messages of a connection are one operation, when they arrive within BatchWindow of the first of
	// them: clients send a change for each key that is pressed, fast typists 20 a second, which is the batching that
	// clients leave to the network. With less than 2 each message is an operation.
	Batch       int
	BatchWindow time.Duration

	// MaxWait is the longest wait that is asked of a client: a message that would have to wait longer is a flood. 0 is
	// no bound.
	MaxWait time.Duration
	// Patience is how long a client may send faster than its rate without a pause before that is a flood. 0 is no bound.
	Patience time.Duration

	// UserConnections, OrganizationConnections and PodConnections bound connections to this pod; 0 is no bound.
	UserConnections, OrganizationConnections, PodConnections int

	// Metrics counts; nil counts nothing.
	Metrics *Metrics
}

// Defaults returns the usual bounds: 100 operations at once and 10 a second, where up to 4 messages within 100 ms are
// one operation.
func Defaults() Limits {
	operations := Rate{PerSecond: 10, Burst: 100}
	return Limits{
		ConnectionOperations: operations, UserOperations: operations,
		ConnectionBytes: Rate{PerSecond: 1 << 20, Burst: 16 << 20}, UserBytes: Rate{PerSecond: 2 << 20, Burst: 32 << 20},
		Batch: 4, BatchWindow: 100 * time.Millisecond,
		MaxWait: 10 * time.Second, Patience: 30 * time.Second,
		UserConnections: 100, OrganizationConnections: 10_000, PodConnections: 20_000,
	}
}

// maxIdle bounds the users without a connection whose spent buckets are remembered.
const maxIdle = 1 << 16

// Limiter admits connections. It is safe for concurrent use and has no goroutines.
type Limiter struct {
	limits Limits
	// forget is how long a user's buckets matter after its last connection: then they are full again.
	forget time.Duration

	mu            sync.Mutex
	connections   int
	organizations map[string]*organization
	users         map[string]*user
	idle          *list.List // of *user without connections, the longest idle first
}

// user is what a user's connections share.
type user struct {
	name              string
	operations, bytes *rate.Limiter
	connections       int
	left              time.Time
	idle              *list.Element
}

// organization is how many connections one has.
type organization struct {
	name        string
	connections int
}

// New returns a limiter.
func New(limits Limits) *Limiter {
	return &Limiter{
		limits: limits, forget: max(limits.UserOperations.refill(), limits.UserBytes.refill()),
		organizations: map[string]*organization{}, users: map[string]*user{}, idle: list.New(),
	}
}

// Accept admits a connection of which nobody knows yet whose it is, until its Close: Enter tells. The error is
// ErrPodConnections, and wraps ErrTooManyConnections.
func (l *Limiter) Accept() (*Connection, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if reached(l.connections, l.limits.PodConnections) {
		return nil, l.limits.Metrics.refuse(ErrPodConnections, "pod")
	}
	l.connections++
	l.limits.Metrics.count(l.connections, len(l.users))
	return &Connection{limiter: l}, nil
}

// Connection admits a connection of a user for a document of an organization, until its Close. The error is one of those
// above, and wraps ErrTooManyConnections.
func (l *Limiter) Connection(user, organization string) (*Connection, error) {
	c, err := l.Accept()
	if err != nil {
		return nil, err
	}
	if err := c.Enter(user, organization); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func reached(n, bound int) bool { return bound > 0 && n >= bound }

// enter counts a connection for a user and an organization, unless that is one too many.
func (l *Limiter) enter(userName, organizationName string) (stay, error) {
	l.sweep(time.Now())
	u, o := l.users[userName], l.organizations[organizationName]
	switch {
	case o != nil && reached(o.connections, l.limits.OrganizationConnections):
		return stay{}, l.limits.Metrics.refuse(ErrOrganizationConnections, "organization")
	case u != nil && reached(u.connections, l.limits.UserConnections):
		return stay{}, l.limits.Metrics.refuse(ErrUserConnections, "user")
	}
	if userName != "" {
		if u == nil {
			u = &user{name: userName, operations: l.limits.UserOperations.bucket(), bytes: l.limits.UserBytes.bucket()}
			l.users[userName] = u
		}
		if u.idle != nil {
			l.idle.Remove(u.idle)
			u.idle = nil
		}
		u.connections++
	}
	if organizationName != "" {
		if o == nil {
			o = &organization{name: organizationName}
			l.organizations[organizationName] = o
		}
		o.connections++
	}
	l.limits.Metrics.count(l.connections, len(l.users))
	return stay{user: u, organization: o, documents: 1}, nil
}

// leave undoes enter.
func (l *Limiter) leave(s stay) {
	now := time.Now()
	if u := s.user; u != nil {
		if u.connections--; u.connections == 0 {
			u.left, u.idle = now, l.idle.PushBack(u)
		}
	}
	if o := s.organization; o != nil {
		if o.connections--; o.connections == 0 {
			delete(l.organizations, o.name)
		}
	}
	l.sweep(now)
	l.limits.Metrics.count(l.connections, len(l.users))
}

// sweep forgets users whose buckets are full again, and the longest idle ones where there are too many.
func (l *Limiter) sweep(now time.Time) {
	for e := l.idle.Front(); e != nil; e = l.idle.Front() {
		u := e.Value.(*user)
		if now.Sub(u.left) < l.forget && l.idle.Len() <= maxIdle {
			return
		}
		l.idle.Remove(e)
		delete(l.users, u.name)
	}
}
