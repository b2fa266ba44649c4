// Package edge owns client connections: it speaks y-websocket and Hocuspocus to Yjs clients, asks who they are and what
// they may do, bounds what they send, finds each document's owner through the shard map, and keeps clients connected
// while owners come and go.
//
// It knows nothing of how documents are kept or stored, and leaves it to package auth who may open them. Locks are taken
// in this order: the edge's, a room's, an outbox's.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/gorilla/websocket"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/ratelimit"
	"collab.dev/operator/editor/shard"
	"collab.dev/operator/editor/socket"
	"collab.dev/operator/editor/storage"
)

// keepalives is the number of turns, one a second, in which all connections get a sign of life.
const keepalives = 25

// restarting is why clients are let go, or not taken, when the process is about to stop.
const restarting = "the server restarts"

// nobody is the presence of nobody.
var nobody = protocol.EncodeAwareness(nil)

// Options are what an Edge needs.
type Options struct {
	// Maps says who owns which document.
	Maps *shard.Maps
	// Self is this pod's name among the map's members, and Local serves the documents that it owns.
	Self  string
	Local peer.Handler
	// Dial opens a link to another owner; the stream ends with ctx.
	Dial func(ctx context.Context, address string) (peer.Stream, error)
	// Guard says who clients are and what they may do; auth.Open if it is nil.
	Guard *auth.Guard
	// Limiter bounds what clients send; nil bounds nothing.
	Limiter *ratelimit.Limiter
	// Feed tells of the changes of documents with many edges; nil if the store has none.
	Feed storage.Feed
	// Metrics takes what is measured. Optional.
	Metrics *Metrics
	// Logger takes what is worth knowing about connections.
	Logger *slog.Logger
}

// Edge serves clients. It is safe for concurrent use.
type Edge struct {
	opts        Options
	ctx         context.Context //nolint:containedctx // Its end is the edge's.
	cancel      context.CancelFunc
	links       links
	poller      *socket.Poller
	wait        sync.WaitGroup
	live        sync.WaitGroup // Connections.
	upgrader    websocket.Upgrader
	connections atomic.Int64
	draining    atomic.Bool
	served      atomic.Uint64
	lanes       []*lane
	readers     readers

	mu    sync.Mutex
	rooms map[string]*room
	conns map[uint64]*conn
	// readable is room for ready.
	readable []*conn
}

// New returns an edge. Close ends it. It fails when the system has no descriptors left.
func New(opts Options) (*Edge, error) {
	if opts.Guard == nil {
		opts.Guard = auth.Open()
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &Edge{
		opts: opts, ctx: ctx, cancel: cancel, rooms: map[string]*room{}, conns: map[uint64]*conn{},
		links: links{ctx: ctx, opts: &opts, byID: map[v1alpha1.ShardMember]*link{}},
		upgrader: websocket.Upgrader{
			HandshakeTimeout: writeTimeout, ReadBufferSize: 1024, WriteBufferSize: 4096,
			WriteBufferPool: &sync.Pool{}, EnableCompression: true,
			// It is checked before, to answer with a sentence.
			CheckOrigin: func(*http.Request) bool { return true },
		},
	}
	e.readers.group = &e.wait
	var err error
	if e.poller, err = socket.NewPoller(); err != nil {
		cancel()
		return nil, err
	}
	e.wait.Go(func() { e.poller.Run(e.ready) })
	for range runtime.GOMAXPROCS(0) {
		l := newLane()
		e.lanes = append(e.lanes, l)
		e.wait.Go(func() { l.run(ctx) })
	}
	e.wait.Go(e.keepalive)
	return e, nil
}

// Connections returns the number of connected clients.
func (e *Edge) Connections() int { return int(e.connections.Load()) }

// Draining says that no new clients are accepted.
func (e *Edge) Draining() bool { return e.draining.Load() }

// StopAccepting refuses new clients; those that are connected stay.
func (e *Edge) StopAccepting() { e.draining.Store(true) }

// Drain lets all clients go, spread at random over a time, with the code that tells them to come back, and waits until
// the owners have acknowledged everything that they sent, but no longer than ctx.
func (e *Edge) Drain(ctx context.Context, over time.Duration) error {
	e.StopAccepting()
	for _, c := range e.connected() {
		timer := time.AfterFunc(rand.N(over), func() { c.bye(websocket.CloseServiceRestart, restarting) })
		defer timer.Stop()
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !e.empty() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.New("some clients' last changes are not acknowledged; they send them again when they reconnect")
		}
	}
	return nil
}

// Close cuts all connections and ends the edge's goroutines.
func (e *Edge) Close() {
	e.StopAccepting()
	// Whoever joins holds the lock, so that nobody joins anymore after this.
	e.mu.Lock()
	e.cancel()
	e.mu.Unlock()
	for _, c := range e.connected() {
		c.cancel()
	}
	e.live.Wait()
	_ = e.poller.Close()
	e.wait.Wait()
	e.links.wait.Wait()
}

func (e *Edge) connected() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*conn, 0, len(e.conns))
	for _, c := range e.conns {
		out = append(out, c)
	}
	return out
}

func (e *Edge) empty() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.rooms) == 0
}

