package edge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/ratelimit"
	"collab.dev/operator/editor/socket"
)

// Close codes of our own; docs/protocol.md tells clients what to do on each.
const (
	// CloseUnauthenticated says that the token is missing, not valid, expired or revoked.
	CloseUnauthenticated = 4401
	// CloseForbidden says that the user may not open the document.
	CloseForbidden = 4403
	// CloseDeleted says that the document is deleted.
	CloseDeleted = 4404
	// CloseResync says that the client did not keep up and has to synchronize afresh. y-websocket 3.1 takes all codes from
	// 4400 to 4499 for final and does not reconnect; this one asks it to.
	CloseResync = 4509
	// CloseTooLarge says that a change would make the document larger than it may be.
	CloseTooLarge = 4413
	// CloseFlood says that the client goes on sending more than it may.
	CloseFlood = 4429
	// CloseBusy says that there are too many connections.
	CloseBusy = 4503
)

const (
	// readLimit bounds one message of a client, uncompressed; strangerLimit that of a client who has no document open, and
	// may be anybody.
	readLimit     = 16 << 20
	strangerLimit = 64 << 10
	pongTimeout   = 60 * time.Second
	writeTimeout  = 10 * time.Second
	// byeTimeout is how long a client has for answering a close frame.
	byeTimeout = 2 * time.Second
	// maxDocuments bounds the documents on one connection, maxHeld and maxHeldBytes what is held for those whose token
	// has not arrived.
	maxDocuments = 100
	maxHeld      = 16
	maxHeldBytes = 1 << 20
	// strangerTimeout and strangerMessages bound a connection on which no document has been opened yet.
	strangerTimeout  = time.Minute
	strangerMessages = 256
)

// Stages of a connection's reading.
const (
	// parked connections are read by nobody: the poller tells when there is something to read.
	parked = iota
	// reading ones have a goroutine that reads, again ones have had something new meanwhile.
	reading
	again
)

// conn is one client's socket, and the documents that are open on it. Whoever reads it owns everything without a guard:
// a goroutine that lives as long as there is something to read. There may be very many of them, most of which do nothing:
// what only a busy one needs is made when it is needed.
type conn struct {
	edge    *Edge
	id      uint64
	dialect protocol.Dialect
	// token came with the request: in a header, a cookie or the address.
	token  string
	socket socket.Socket
	lane   *lane
	in     incoming

	// stage hands over from one reader to the next what readers own. hung says that the stream's end is to be looked for.
	stage atomic.Int32
	hung  atomic.Bool
	// heard is when the client last said something, begun when the connection began, in Unix seconds.
	heard atomic.Int64
	begun int64

	out outbox
	// rest is what the socket had no room for, the lane's; stuck since when there is none, in Unix seconds, 0 if there is.
	rest  *rest
	stuck atomic.Int64

	leavers sync.WaitGroup
	leaving atomic.Bool
	// echoing says that the client leaves: nothing is waited for after the close frame.
	echoing atomic.Bool
	// ended says that the connection is to end, done tells those who wait for that, nil if nobody does.
	mu    sync.Mutex
	ended bool
	done  chan struct{}
	// known says that a document was opened; strange counts the messages before.
	known   atomic.Bool
	strange int

	// limit is nil without limits, and where there was no room for the connection.
	limit atomic.Pointer[ratelimit.Connection]
	// clients are few: one in y-websocket's protocol, so that the first needs no memory of its own.
	clients []*client
	only    [1]*client
	first   client
	held    *held
}

// rest is the end of what was to be written. last says that it ends with a close frame.
type rest struct {
	bytes []byte
	last  bool
}

// held is what arrived before the token of its document, by address.
type held struct {
	messages map[string][]protocol.Message
	bytes    int
}

// refusal says why a document is not opened.
type refusal struct {
	code   int
	reason string
}

// newConn returns a connection that is served when begin is called. It takes the transport over, also if it fails.
func (e *Edge) newConn(transport net.Conn, dialect protocol.Dialect, token string, deflate bool) (*conn, error) {
	c := &conn{
		edge: e, id: e.served.Add(1), dialect: dialect, token: token,
		in: incoming{deflate: deflate, limit: strangerLimit},
	}
	if err := c.socket.Take(transport); err != nil {
		return nil, err
	}
	c.lane = e.lanes[c.id%uint64(len(e.lanes))]
	c.stage.Store(reading)
	c.alive()
	c.begun = c.heard.Load()
	return c, nil
}

