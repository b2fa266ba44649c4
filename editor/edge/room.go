package edge

import (
	"context"
	"sync"
	"time"

	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/protocol"
)

const (
	// outboxUpdates and outboxBytes bound what waits for the owner's acknowledgement; beyond them the room's clients
	// are not read.
	outboxUpdates = 1024
	outboxBytes   = 16 << 20
	minBackoff    = 20 * time.Millisecond
	maxBackoff    = 500 * time.Millisecond
	// answerTimeout bounds the owner's answer to an attempt to attach.
	answerTimeout = 7 * time.Second
)

// room is one document at this edge: its clients, and what the owner has not acknowledged yet.
type room struct {
	edge *Edge
	name string
	// poke wakes run when the room may be empty.
	poke chan struct{}

	mu       sync.Mutex
	clients  map[*client]struct{}
	presence protocol.Room[*client]
	// refs holds who waits for an answer to which Sync.
	refs  map[uint64]*client
	last  uint64
	out   []*peer.Frame
	bytes int
	space chan struct{}
	// link and channel lead to the owner; link is nil while the room is not attached.
	link    *link
	channel uint32
	// resync says that the room was attached before, so that the next owner and all clients must be brought together.
	resync bool
}

func newRoom(e *Edge, name string) *room {
	return &room{
		edge: e, name: name, poke: make(chan struct{}, 1),
		clients: map[*client]struct{}{}, refs: map[uint64]*client{}, space: make(chan struct{}),
	}
}

// run keeps the room attached to the document's owner until nobody needs it or ctx ends.
func (r *room) run(ctx context.Context) {
	backoff := minBackoff
	for !r.edge.removeIfEmpty(r) && ctx.Err() == nil {
		current, changed := r.edge.opts.Maps.Current()
		a, owner, ok := current.Assignment(r.name)
		if ok {
			if r.attach(ctx, r.edge.links.get(owner), a.Epoch, changed) {
				backoff = minBackoff
			}
			if next, _ := r.edge.opts.Maps.Current(); next != current {
				continue
			}
		}
		select {
		case <-changed:
			backoff = minBackoff
		case <-time.After(backoff):
			backoff = min(2*backoff, maxBackoff)
		case <-r.poke:
		case <-ctx.Done():
		}
	}
}

// attach attaches to the owner and returns when the owner is lost, has changed, or nobody needs the room. It says
// whether the room was attached.
func (r *room) attach(ctx context.Context, k *link, epoch int64, changed <-chan struct{}) bool {
	attached, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	// over says that this attempt has ended. The room's mutex guards it.
	over := false
	number := k.channel(func(f *peer.Frame) {
		switch f.Kind {
		case peer.Attached:
			r.mu.Lock()
			defer r.mu.Unlock()
			if !over {
				r.attached(k, f.Channel)
				close(attached)
			}
		case peer.Refused, peer.Moved:
			once.Do(func() { close(ended) })
		default:
			r.handle(f)
		}
	})
	defer func() {
		r.mu.Lock()
		r.link, over = nil, true
		r.mu.Unlock()
		k.drop(number)
	}()
	k.send(&peer.Frame{Kind: peer.Attach, Channel: number, ID: uint64(epoch), Text: r.name})
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	was := false
	answered := attached
	for {
		select {
		case <-answered:
			was, answered = true, nil
			timeout.Stop()
		case <-ended:
			return was
		case <-k.done:
			return was
		case <-timeout.C:
			return was
		case <-changed:
			// A map that gives the shard to the same owner at the same epoch changes nothing for us.
			next, newer := r.edge.opts.Maps.Current()
			a, _, ok := next.Assignment(r.name)
			if !ok || a.Epoch != epoch {
				return was
			}
			changed = newer
		case <-r.poke:
			if r.empty() {
				return was
			}
		case <-ctx.Done():
			return was
		}
	}
}

// attached brings a new owner and the room together: the owner gets what was never acknowledged and who is here, the
// clients get what they may have missed and are asked for what the owner may lack. The room is locked.
func (r *room) attached(k *link, channel uint32) {
	r.link, r.channel = k, channel
	for _, f := range r.out {
		r.up(f)
	}
	here := r.presence.Present(func(by *client) bool { return by != nil })
	if len(here) > 0 {
		r.up(&peer.Frame{Kind: peer.Awareness, Parts: [][]byte{protocol.EncodeAwareness(here)}})
	}
	// Who waited for an answer of the last owner asks again.
	clear(r.refs)
	for c := range r.clients {
		if c.vector != nil {
			r.ask(c)
		}
	}
	if r.resync {
		r.up(&peer.Frame{Kind: peer.Sync, Parts: [][]byte{protocol.EmptyStateVector()}})
	}
	r.resync = true
}

// up sends a frame to the owner if there is one. The frame is copied: its channel differs from owner to owner.
func (r *room) up(f *peer.Frame) {
	if r.link != nil {
		sent := *f
		sent.Channel = r.channel
		r.link.send(&sent)
	}
}

