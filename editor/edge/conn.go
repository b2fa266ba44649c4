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
	// readLimit bounds one message of a client, uncompressed.
	readLimit    = 16 << 20
	pongTimeout  = 60 * time.Second
	writeTimeout = 10 * time.Second
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

// conn is one client's socket, and the documents that are open on it. Whoever reads it owns everything without a guard:
// a goroutine that lives as long as there is something to read.
type conn struct {
	edge    *Edge
	id      uint64
	dialect protocol.Dialect
	// token came with the request: in a header, a cookie or the address.
	token string

	// socket belongs to net; raw writes to it without waiting, fd is for its reader, who is the one to close it.
	socket net.Conn
	raw    syscall.RawConn
	fd     int
	lane   *lane
	in     incoming
	// parked says that nobody reads; it hands over from one reader to the next what readers own. polled says that the
	// poller knows the socket; heard is when the client last said something, in Unix seconds.
	parked atomic.Bool
	polled bool
	heard  atomic.Int64
	// begun is when the connection began, in Unix seconds.
	begun int64

	out     outbox
	leavers sync.WaitGroup
	leaving atomic.Bool
	// done is closed when the connection is to end, by cancel.
	done  chan struct{}
	ended atomic.Bool
	// known says that a document was opened; strange counts the messages before.
	known   atomic.Bool
	strange int

	limit   *ratelimit.Connection
	clients map[string]*client
	held    map[string][]protocol.Message
	holding int
}

// refusal says why a document is not opened.
type refusal struct {
	code   int
	reason string
}

// newConn returns a connection that is served when begin is called.
func (e *Edge) newConn(socket net.Conn, dialect protocol.Dialect, token string, deflate bool) (*conn, error) {
	transport, ok := socket.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("a %T is no socket", socket)
	}
	raw, err := transport.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("the socket: %w", err)
	}
	c := &conn{
		edge: e, id: e.served.Add(1), dialect: dialect, token: token, socket: socket, raw: raw,
		in: incoming{deflate: deflate}, done: make(chan struct{}),
	}
	c.lane = e.lanes[c.id%uint64(len(e.lanes))]
	c.alive()
	c.begun = c.heard.Load()
	if err := raw.Control(func(fd uintptr) { c.fd = int(fd) }); err != nil {
		return nil, fmt.Errorf("the socket: %w", err)
	}
	return c, nil
}

// cancel makes the connection end soon: whoever reads, or waits for something to read, finds the end of the stream. It may
// be called from any goroutine.
func (c *conn) cancel() {
	if !c.ended.Swap(true) {
		close(c.done)
		_ = c.raw.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	}
}

// begin serves the connection. name is the document of a connection that is about one.
func (c *conn) begin(name string) {
	if c.dialect == protocol.YWebsocket {
		if no := c.open("", name, c.token); no != nil {
			c.bye(no.code, no.reason)
		}
	}
	c.park()
}

// park ends the reading until there is something to read.
func (c *conn) park() {
	again := c.polled
	c.polled = true
	c.parked.Store(true)
	if err := c.edge.poller.wait(c, again); err != nil {
		c.edge.opts.Logger.Error("A connection cannot be waited for", "connection", c.id, "error", err)
		c.end()
	}
}

// read reads what there is to read, and parks the connection or ends it. Other goroutines may have it by then.
func (c *conn) read() {
	if !c.parked.Swap(false) {
		return // The poller tells once.
	}
	buffer, _ := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	for {
		n, err := syscall.Read(c.fd, *buffer)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			c.park()
			return
		case err != nil || n <= 0:
			c.end()
			return
		}
		var wrong *frameError
		switch err := c.in.feed((*buffer)[:n], c.receive); {
		case errors.As(err, &wrong):
			c.bye(wrong.code, wrong.reason)
		case err != nil:
			c.end()
			return
		}
		if n < len(*buffer) {
			c.park()
			return
		}
	}
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

// errGone says that the client has closed the connection, or answered the close frame.
var errGone = errors.New("the client is gone")

// end ends the connection. Its reader calls it, once.
func (c *conn) end() {
	for address := range c.clients {
		c.leave(address)
	}
	c.out.drop()
	c.cancel()
	_ = c.socket.Close()
	c.leavers.Wait()
	if c.limit != nil {
		c.limit.Close()
	}
	c.edge.ended(c)
}

// receive handles a message or a control frame.
func (c *conn) receive(opcode byte, payload []byte) error {
	switch opcode {
	case websocket.CloseMessage:
		code := websocket.CloseNoStatusReceived
		if len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
		}
		c.echo(code)
		return errGone
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
	silent := now.Sub(time.Unix(c.heard.Load(), 0))
	switch {
	case silent > pongTimeout:
		c.cancel()
	case !c.known.Load() && now.Sub(time.Unix(c.begun, 0)) > strangerTimeout:
		c.bye(CloseUnauthenticated, "no document was opened in time")
	}
}

