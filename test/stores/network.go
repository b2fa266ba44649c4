//go:build stores

package stores

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// Fault is what becomes of a step: of a write to a server, which carries a request or several.
type Fault int

const (
	// Pass lets the step happen.
	Pass Fault = iota
	// Refuse breaks the connection before the step.
	Refuse
	// Lose lets the server do the step and breaks the connection instead of delivering the answer.
	Lose
	// DieBefore is as if the process ended before the step: this and all later ones are refused.
	DieBefore
	// DieAfter is as if the process ended when the server had done the step.
	DieAfter
)

// errFault is what a faulty network answers.
var errFault = errors.New("the network is broken on purpose")

// Network is the network between one process and its servers. Its faults are decided step by step. It is safe for
// concurrent use.
type Network struct {
	mu     sync.Mutex
	step   int
	decide func(step int) Fault
	dead   bool
}

// Steps is the number of steps so far.
func (n *Network) Steps() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.step
}

// Decide lets a function decide what becomes of each step, which are counted from 1.
func (n *Network) Decide(decide func(step int) Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.step, n.decide = 0, decide
}

// Dead says whether the process has ended as far as the servers can tell.
func (n *Network) Dead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead
}

// next is what becomes of the next step.
func (n *Network) next() Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		return Refuse
	}
	n.step++
	if n.decide == nil {
		return Pass
	}
	fault := n.decide(n.step)
	if fault == DieBefore || fault == DieAfter {
		n.dead = true
	}
	return fault
}

// Dial connects through the network.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if n.Dead() {
		return nil, errFault
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &faulty{Conn: conn, network: n}, nil
}

// faulty is a connection of a Network.
type faulty struct {
	net.Conn
	network *Network
	mu      sync.Mutex
	lose    bool
}

func (c *faulty) Write(b []byte) (int, error) {
	switch c.network.next() {
	case Refuse, DieBefore:
		_ = c.Close()
		return 0, errFault
	case Lose, DieAfter:
		c.mu.Lock()
		c.lose = true
		c.mu.Unlock()
	case Pass:
	}
	return c.Conn.Write(b)
}

func (c *faulty) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lose {
		_ = c.Close()
		return 0, errFault
	}
	return n, err
}

// Redis returns a client for a server of StartRedis by way of the network. The caller closes it.
func (n *Network) Redis(server *Server) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: server.Address, MaxRetries: -1, DialerRetries: 1, Dialer: n.Dial, ContextTimeoutEnabled: true,
	})
}

// Postgres returns a pool for a server of StartPostgres by way of the network. The caller closes it.
func (n *Network) Postgres(t testing.TB, server *Server) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.DialFunc = n.Dial
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}
