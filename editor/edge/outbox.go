package edge

import (
	"slices"
	"sync"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

const (
	// queueBytes is how many bytes may wait for a slow client before it is cut off and has to synchronize afresh.
	queueBytes = 8 << 20
	// itemBytes is what a message takes besides its payload.
	itemBytes = 64
)

// item is one message that waits for a client, or several that become one when they are written.
type item struct {
	// to is the document that the message is about, nil for the connection itself.
	to   *client
	kind protocol.Kind
	// payload is what the message says; more are further updates, which are merged with it.
	payload []byte
	more    [][]byte
	// presences are what a payload of awareness says; later they are more than that.
	presences []protocol.Presence
	// told is what they take, once they are more; dropped is how many gave way to newer ones.
	told, dropped int
	// frame is the message as it is sent, if others get it too.
	frame []byte
	// control is a ping, pong or close frame, whose payload it is; it is no message.
	control byte
}

// stage is who takes care of what waits in an outbox.
type stage uint8

const (
	// idle outboxes are empty.
	idle stage = iota
	// waiting ones have the connection's next turn to wait for.
	waiting
	// writing ones are being written; what is added is seen when that ends.
	writing
)

// batch is some messages that are written together.
type batch struct{ items []item }

// batches are those that nobody uses.
var batches = sync.Pool{New: func() any { return &batch{items: make([]item, 0, 2)} }}

// giveBack keeps a batch for others.
func (b *batch) giveBack() {
	if cap(b.items) > 64 {
		return
	}
	clear(b.items)
	b.items = b.items[:0]
	batches.Put(b)
}

// outbox holds what waits for one connection. It never blocks those who fill it: changes of one document become one
// message, of presence only the newest is kept, and what is too much all the same cuts the client off.
type outbox struct {
	mu sync.Mutex
	// batch is what waits, nil if nothing does: an idle connection needs no memory for it.
	batch *batch
	bytes int
	// missed are the documents whose presence was dropped because too much waits.
	missed []*client
	stage  stage
	// closed says that nothing may be added.
	closed bool
}

// add adds a message. It says whether the connection has to ask for a turn, and whether there was room.
func (o *outbox) add(to *client, m message) (ask, room bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false, true
	}
	switch {
	case o.bytes <= queueBytes:
	case m.kind == protocol.Awareness:
		// Presence gives way first. When there is room again the client gets all of it.
		if to != nil && !slices.Contains(o.missed, to) {
			o.missed = append(o.missed, to)
		}
		return false, true
	default:
		return false, false
	}
	o.bytes += itemBytes + len(m.payload)
	if to != nil {
		switch m.kind {
		case protocol.Update:
			if i := to.updates; i > 0 {
				it := &o.batch.items[i-1]
				it.more, it.frame = append(it.more, m.payload), nil
				return false, true
			}
			to.updates = o.next()
		case protocol.Awareness:
			if i := to.presences; i > 0 {
				it := &o.batch.items[i-1]
				o.bytes -= itemBytes + len(m.payload) + it.told
				n := len(it.presences) + len(m.presences)
				it.presences, it.frame = protocol.Latest(it.presences, m.presences), nil
				it.dropped += n - len(it.presences)
				it.told = presenceBytes(it.presences)
				o.bytes += it.told
				return false, true
			}
			to.presences = o.next()
		default:
			// The rest is told as it is.
		}
	}
	it := item{to: to, kind: m.kind, payload: m.payload, presences: m.presences}
	if to != nil {
		it.frame = m.frame(to.conn.dialect, to.address, to.conn.in.deflate)
	}
	return o.push(it), true
}

// control adds a control frame.
func (o *outbox) control(kind byte, payload []byte) (ask bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.bytes > queueBytes {
		return false
	}
	o.bytes += itemBytes + len(payload)
	return o.push(item{control: kind, payload: payload})
}

// close replaces everything that waits by a close frame, and lets nothing in anymore.
func (o *outbox) close(payload []byte) (ask bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.closed = true
	o.clear()
	return o.push(item{control: websocket.CloseMessage, payload: payload})
}

// drop lets nothing in anymore and forgets what waits.
func (o *outbox) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.clear()
}

func (o *outbox) push(it item) (ask bool) {
	if o.batch == nil {
		o.batch, _ = batches.Get().(*batch)
	}
	o.batch.items = append(o.batch.items, it)
	ask = o.stage == idle
	if ask {
		o.stage = waiting
	}
	return ask
}

// next is the number, from 1, of the item that is pushed next.
func (o *outbox) next() int32 {
	if o.batch == nil {
		return 1
	}
	return int32(len(o.batch.items)) + 1 //nolint:gosec // Bounded by queueBytes.
}

func (o *outbox) clear() {
	if b := o.settle(); b != nil {
		b.giveBack()
	}
	o.missed = nil
}

// settle takes out what waits and forgets which items can be added to.
func (o *outbox) settle() *batch {
	b := o.batch
	o.batch, o.bytes = nil, 0
	if b == nil {
		return nil
	}
	for _, it := range b.items {
		if it.to != nil {
			it.to.updates, it.to.presences = 0, 0
		}
	}
	return b
}

// take takes everything out, for writing it. If there is nothing it returns nil, and the outbox is idle.
func (o *outbox) take() *batch {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.settle()
	switch {
	case b != nil:
		o.stage = writing
	case !o.closed:
		o.stage = idle
	}
	return b
}

// presenceBytes is what presences take.
func presenceBytes(presences []protocol.Presence) (n int) {
	for _, p := range presences {
		n += itemBytes + len(p.State)
	}
	return n
}

// owed returns the documents whose presence the client has missed, once there is room.
func (o *outbox) owed() []*client {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes > 0 {
		return nil
	}
	missed := o.missed
	o.missed = nil
	return missed
}

// written ends the writing of what was taken out. It says whether the connection has to ask for another turn.
func (o *outbox) written() (ask bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stage = idle
	if o.batch != nil {
		o.stage = waiting
	}
	return o.stage == waiting
}

// whole is the message's payload, of all that became one.
func (it *item) whole() [][]byte {
	switch {
	case it.kind == protocol.Awareness && it.frame == nil:
		return [][]byte{protocol.EncodeAwareness(it.presences)}
	case len(it.more) == 0:
		return [][]byte{it.payload}
	}
	all := append([][]byte{it.payload}, it.more...)
	// What cannot be merged goes out as it came in.
	if merged, err := crdt.MergeUpdates(all); err == nil {
		return [][]byte{merged}
	}
	return all
}
