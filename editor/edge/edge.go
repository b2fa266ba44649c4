// Package edge owns client connections: it speaks y-websocket to Yjs clients, finds each document's owner through the
// shard map, and keeps clients connected while owners come and go.
//
// It knows nothing of how documents are kept or stored. Any origin may connect: who may open a document is not decided
// here yet.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/shard"
)

const (
	readLimit    = 16 << 20
	pongTimeout  = 60 * time.Second
	writeTimeout = 10 * time.Second
	idlePing     = 25 * time.Second
	// clientQueue is how much, in bytes, may wait for a slow client before it is cut off and has to synchronize afresh.
	clientQueue = 32 << 20
)

// Options are what an Edge needs.
type Options struct {
	// Maps says who owns which document.
	Maps *shard.Maps
	// Self is this pod's name among the map's members, and Local serves the documents that it owns.
	Self  string
	Local peer.Handler
	// Dial opens a link to another owner; the stream ends with ctx.
	Dial func(ctx context.Context, address string) (peer.Stream, error)
	// Logger takes what is worth knowing about connections.
	Logger *slog.Logger
}

// Edge serves clients. It is safe for concurrent use.
type Edge struct {
	opts        Options
	ctx         context.Context
	cancel      context.CancelFunc
	links       links
	wait        sync.WaitGroup
	upgrader    websocket.Upgrader
	connections atomic.Int64
	draining    atomic.Bool

	mu    sync.Mutex
	rooms map[string]*room
}

// New returns an edge. Close ends it.
func New(opts Options) *Edge {
	ctx, cancel := context.WithCancel(context.Background())
	return &Edge{
		opts: opts, ctx: ctx, cancel: cancel, rooms: map[string]*room{},
		links: links{ctx: ctx, opts: &opts, byID: map[v1alpha1.ShardMember]*link{}},
		upgrader: websocket.Upgrader{
			HandshakeTimeout: writeTimeout, ReadBufferSize: 4096, WriteBufferSize: 4096,
			WriteBufferPool: &sync.Pool{}, CheckOrigin: func(*http.Request) bool { return true },
		},
	}
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
	for _, r := range e.snapshot() {
		r.mu.Lock()
		for c := range r.clients {
			time.AfterFunc(rand.N(over), func() { c.bye(websocket.CloseServiceRestart, "the server restarts") })
		}
		r.mu.Unlock()
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for len(e.snapshot()) > 0 {
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
	e.wait.Wait()
	e.links.wait.Wait()
}

func (e *Edge) snapshot() []*room {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*room, 0, len(e.rooms))
	for _, r := range e.rooms {
		out = append(out, r)
	}
	return out
}

var names = regexp.MustCompile(`^/collab/([A-Za-z0-9][A-Za-z0-9._~-]{0,62})/([A-Za-z0-9][A-Za-z0-9._~-]{0,127})$`)

// ServeHTTP serves /collab/{org}/{document}.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	match := names.FindStringSubmatch(r.URL.Path)
	switch {
	case match == nil:
		http.Error(w, "The path must be /collab/{organization}/{document}: letters, digits and . _ ~ - only, starting "+
			"with a letter or digit, at most 63 and 128 characters.", http.StatusNotFound)
	case !websocket.IsWebSocketUpgrade(r):
		http.Error(w, "This address speaks WebSocket, as Yjs clients do.", http.StatusUpgradeRequired)
	case e.Draining():
		http.Error(w, "This server is about to stop; connect again to reach another one.", http.StatusServiceUnavailable)
	default:
		conn, err := e.upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // The upgrader has answered.
		}
		e.serve(conn, match[1]+"/"+match[2])
	}
}

// serve serves one client until it leaves.
func (e *Edge) serve(conn *websocket.Conn, name string) {
	ctx, cancel := context.WithCancel(e.ctx)
	c := &client{conn: conn, cancel: cancel, out: peer.NewQueue(clientQueue, func(m []byte) int { return len(m) + 64 })}
	r := e.join(c, name)
	if r == nil {
		cancel()
		_ = conn.Close()
		return
	}
	e.connections.Add(1)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(ctx) })
	if err := c.read(ctx, r); err != nil && ctx.Err() == nil {
		e.opts.Logger.Debug("A client left", "document", name, "cause", err)
	}
	r.leave(c)
	c.out.Close()
	cancel()
	writer.Wait()
	e.connections.Add(-1)
	e.wait.Done()
}