// cancel makes the connection end soon: whoever reads, or waits for something to read, finds the end of the stream. It may
// be called from any goroutine.
func (c *conn) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	if c.done != nil {
		close(c.done)
	}
	c.socket.Shut()
}

// Done returns a channel that is closed when the connection is to end.
func (c *conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended {
			close(c.done)
		}
	}
	return c.done
}

// begin serves the connection. name is the document of a connection that is about one.
func (c *conn) begin(name string) {
	if limiter := c.edge.opts.Limiter; limiter != nil {
		limit, err := limiter.Accept()
		if err != nil {
			c.bye(CloseBusy, err.Error())
		}
		c.limit.Store(limit)
	}
	if c.dialect == protocol.YWebsocket && !c.leaving.Load() {
		if no := c.open("", name, c.token); no != nil {
			c.bye(no.code, no.reason)
		}
		c.token = "" // There is no other document that it could open.
	}
	if err := c.edge.poller.Add(&c.socket, c.id); err != nil {
		c.edge.opts.Logger.Error("A connection cannot be waited for", "connection", c.id, "error", err)
		c.end()
		return
	}
	c.read()
}

// wake says whether the caller has to read what is new, or let somebody do that. Who reads already goes on otherwise.
func (c *conn) wake() bool {
	for {
		switch {
		case c.stage.CompareAndSwap(parked, reading):
			return true
		case c.stage.CompareAndSwap(reading, again), c.stage.Load() == again:
			return false
		}
	}
}

// park ends the reading until there is something new. It returns false if there is already.
func (c *conn) park() bool {
	if c.stage.CompareAndSwap(reading, parked) {
		c.edge.poller.Await(&c.socket, c.id)
		return true
	}
	c.stage.Store(reading)
	return false
}

// read reads what there is to read, and parks the connection or ends it. Other goroutines may have it by then.
func (c *conn) read() {
	buffer, _ := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	for {
		n, err := c.socket.Read(*buffer)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			if c.park() {
				return
			}
			continue
		case err != nil || n == 0:
			c.end()
			return
		}
		if err := c.in.feed((*buffer)[:n], c); err != nil {
			var wrong *frameError
			if !errors.As(err, &wrong) {
				c.end()
				return
			}
			c.bye(wrong.code, wrong.reason)
		}
		// The end of the stream is told of once, maybe together with what comes before it.
		if n < len(*buffer) && !c.hung.Load() && c.park() {
			return
		}
	}
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// errGone says that the client has closed the connection, or answered the close frame.
var errGone = errors.New("the client is gone")

// end ends the connection. Its reader calls it, once.
func (c *conn) end() {
	for _, k := range c.clients {
		k.leave()
	}
	c.clients = nil
	c.out.drop()
	c.cancel()
	c.socket.Close()
	c.leavers.Wait()
	if limit := c.limit.Load(); limit != nil {
		limit.Close()
	}
	c.edge.ended(c)
}

// receive implements receiver.
func (c *conn) receive(opcode byte, payload []byte) error {
	switch opcode {
	case websocket.CloseMessage:
		code := websocket.CloseNoStatusReceived
		if len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
		}
		if !c.echo(code) {
			return errGone
		}
		return nil
	case websocket.PingMessage:
		if !c.throttle(len(payload)) {
			return errGone
		}
		c.ask(c.out.control(websocket.PongMessage, payload), true)
		return nil
	case websocket.PongMessage:
		c.alive()
		return nil
	}
	if c.leaving.Load() {
		return nil // Until the client answers the close frame.
	}
	c.alive()
	c.edge.opts.Metrics.received(c.dialect, len(payload))
	if opcode != websocket.BinaryMessage {
		c.bye(websocket.CloseUnsupportedData, "messages must be binary")
		return nil
	}
	if !c.throttle(len(payload)) {
		return errGone
	}
	if err := c.take(payload); err != nil {
		c.edge.opts.Logger.Info("A client sent what is no message", "connection", c.id, "error", err)
		c.bye(websocket.CloseInvalidFramePayloadData, "malformed message")
	}
	return nil
}

// alive remembers that the client was heard of.
func (c *conn) alive() { c.heard.Store(time.Now().Unix()) }

