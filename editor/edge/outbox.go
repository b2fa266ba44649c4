package edge

import (
	"sync"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

const (
	// queueBytes is how many bytes of changes may wait for a slow client, after merging, before it is cut off and has to
	// synchronize afresh.
	queueBytes = 8 << 20
	// mergeBytes is from how many waiting bytes on it is worth merging what waits.
	mergeBytes = 256 << 10
)

// item is one message that waits for a client, or several that are one when they are written.
type item struct {
	// to is the document that the message is about, nil for the connection itself.
	to   *client
	kind protocol.Kind
	// payloads are several for updates, which are merged.
	payloads [][]byte
	// presences replace payloads for awareness.
	presences []protocol.Presence
	// ping and code, a close frame's with its reason, are about the connection.
	ping   bool
	code   int
	reason string
}

// outbox holds what waits for one connection. It never blocks those who fill it: changes of one document become one
// message, of presence only the newest is kept, and what is too much all the same cuts the client off.
type outbox struct {
	mu    sync.Mutex
	items []*item
	// bytes counts waiting changes; mergeAt is from how many on they are merged.
	bytes, mergeAt int
	// updates and awareness are the waiting items that more can be added to.
	updates, awareness map[*client]*item
	// writing says that somebody takes the items out, closed that nothing may be added.
	writing, closed bool
}

// add adds a message. It says whether somebody has to begin to write, and whether there is room.
func (o *outbox) add(to *client, kind protocol.Kind, payload []byte) (begin, room bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false, true
	}
	switch kind {
	case protocol.Update:
		o.bytes += len(payload)
		if it := o.updates[to]; it != nil {
			it.payloads = append(it.payloads, payload)
			return false, o.fits()
		}
		it := &item{to: to, kind: kind, payloads: [][]byte{payload}}
		if o.updates == nil {
			o.updates = map[*client]*item{}
		}
		o.updates[to] = it
		o.items = append(o.items, it)
	case protocol.Awareness:
		presences, err := protocol.ParseAwareness(payload)
		if err != nil {
			return false, true // The edge made or checked it.
		}
		if it := o.awareness[to]; it != nil {
			it.presences = protocol.Latest(it.presences, presences)
			return false, true
		}
		it := &item{to: to, kind: kind, presences: presences}
		if o.awareness == nil {
			o.awareness = map[*client]*item{}
		}
		o.awareness[to] = it
		o.items = append(o.items, it)
	default:
		o.items = append(o.items, &item{to: to, kind: kind, payloads: [][]byte{payload}})
	}
	return o.begin(), true
}

// ping adds a ping frame.
func (o *outbox) ping() (begin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.items = append(o.items, &item{ping: true})
	return o.begin()
}

// close replaces everything that waits by a close frame, and lets nothing in anymore.
func (o *outbox) close(code int, reason string) (begin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.closed = true
	o.items, o.updates, o.awareness, o.bytes = []*item{{code: code, reason: reason}}, nil, nil, 0
	return o.begin()
}

// drop lets nothing in anymore and forgets what waits.
func (o *outbox) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.items, o.updates, o.awareness = nil, nil, nil
}

func (o *outbox) begin() bool {
	begin := !o.writing
	o.writing = true
	return begin
}

// fits merges what waits when that may help, and says whether it is not too much.
func (o *outbox) fits() bool {
	if o.bytes < max(o.mergeAt, mergeBytes) {
		return true
	}
	o.bytes = 0
	for _, it := range o.updates {
		it.merge()
		for _, p := range it.payloads {
			o.bytes += len(p)
		}
	}
	// Merging takes time in proportion to what waits: not before that has doubled.
	o.mergeAt = 2 * o.bytes
	return o.bytes <= queueBytes
}

// next takes the next item out, nil if there is none: then who asked has stopped writing.
func (o *outbox) next() *item {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.items) == 0 {
		o.items, o.writing, o.mergeAt = nil, false, 0
		return nil
	}
	it := o.items[0]
	o.items[0] = nil
	o.items = o.items[1:]
	switch {
	case o.updates[it.to] == it:
		delete(o.updates, it.to)
		for _, p := range it.payloads {
			o.bytes -= len(p)
		}
	case o.awareness[it.to] == it:
		delete(o.awareness, it.to)
	}
	return it
}

// merge makes one update of several.
func (it *item) merge() {
	if len(it.payloads) < 2 {
		return
	}
	// What cannot be merged was never integrated by the owner; it goes out as it came in.
	if merged, err := crdt.MergeUpdates(it.payloads); err == nil {
		it.payloads = [][]byte{merged}
	}
}