func (e *Edge) join(c *client, name string) *room {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Draining() {
		return nil
	}
	r := e.rooms[name]
	if r == nil {
		r = newRoom(e, name)
		e.rooms[name] = r
		e.wait.Go(func() { r.run(e.ctx) })
	}
	r.mu.Lock()
	r.clients[c] = struct{}{}
	r.mu.Unlock()
	e.wait.Add(1)
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

// client is one client's connection.
type client struct {
	conn   *websocket.Conn
	cancel context.CancelFunc
	out    *peer.Queue[[]byte]
	// vector is the state vector of a SyncStep1 that is not answered yet. The room's mutex guards it.
	vector []byte
}

func (c *client) send(message []byte) {
	if !c.out.Push(message) {
		c.cancel()
	}
}

// bye sends a close frame; the client's answer, or the lack of one, ends the connection.
func (c *client) bye(code int, reason string) {
	deadline := time.Now().Add(writeTimeout)
	_ = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), deadline)
	_ = c.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
}

func (c *client) read(ctx context.Context, r *room) error {
	defer c.cancel()
	c.conn.SetReadLimit(readLimit)
	alive := func() error { return c.conn.SetReadDeadline(time.Now().Add(pongTimeout)) }
	c.conn.SetPongHandler(func(string) error { return alive() })
	if err := alive(); err != nil {
		return err
	}
	for {
		kind, data, err := c.conn.ReadMessage()
		if err != nil {
			return err
		}
		if kind != websocket.BinaryMessage {
			c.bye(websocket.CloseUnsupportedData, "messages must be binary")
			return errors.New("a message that is not binary")
		}
		if err := c.handle(ctx, r, data); err != nil {
			c.bye(websocket.CloseInvalidFramePayloadData, "malformed message")
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (c *client) handle(ctx context.Context, r *room, data []byte) error {
	m, err := protocol.Parse(data)
	if err != nil {
		return err
	}
	switch m.Kind {
	case protocol.SyncStep1:
		r.sync(c, m.Payload)
	case protocol.SyncStep2, protocol.Update:
		if protocol.IsEmptyUpdate(m.Payload) {
			return nil
		}
		if !r.update(ctx, c, m.Payload, m.Kind == protocol.SyncStep2) {
			return ctx.Err()
		}
		// Nothing was read while the room was full, not even answers to pings.
		return c.conn.SetReadDeadline(time.Now().Add(pongTimeout))
	case protocol.Awareness:
		presences, err := protocol.ParseAwareness(m.Payload)
		if err != nil {
			return err
		}
		r.awareness(c, presences)
	case protocol.QueryAwareness:
		r.queryAwareness(c)
	}
	return nil
}

func (c *client) write(ctx context.Context) {
	var pinger sync.WaitGroup
	defer pinger.Wait()
	// Closing the connection ends the reader.
	defer func() { _ = c.conn.Close() }()
	defer c.cancel()
	keepalive := time.NewTicker(idlePing)
	defer keepalive.Stop()
	nobody := protocol.Encode(protocol.Awareness, protocol.EncodeAwareness(nil))
	// The underlying connection takes deadlines from any goroutine.
	stop := context.AfterFunc(ctx, func() { _ = c.conn.NetConn().SetWriteDeadline(time.Now()) })
	defer stop()
	pinger.Go(func() {
		for {
			select {
			case <-keepalive.C:
				// y-websocket hears no pings: a presence of nobody keeps it from reconnecting.
				_ = c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))
				c.send(nobody)
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		message, ok := c.out.Pop(ctx)
		if !ok {
			return
		}
		if c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil ||
			c.conn.WriteMessage(websocket.BinaryMessage, message) != nil {
			return
		}
	}
}