// check lets go who is silent for too long, and who opens no document.
func (c *conn) check(now time.Time) {
	if limit := c.limit.Load(); limit != nil {
		limit.Rest(now)
	}
	silent := now.Sub(time.Unix(c.heard.Load(), 0))
	switch {
	case silent > pongTimeout:
		c.cancel()
	case c.behind(now):
		c.fail()
	case !c.known.Load() && now.Sub(time.Unix(c.begun, 0)) > strangerTimeout:
		c.bye(CloseUnauthenticated, "no document was opened in time")
	}
}

// behind says that the client has taken nothing of what waits for it for too long.
func (c *conn) behind(now time.Time) bool {
	since := c.stuck.Load()
	return since != 0 && now.Sub(time.Unix(since, 0)) > writeTimeout
}

// throttle waits as long as the client has to, during which it is not read, or lets it go if it floods.
// It returns false when the connection ends.
func (c *conn) throttle(size int) bool {
	if !c.known.Load() {
		if c.strange++; c.strange > strangerMessages {
			c.bye(CloseFlood, "too many messages without opening a document")
		}
	}
	limit := c.limit.Load()
	if limit == nil {
		return true
	}
	wait, ok := limit.Take(time.Now(), 1, size)
	switch {
	case !ok:
		c.bye(CloseFlood, "too many messages: send fewer, or batch them")
		return true
	case wait == 0:
		return true
	}
	ended := false
	c.waits(func() {
		select {
		case <-time.After(wait):
		case <-c.Done():
			ended = true
		}
	})
	c.alive()
	return !ended
}

// waits calls something that waits, while the connection is read.
func (c *conn) waits(something func()) { c.edge.readers.wait(something) }

// take handles one message.
func (c *conn) take(data []byte) error {
	if c.leaving.Load() {
		return nil
	}
	key, m, err := c.dialect.Parse(data)
	if err != nil {
		return err
	}
	switch m.Kind {
	case protocol.Ping:
		c.send(nil, message{kind: protocol.Pong})
		return nil
	case protocol.Pong:
		return nil
	}
	if k := c.client(string(key)); k != nil {
		if !k.dismissed.Load() {
			return k.take(m)
		}
		c.leave(k)
	}
	if c.dialect == protocol.YWebsocket {
		return nil // It was refused.
	}
	return c.greet(string(key), m)
}

// greet handles a message about a document that is not open on this connection: a token, or what follows one. A socket
// that came with a token, or a service without authentication, needs none.
func (c *conn) greet(address string, m protocol.Message) error {
	name, _, _ := strings.Cut(address, "\x00")
	token := c.token
	switch {
	case m.Kind == protocol.Close:
		return nil
	case !validName(name):
		c.deny(address, "the document's name must be organization/document")
		return nil
	case m.Kind == protocol.Token && len(m.Payload) > 0:
		token = string(m.Payload)
	}
	no := c.open(address, name, token)
	switch {
	case no == nil:
	case no.code == CloseUnauthenticated && m.Kind != protocol.Token && c.token == "":
		return c.hold(address, m)
	case no.code == CloseBusy, no.code == websocket.CloseTryAgainLater, no.code == websocket.CloseServiceRestart:
		// It says nothing about the client: a provider that is denied would never come back.
		c.bye(no.code, no.reason)
		return nil
	default:
		c.forget(address)
		c.deny(address, no.reason)
		return nil
	}
	k := c.client(address)
	if m.Kind == protocol.Token {
		c.send(k, message{kind: protocol.Authenticated, payload: k.scope()})
	} else if err := k.take(m); err != nil {
		return err
	}
	for _, held := range c.forget(address) {
		if err := k.take(held); err != nil {
			return err
		}
	}
	return nil
}

// hold keeps a message until the document's token arrives.
func (c *conn) hold(address string, m protocol.Message) error {
	if c.held == nil {
		c.held = &held{messages: map[string][]protocol.Message{}}
	}
	h := c.held
	h.bytes += len(m.Payload)
	if len(h.messages) > maxDocuments || len(h.messages[address]) >= maxHeld || h.bytes > maxHeldBytes {
		c.bye(CloseUnauthenticated, "send a token first")
		return nil
	}
	h.messages[address] = append(h.messages[address], m)
	return nil
}

// forget returns what was held for a document, and keeps it no longer.
func (c *conn) forget(address string) []protocol.Message {
	h := c.held
	if h == nil {
		return nil
	}
	messages := h.messages[address]
	for _, m := range messages {
		h.bytes -= len(m.Payload)
	}
	if delete(h.messages, address); len(h.messages) == 0 {
		c.held = nil
	}
	return messages
}