// lane is the one that brings what happens in a document to clients.
func (e *Edge) lane(document string) *lane {
	return e.lanes[xxhash.Sum64String(document)%uint64(len(e.lanes))]
}

// keepalive gives every connection a sign of life once in keepalives seconds.
func (e *Edge) keepalive() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for turn := 0; ; turn = (turn + 1) % keepalives {
		select {
		case <-ticker.C:
		case <-e.ctx.Done():
			return
		}
		now := time.Now()
		for _, c := range e.connected() {
			c.check(now)
			if int(c.id%keepalives) == turn {
				c.keepalive()
			}
		}
	}
}

const (
	orgPattern      = `[A-Za-z0-9][A-Za-z0-9._~-]{0,62}`
	documentPattern = `[A-Za-z0-9][A-Za-z0-9._~-]{0,127}`
)

var (
	paths = regexp.MustCompile(`^/collab/(` + orgPattern + `/` + documentPattern + `)$`)
	names = regexp.MustCompile(`^` + orgPattern + `/` + documentPattern + `$`)
)

func validName(name string) bool { return names.MatchString(name) }

// ServeHTTP serves /collab/{org}/{document} to y-websocket and /hocuspocus to Hocuspocus's provider.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	dialect, name := protocol.YWebsocket, ""
	if match := paths.FindStringSubmatch(r.URL.Path); match != nil {
		name = match[1]
	} else if r.URL.Path == "/hocuspocus" || r.URL.Path == "/hocuspocus/" {
		dialect = protocol.Hocuspocus
	} else {
		http.Error(w, "The path must be /hocuspocus or /collab/{organization}/{document}: letters, digits and . _ ~ - only, "+
			"starting with a letter or digit, at most 63 and 128 characters.", http.StatusNotFound)
		return
	}
	switch {
	case !websocket.IsWebSocketUpgrade(r):
		http.Error(w, "This address speaks WebSocket, as Yjs clients do.", http.StatusUpgradeRequired)
	case !e.opts.Guard.AllowOrigin(r):
		e.opts.Metrics.refuse("origin")
		http.Error(w, "Pages of this origin may not connect; it has to be among the allowed origins.", http.StatusForbidden)
	case e.Draining():
		http.Error(w, "This server is about to stop; connect again to reach another one.", http.StatusServiceUnavailable)
	default:
		ws, err := e.upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // The upgrader has answered.
		}
		// The upgrader has agreed to compression with whoever offered it.
		deflate := strings.Contains(strings.Join(r.Header["Sec-Websocket-Extensions"], ","), "permessage-deflate")
		e.serve(ws.NetConn(), dialect, name, e.opts.Guard.Token(r), deflate)
	}
}

// serve serves one connection. It returns at once: while the handler runs, net/http keeps the request and its buffers,
// which are more than an idle connection needs.
func (e *Edge) serve(transport net.Conn, dialect protocol.Dialect, name, token string, deflate bool) {
	c, err := e.newConn(transport, dialect, token, deflate)
	if err != nil {
		e.opts.Logger.Error("A connection cannot be served", "error", err)
		return
	}
	if dialect == protocol.YWebsocket {
		c.lane = e.lane(name)
	}
	e.mu.Lock()
	if e.ctx.Err() != nil {
		e.mu.Unlock()
		c.socket.Close()
		return
	}
	e.conns[c.id] = c
	e.live.Add(1)
	e.mu.Unlock()
	e.connections.Add(1)
	e.opts.Metrics.connected(dialect, 1)
	if e.Draining() { // Since it was upgraded: Drain may not have seen it.
		c.bye(websocket.CloseServiceRestart, restarting)
	}
	e.readers.begin(func() { c.begin(name) })
}

// ready lets connections read and write that can.
func (e *Edge) ready(events []socket.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	read := e.readable[:0]
	for _, now := range events {
		c := e.conns[now.ID]
		if c == nil {
			continue
		}
		if now.Writable {
			c.writable()
		}
		if now.Hung {
			c.hung.Store(true)
		}
		if now.Readable && c.wake() {
			read = append(read, c)
		}
	}
	e.readers.add(read)
	clear(read)
	e.readable = read
}

// ended forgets a connection.
func (e *Edge) ended(c *conn) {
	e.mu.Lock()
	delete(e.conns, c.id)
	e.mu.Unlock()
	e.opts.Metrics.connected(c.dialect, -1)
	e.connections.Add(-1)
	e.live.Done()
}

// join brings a member into a document's room. It returns nil when nobody is accepted anymore: a client while the edge is
// draining, anybody when it is closed.
func (e *Edge) join(name string, m *member, client bool) *room {
	e.mu.Lock()
	defer e.mu.Unlock()
	if client && e.Draining() || e.ctx.Err() != nil {
		return nil
	}
	r := e.rooms[name]
	if r == nil {
		r = newRoom(e, name)
		e.rooms[name] = r
		e.wait.Go(func() { r.run(e.ctx) })
	}
	r.mu.Lock()
	r.add(m)
	r.mu.Unlock()
	return r
}

// removeIfEmpty forgets a room that nobody needs and says whether it did.
func (e *Edge) removeIfEmpty(r *room) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !r.empty() {
		return false
	}
	delete(e.rooms, r.name)
	return true
}