// throttle waits as long as the client has to, during which it is not read, or lets it go if it floods.
// It returns false when the connection ends.
func (c *conn) throttle(size int) bool {
	if c.limit == nil {
		if c.strange++; c.strange > strangerMessages && !c.known.Load() {
			c.bye(CloseFlood, "too many messages without opening a document")
		}
		return true
	}
	wait, ok := c.limit.Take(time.Now(), 1, size)
	switch {
	case !ok:
		c.bye(CloseFlood, "too many messages: send fewer, or batch them")
		return true
	case wait == 0:
		return true
	}
	select {
	case <-time.After(wait):
	case <-c.done:
		return false
	}
	c.alive()
	return true
}

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
	address := string(key)
	if client := c.clients[address]; client != nil {
		if !client.dismissed.Load() {
			return client.take(m)
		}
		c.leave(address)
	}
	if c.dialect == protocol.YWebsocket {
		return nil // It was refused.
	}
	return c.greet(address, m)
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
	case no.code == CloseBusy:
		c.bye(no.code, no.reason)
		return nil
	default:
		c.forget(address)
		c.deny(address, no.reason)
		return nil
	}
	client := c.clients[address]
	if m.Kind == protocol.Token {
		c.send(client, message{kind: protocol.Authenticated, payload: client.scope()})
	} else if err := client.take(m); err != nil {
		return err
	}
	for _, held := range c.forget(address) {
		if err := client.take(held); err != nil {
			return err
		}
	}
	return nil
}

// hold keeps a message until the document's token arrives.
func (c *conn) hold(address string, m protocol.Message) error {
	c.holding += len(m.Payload)
	if len(c.held) > maxDocuments || len(c.held[address]) >= maxHeld || c.holding > maxHeldBytes {
		c.bye(CloseUnauthenticated, "send a token first")
		return nil
	}
	if c.held == nil {
		c.held = map[string][]protocol.Message{}
	}
	c.held[address] = append(c.held[address], m)
	return nil
}

func (c *conn) forget(address string) []protocol.Message {
	held := c.held[address]
	for _, m := range held {
		c.holding -= len(m.Payload)
	}
	delete(c.held, address)
	return held
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
	c.leavers.Go(func() { k.room.leave(k.member) })
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
	if c.limit == nil && c.edge.opts.Limiter != nil {
		org, _, _ := strings.Cut(name, "/")
		limit, err := c.edge.opts.Limiter.Connection(identity.User, org)
		if err != nil {
			return &refusal{CloseBusy, err.Error()}
		}
		c.limit = limit
	}
	k := newClient(c, address, name, identity, access)
	if k.room = c.edge.join(name, k.member); k.room == nil {
		k.stop()
		return &refusal{websocket.CloseServiceRestart, "the server restarts"}
	}
	if c.clients == nil {
		c.clients = map[string]*client{}
	}
	c.clients[address] = k
	c.known.Store(true)
	return nil
}

// leave closes a document.
func (c *conn) leave(address string) {
	if client := c.clients[address]; client != nil {
		delete(c.clients, address)
		client.stop()
		client.room.leave(client.member)
	}
}

// admit decides who a token speaks for and what it may do with a document.
func (e *Edge) admit(token, name string) (*auth.Identity, auth.Access, *refusal) {
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

// echo answers the client's close frame, unless it is itself an answer, before the reader ends the connection.
func (c *conn) echo(code int) {
	if c.leaving.Swap(true) || !c.out.claim() {
		return
	}
	if c.socket.SetWriteDeadline(time.Now().Add(byeTimeout)) == nil {
		_, _ = c.socket.Write(appendFrame(nil, websocket.CloseMessage, websocket.FormatCloseMessage(code, "")))
	}
}

// keepalive pings the client. y-websocket hears no pings: a presence of nobody keeps it from reconnecting.
func (c *conn) keepalive() {
	c.ask(c.out.control(websocket.PingMessage, nil), false)
	if c.dialect == protocol.YWebsocket {
		c.send(nil, message{kind: protocol.Awareness, payload: nobody})
	}
}

// turn writes what waits, as far as the socket takes it; a goroutine of its own waits for the rest.
func (c *conn) turn(o *outgoing) {
	items, ok := c.out.take()
	if !ok {
		return
	}
	var bytes []byte
	var last bool
	bytes, o.buffer, last = c.encode(o.buffer[:0], items)
	giveBack(items)
	n, err := o.write(c.raw, bytes)
	switch {
	case err != nil:
		c.fail()
	case n < len(bytes):
		rest := slices.Clone(bytes[n:])
		c.edge.wait.Go(func() { c.finish(rest, last) })
		return
	case last:
		c.answer()
	}
	if c.out.written() {
		c.lane.conn(c, false)
	}
}

// finish writes what the socket did not take at once, and what comes meanwhile.
func (c *conn) finish(bytes []byte, last bool) {
	for {
		if err := c.socket.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			c.fail()
		}
		if _, err := c.socket.Write(bytes); err != nil {
			c.fail()
		}
		if last {
			c.answer()
		}
		// Afterwards turns write without a deadline: they do not wait.
		if err := c.socket.SetWriteDeadline(time.Time{}); err != nil {
			c.fail()
		}
		items, ok := c.out.take()
		if !ok {
			return
		}
		bytes, _, last = c.encode(nil, items)
		giveBack(items)
	}
}

// fail ends the connection after an attempt to write to it has failed.
func (c *conn) fail() {
	c.out.drop()
	c.cancel()
}

// answer waits for the client's answer to a close frame, but not for long.
func (c *conn) answer() { time.AfterFunc(byeTimeout, c.cancel) }

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
			whole := c.dialect.Append(nil, address, it.kind, payload)
			buffer = appendMessage(buffer, whole, c.in.deflate)
		}
	}
	if cap(buffer) <= maxSpare {
		spare = buffer
	}
	return buffer, spare, last
}