func (c *conn) deny(address, reason string) {
	c.edge.opts.Metrics.refuse("denied")
	c.send(&client{conn: c, address: address}, message{kind: protocol.Denied, payload: []byte(reason)})
}

// dismiss lets a client go whose document is deleted: other documents on the connection stay. It is called with the room
// locked, and never blocks.
func (c *conn) dismiss(k *client) {
	if k.dismissed.Swap(true) {
		return
	}
	const reason = "the document is deleted"
	if c.dialect == protocol.YWebsocket {
		c.bye(CloseDeleted, reason)
		return
	}
	c.edge.opts.Metrics.refuse("deleted")
	c.send(k, message{kind: protocol.Denied, payload: []byte(reason)})
	c.send(k, message{kind: protocol.Close, payload: []byte(reason)})
	c.leavers.Go(func() { k.room.leave(&k.member) })
}

// open opens a document for whom the token speaks for, under an address.
func (c *conn) open(address, name, token string) *refusal {
	identity, access, no := c.edge.admit(token, name)
	if no != nil {
		return no
	}
	if len(c.clients) >= maxDocuments {
		return &refusal{CloseForbidden, fmt.Sprintf("at most %d documents can be open on a connection", maxDocuments)}
	}
	limit := c.limit.Load()
	if limit != nil {
		if err := limit.Enter(identity.User, organization(name)); err != nil {
			return &refusal{CloseBusy, err.Error()}
		}
	}
	k := newClient(c, address, identity, access)
	if k.room = c.edge.join(name, &k.member, true); k.room == nil {
		k.stop()
		if limit != nil {
			limit.Leave(identity.User, organization(name))
		}
		return &refusal{websocket.CloseServiceRestart, restarting}
	}
	if c.clients == nil {
		c.clients = c.only[:0]
	}
	c.clients = append(c.clients, k)
	c.known.Store(true)
	c.in.limit = readLimit
	return nil
}

// organization is the first part of a document's name.
func organization(name string) string {
	org, _, _ := strings.Cut(name, "/")
	return org
}

// client returns the document that is open under an address, nil if there is none.
func (c *conn) client(address string) *client {
	for _, k := range c.clients {
		if k.address == address {
			return k
		}
	}
	return nil
}

// leave closes a document.
func (c *conn) leave(k *client) {
	c.clients = slices.DeleteFunc(c.clients, func(other *client) bool { return other == k })
	k.leave()
	if limit := c.limit.Load(); limit != nil {
		limit.Leave(k.identity.User, organization(k.room.name))
	}
}

// admit decides who a token speaks for and what it may do with a document. Readers call it: others may have to be asked.
func (e *Edge) admit(token, name string) (identity *auth.Identity, access auth.Access, no *refusal) {
	e.readers.wait(func() { identity, access, no = e.judge(token, name) })
	return identity, access, no
}

func (e *Edge) judge(token, name string) (*auth.Identity, auth.Access, *refusal) {
	ctx, cancel := context.WithTimeout(e.ctx, admitTimeout)
	defer cancel()
	identity, err := e.opts.Guard.Authenticate(ctx, token)
	if err != nil {
		return nil, auth.None, e.refuse(err)
	}
	access, err := e.opts.Guard.Authorize(ctx, identity, name)
	switch {
	case err != nil:
		return nil, auth.None, e.refuse(err)
	case access == auth.None:
		return nil, auth.None, &refusal{CloseForbidden, "you may not open this document"}
	}
	return identity, access, nil
}

func (e *Edge) refuse(err error) *refusal {
	if errors.Is(err, auth.ErrUnauthenticated) {
		return &refusal{CloseUnauthenticated, err.Error()}
	}
	e.opts.Logger.Warn("Nobody could say who may open a document", "error", err)
	return &refusal{websocket.CloseTryAgainLater, "permissions cannot be checked now: try again"}
}

// send lets a message go out. It never blocks.
func (c *conn) send(to *client, m message) {
	ask, room := c.out.add(to, m)
	if !room {
		c.edge.opts.Metrics.refuse("slow")
		c.bye(CloseResync, "too slow: synchronize again")
		return
	}
	c.ask(ask, m.kind != protocol.Update && m.kind != protocol.Awareness && m.kind != protocol.SyncStatus)
}

// ask asks for a turn if there is a reason to. What is urgent makes one that was asked for before come at once.
func (c *conn) ask(ask, urgent bool) {
	switch {
	case ask:
		c.lane.conn(c, urgent)
	case urgent:
		c.lane.conn(nil, true)
	}
}