func (r *room) ask(c *client) {
	if r.link == nil {
		return
	}
	r.last++
	r.refs[r.last] = c
	r.up(&peer.Frame{Kind: peer.Sync, ID: r.last, Parts: [][]byte{c.vector}})
}

// handle takes a frame of the owner.
func (r *room) handle(f *peer.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch f.Kind {
	case peer.Ack, peer.Rejected:
		r.acknowledge(f.ID)
		if f.Kind == peer.Rejected {
			r.edge.opts.Logger.Warn("The owner refused a malformed update", "document", r.name)
		}
	case peer.Update:
		if len(f.Parts) == 1 {
			r.tell(protocol.Encode(protocol.Update, f.Parts[0]), nil)
		}
	case peer.Awareness:
		if len(f.Parts) == 1 {
			r.hear(f.Parts[0])
		}
	case peer.Content:
		for _, u := range f.Parts {
			message := protocol.Encode(protocol.Update, u)
			if f.ID == 0 {
				r.tell(message, nil)
			} else if c := r.refs[f.ID]; c != nil {
				c.send(message)
			}
		}
	case peer.ContentEnd:
		if len(f.Parts) != 2 {
			return
		}
		ask := protocol.Encode(protocol.SyncStep1, f.Parts[0])
		if f.ID == 0 {
			r.tell(ask, nil)
			r.hear(f.Parts[1])
			return
		}
		c := r.refs[f.ID]
		delete(r.refs, f.ID)
		if c == nil {
			return
		}
		c.vector = nil
		c.send(protocol.Encode(protocol.SyncStep2, protocol.EmptyUpdate()))
		c.send(ask)
		r.hear(f.Parts[1])
		c.send(protocol.Encode(protocol.Awareness, protocol.EncodeAwareness(r.presence.Present(nil))))
	}
}

// hear takes presence from the owner.
func (r *room) hear(update []byte) {
	presences, err := protocol.ParseAwareness(update)
	if err != nil {
		r.edge.opts.Logger.Error("The owner sent malformed presence", "document", r.name, "error", err)
		return
	}
	if changed, _ := r.presence.Apply(presences, nil); len(changed) > 0 {
		r.tell(protocol.Encode(protocol.Awareness, protocol.EncodeAwareness(changed)), nil)
	}
}

func (r *room) tell(message []byte, except *client) {
	for c := range r.clients {
		if c != except {
			c.send(message)
		}
	}
}

// update takes a client's change. It waits while too much is not acknowledged, so that its caller does not read on, and
// returns false if ctx ends before there is room. A reply to SyncStep1 mostly repeats what everybody knows: the owner
// decides whether the others need it.
func (r *room) update(ctx context.Context, c *client, update []byte, reply bool) bool {
	for {
		r.mu.Lock()
		if len(r.out) < outboxUpdates && r.bytes < outboxBytes {
			break
		}
		space := r.space
		r.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return false
		}
	}
	defer r.mu.Unlock()
	r.last++
	f := &peer.Frame{Kind: peer.Update, ID: r.last, Parts: [][]byte{update}}
	if reply {
		f.Parts = append(f.Parts, []byte{1})
	} else {
		r.tell(protocol.Encode(protocol.Update, update), c)
	}
	r.out = append(r.out, f)
	r.bytes += len(update)
	r.up(f)
	return true
}

func (r *room) acknowledge(id uint64) {
	for i, f := range r.out {
		if f.ID == id {
			r.bytes -= len(f.Parts[0])
			r.out = append(r.out[:i:i], r.out[i+1:]...)
			close(r.space)
			r.space = make(chan struct{})
			break
		}
	}
	if len(r.out) == 0 && len(r.clients) == 0 {
		r.wake()
	}
}

// awareness takes a client's presence. It is echoed to the client: y-websocket reconnects when it hears nothing for
// 30 seconds, and pings are invisible to it.
func (r *room) awareness(c *client, presences []protocol.Presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed, stale := r.presence.Apply(presences, c)
	if len(stale) > 0 {
		c.send(protocol.Encode(protocol.Awareness, protocol.EncodeAwareness(stale)))
	}
	r.announce(changed)
}

func (r *room) announce(changed []protocol.Presence) {
	if len(changed) == 0 {
		return
	}
	update := protocol.EncodeAwareness(changed)
	r.tell(protocol.Encode(protocol.Awareness, update), nil)
	r.up(&peer.Frame{Kind: peer.Awareness, Parts: [][]byte{update}})
}

// sync answers a client's SyncStep1.
func (r *room) sync(c *client, vector []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.vector = vector
	r.ask(c)
}

// queryAwareness tells a client who is here.
func (r *room) queryAwareness(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.send(protocol.Encode(protocol.Awareness, protocol.EncodeAwareness(r.presence.Present(nil))))
}

// leave removes a client and its presence.
func (r *room) leave(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.clients, c)
	for ref, waiting := range r.refs {
		if waiting == c {
			delete(r.refs, ref)
		}
	}
	r.announce(r.presence.Leave(c))
	r.wake()
}

func (r *room) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

func (r *room) empty() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.clients) == 0 && len(r.out) == 0
}