// bye sends a close frame, instead of whatever waits; the client's answer, or the lack of one, ends the connection. It
// never blocks.
func (c *conn) bye(code int, reason string) {
	if c.leaving.Swap(true) {
		return
	}
	c.edge.opts.Metrics.closed(code)
	c.ask(c.out.close(websocket.FormatCloseMessage(code, reason)), true)
}

// echo answers the client's close frame, which ends the connection. It returns false if that was an answer itself.
func (c *conn) echo(code int) bool {
	if c.leaving.Swap(true) {
		return false
	}
	c.echoing.Store(true)
	c.ask(c.out.close(websocket.FormatCloseMessage(code, "")), true)
	return true
}

// keepalive pings the client. y-websocket hears no pings: a presence of nobody keeps it from reconnecting.
func (c *conn) keepalive() {
	c.ask(c.out.control(websocket.PingMessage, nil), false)
	if c.dialect == protocol.YWebsocket {
		c.send(nil, message{kind: protocol.Awareness, payload: nobody})
	}
}

// turn writes what waits, as far as the socket takes it. The rest waits for room, and what comes meanwhile for the rest.
// It uses the buffer, and returns it for the next one. The lane calls it.
func (c *conn) turn(buffer []byte) []byte {
	var bytes []byte
	var last bool
	before := c.rest
	if before != nil {
		bytes, last, c.rest = before.bytes, before.last, nil
	} else {
		b := c.out.take()
		if b == nil {
			return buffer
		}
		bytes, buffer, last = c.encode(buffer[:0], b.items)
		b.giveBack()
	}
	n, err := c.write(bytes)
	switch {
	case err != nil:
		c.fail()
	case n < len(bytes):
		left := bytes[n:]
		if before == nil { // The buffer is the next connection's.
			left = slices.Clone(left)
		}
		c.rest = &rest{left, last}
		c.edge.poller.Room(&c.socket, c.id)
		return buffer
	case last:
		c.answer()
	}
	if c.out.written() {
		c.lane.conn(c, false)
	}
	for _, k := range c.out.owed() {
		k.room.queryAwareness(&k.member)
	}
	return buffer
}

// write writes as much as the socket takes. If that is not all, the poller tells when there is room.
func (c *conn) write(bytes []byte) (int, error) {
	n, err := c.socket.Write(bytes)
	if err != nil || n == len(bytes) {
		return n, err
	}
	// What the poller told before this went unheard: try again.
	c.stuck.Store(time.Now().Unix())
	more, err := c.socket.Write(bytes[n:])
	if n += more; err != nil || n == len(bytes) {
		c.stuck.Store(0)
	}
	return n, err
}

// writable goes on writing if there was no room before.
func (c *conn) writable() {
	if c.stuck.Swap(0) != 0 {
		c.lane.conn(c, false)
	}
}

// fail ends the connection after an attempt to write to it has failed.
func (c *conn) fail() {
	c.out.drop()
	c.cancel()
}

// answer waits for the client's answer to a close frame, but not for long, and not if it was one itself.
func (c *conn) answer() {
	if c.echoing.Load() {
		c.cancel()
		return
	}
	time.AfterFunc(byeTimeout, c.cancel)
}

// encode returns messages as they are sent, and whether the last one is a close frame. It uses the buffer, and returns that
// too, if it is fit for being used again.
func (c *conn) encode(buffer []byte, items []item) (bytes, spare []byte, last bool) {
	defer func() { c.edge.opts.Metrics.sent(c.dialect, len(items), len(bytes)) }()
	if len(items) == 1 && items[0].frame != nil {
		return items[0].frame, buffer, false
	}
	for i := range items {
		it := &items[i]
		switch {
		case it.control != 0:
			buffer = appendFrame(buffer, it.control, it.payload)
			last = last || it.control == websocket.CloseMessage
			continue
		case it.frame != nil:
			buffer = append(buffer, it.frame...)
			continue
		}
		address := ""
		if it.to != nil {
			address = it.to.address
		}
		c.edge.opts.Metrics.merge(len(it.more))
		c.edge.opts.Metrics.drop(it.dropped)
		for _, payload := range it.whole() {
			buffer = appendMessage(buffer, c.dialect, address, it.kind, payload, c.in.deflate)
		}
	}
	if cap(buffer) <= maxSpare {
		spare = buffer
	}
	return buffer, spare, last
}
