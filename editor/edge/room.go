package edge

import (
	"bytes"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/storage"
)

const (
	// outboxUpdates and outboxBytes bound what waits for the owner's acknowledgement; beyond them the room's members
	// are not read.
	outboxUpdates = 1024
	outboxBytes   = 16 << 20
	minBackoff    = 20 * time.Millisecond
	maxBackoff    = 500 * time.Millisecond
	// answerTimeout bounds the owner's answer to an attempt to attach.
	answerTimeout = 7 * time.Second
	// recentUpdates bounds how many updates wait for being counted as known.
	recentUpdates = 256
	// margin is how much room a document must have for its members to be told of a change before the owner has taken it: so
	// much may be under way from other edges.
	margin = 1 << 20
	// pendingBytes bounds what waits for the room's turn; room for fewUpdates is kept for the next one.
	pendingBytes = 1 << 20
	fewUpdates   = 64
	// maxAnnounced bounds the clients that a member may bring into the room: itself, and some of which it heard before we did.
	maxAnnounced = 64
)

// participant is what a member stands for. send and gone are called with the room locked, and must neither block nor call
// the room.
type participant interface {
	// author says how changes come and from whom, as frames of the kind Update have it.
	author() string
	// send brings what happens in the room.
	send(m message)
	// gone says that the document is deleted.
	gone()
}

// member is somebody in a room: a document on a client's connection, or a Session.
type member struct {
	participant
	// place is the member's in its room, from 1, 0 if it is in none. The room's mutex guards it.
	place int32
	// silent members have nothing to tell the owner: they are not asked for what it lacks.
	silent bool
	// announced is how many clients the member has announced, at the most. The room's mutex guards it.
	announced int32
	// question is what the member wants to know and has no answer to yet, nil if nothing. The room's mutex guards it.
	question *question
}

// question asks, under the number ref, for what somebody with a state vector lacks; both says that the answer ends with a
// question in turn.
type question struct {
	vector []byte
	both   bool
	asked  time.Time
	ref    uint64
}

// fate is told what became of a change: that it is stored, or why it will never be. It is called with the room locked,
// and must neither block nor call the room.
type fate interface {
	decided(why document.Reason, ok bool)
}

// sent is a frame that the owner has not acknowledged.
type sent struct {
	frame *peer.Frame
	done  fate
}

// room is one document at this edge: its members, and what the owner has not acknowledged yet.
type room struct {
	edge *Edge
	name string
	// poke wakes run when the room may be empty.
	poke chan struct{}

	mu       sync.Mutex
	members  []*member
	presence protocol.Room[*member]
	// refs holds who waits for an answer to which Sync.
	refs  map[uint64]*member
	last  uint64
	out   []sent
	bytes int
	// space is closed when something is acknowledged, nil if nobody waits for that.
	space chan struct{}
	// link and channel lead to the owner; link is nil while the room is not attached.
	link    *link
	channel uint32
	// resync says that the room was attached before, so that the next owner and all members must be brought together.
	resync bool
	// pending and heard are the changes and the presence that the members are told of in the lane's next turn; asked is
	// since when the lane knows, zero if it does not.
	lane    *lane
	pending [][]byte
	// by is who made all of pending, nil if several did or somebody at another edge. size is that of pending in bytes.
	by    *member
	size  int
	heard []protocol.Presence
	asked time.Time
	// left is how many bytes the document may grow by, if all that was told since the owner said so was new.
	left int
	// known is what all members have been told of, but for recent, which is still to be counted.
	known  crdt.StateVector
	recent [][]byte
	// unfollow ends the subscription to the store's feed, nil if there is none.
	unfollow func()
}

func newRoom(e *Edge, name string) *room {
	return &room{
		edge: e, name: name, lane: e.lane(name), poke: make(chan struct{}, 1),
		refs: map[uint64]*member{},
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
			if !over && len(f.Parts) == 1 {
				r.attached(k, f)
				close(attached)
			}
		case peer.Refused, peer.Moved:
			if f.Text == peer.Deleted {
				r.deleted()
			}
			once.Do(func() { close(ended) })
		case peer.Follow:
			r.follow(k, f.Channel, f.ID == 1)
		default:
			r.handle(f)
		}
	})
	defer func() {
		r.mu.Lock()
		r.link, over = nil, true
		// Who is elsewhere is announced again by the next owner; who is not was lost with this one.
		r.presence.Forget(nil)
		r.mu.Unlock()
		k.drop(number)
		r.follow(nil, 0, false)
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
// members get what they may have missed and are asked for what the owner may lack. The room is locked.
func (r *room) attached(k *link, f *peer.Frame) {
	r.link, r.channel = k, f.Channel
	r.left = int(min(f.ID, math.MaxInt)) //nolint:gosec // It fits.
	for i, s := range r.out {
		again := *s.frame // The last owner's link may have it still.
		r.out[i].frame = &again
		r.up(&again)
	}
	here := r.presence.Present(func(by *member) bool { return by != nil })
	if len(here) > 0 {
		r.up(&peer.Frame{Kind: peer.Awareness, Parts: [][]byte{protocol.EncodeAwareness(here)}})
	}
	// Who waited for an answer of the last owner asks again.
	clear(r.refs)
	for _, m := range r.members {
		if m.question != nil {
			r.ask(m)
		}
	}
	if r.resync {
		r.catchUp()
		return
	}
	r.resync = true
	// Every member asks for this much by itself.
	if known, err := crdt.DecodeStateVector(f.Parts[0]); err == nil {
		r.known = known
	}
}

// deleted ends the use of a document that is deleted.
func (r *room) deleted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.out {
		if s.done != nil {
			s.done.decided(document.Deleted, s.frame.Kind == peer.Evict)
		}
	}
	r.out, r.bytes = nil, 0
	r.makeRoom()
	for _, m := range r.members {
		m.gone()
	}
}

// up sends a frame to the owner if there is one. It is the link's from then on.
func (r *room) up(f *peer.Frame) {
	if r.link != nil {
		f.Channel = r.channel
		r.link.send(f)
	}
}

// withdraw forgets what a member has asked.
func (r *room) withdraw(m *member) {
	if m.question != nil {
		delete(r.refs, m.question.ref)
		m.question = nil
	}
}

// ask asks the owner what a member wants to know.
func (r *room) ask(m *member) {
	if r.link == nil {
		return
	}
	r.last++
	q := m.question
	q.ref = r.last
	r.refs[q.ref] = m
	r.up(&peer.Frame{Kind: peer.Sync, ID: q.ref, Parts: [][]byte{q.vector}})
}

// handle takes a frame of the owner.
func (r *room) handle(f *peer.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.Kind == peer.Ack:
		r.acknowledge(f.ID, "", true)
	case f.Kind == peer.Rejected:
		r.acknowledge(f.ID, document.Reason(f.Text), false)
	case f.Kind == peer.Update && len(f.Parts) == 1:
		r.change(f.Parts[0], nil)
	case f.Kind == peer.Awareness && len(f.Parts) == 1:
		r.hear(f.Parts[0])
	case f.Kind == peer.Stateless && len(f.Parts) == 1:
		r.tell(message{kind: protocol.Stateless, payload: f.Parts[0]}, nil)
	case f.Kind == peer.Content && len(f.Parts) == 1:
		if m := r.refs[f.ID]; m != nil {
			m.send(message{kind: protocol.SyncStep2, payload: f.Parts[0]})
		} else if f.ID == 0 {
			r.change(f.Parts[0], nil)
		}
	case f.Kind == peer.ContentEnd && len(f.Parts) == 2:
		r.answered(f)
	}
}

// answered ends the owner's answer to a question, which is a member's, or the room's own.
func (r *room) answered(f *peer.Frame) {
	r.hear(f.Parts[1])
	m := r.refs[f.ID]
	delete(r.refs, f.ID)
	switch {
	case f.ID == 0:
		for _, m := range r.members {
			if !m.silent {
				m.send(message{kind: protocol.SyncStep1, payload: f.Parts[0]})
			}
		}
	case m != nil:
		q := m.question
		m.question = nil
		r.edge.opts.Metrics.joined(time.Since(q.asked))
		if q.both && !m.silent {
			m.send(message{kind: protocol.SyncStep1, payload: f.Parts[0]})
		}
		m.send(presence(r.presence.Present(nil)))
	}
}

// hear takes presence from the owner.
func (r *room) hear(update []byte) {
	presences, err := protocol.ParseAwareness(update)
	if err != nil {
		r.edge.opts.Logger.Error("The owner sent malformed presence", "document", r.name, "error", err)
		return
	}
	changed, _ := r.presence.Apply(presences, nil)
	r.present(changed)
}

// presence is the message that tells of presences.
func presence(presences []protocol.Presence) message {
	return message{kind: protocol.Awareness, payload: protocol.EncodeAwareness(presences), presences: presences}
}

// tell tells all members but one.
func (r *room) tell(m message, except *member) {
	m.frames = newFrames()
	for _, to := range r.members {
		if to != except {
			to.send(m)
		}
	}
}

// change tells the members of a change in the next turn.
func (r *room) change(update []byte, by *member) {
	if len(r.pending) == 0 {
		r.by = by
	} else if r.by != by {
		r.by = nil
	}
	r.pending = append(r.pending, update)
	r.size += len(update)
	r.left -= len(update)
	if r.size > pendingBytes {
		r.bring()
		return
	}
	r.ready()
}

// present tells the members of presence in the next turn.
func (r *room) present(changed []protocol.Presence) {
	switch {
	case len(changed) == 0:
		return
	case len(r.heard) == 0:
		r.heard = changed
	default:
		n := len(r.heard) + len(changed)
		r.heard = protocol.Latest(r.heard, changed)
		r.edge.opts.Metrics.drop(n - len(r.heard))
	}
	r.ready()
}

// ready asks for a turn.
func (r *room) ready() {
	if r.asked.IsZero() {
		r.asked = time.Now()
		r.lane.room(r)
	}
}

// turn tells the members what came since the last one.
func (r *room) turn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.edge.opts.Metrics.turned(time.Since(r.asked))
	r.asked = time.Time{}
	r.bring()
}

// bring tells the members what came, as one message of changes and one of presence. Who made all the changes is not told;
// where several did, all are told of all: a client that hears of its own change again ignores it.
func (r *room) bring() {
	if heard := r.heard; len(heard) > 0 {
		r.heard = nil
		r.tell(presence(heard), nil)
	}
	if len(r.pending) == 0 {
		return
	}
	updates := r.pending
	if len(updates) > 1 {
		// What cannot be merged goes out as it came in.
		if merged, err := crdt.MergeUpdates(updates); err == nil {
			r.edge.opts.Metrics.merge(len(updates))
			clear(updates)
			updates = append(updates[:0], merged)
		}
	}
	for _, update := range updates {
		r.tell(message{kind: protocol.Update, payload: update}, r.by)
	}
	if r.recent = append(r.recent, updates...); len(r.recent) >= recentUpdates {
		r.count()
	}
	clear(updates)
	if cap(updates) > fewUpdates {
		updates = nil
	}
	r.pending, r.by, r.size = updates[:0], nil, 0
}

// count adds the recent updates to what is known. One that does not follow what is known may wait for another in every
// member, and is not counted.
func (r *room) count() {
	if len(r.recent) == 0 {
		return
	}
	if r.known == nil {
		r.known = crdt.StateVector{}
	}
	for _, update := range r.recent {
		// It cannot fail: what came was checked.
		_ = crdt.EachRange(update, func(client, from, to uint64) {
			if from <= r.known[client] && to > r.known[client] {
				r.known[client] = to
			}
		})
	}
	r.recent = nil
}

// waiter is somebody who may have to wait: a connection, or who called a Session.
type waiter interface {
	// Done says when nobody waits anymore.
	Done() <-chan struct{}
	// waits calls something that waits.
	waits(something func())
}

// update takes a member's change. It waits while too much is not acknowledged, so that its caller does not read on, and
// returns false if that ends by stop. A reply to SyncStep1 mostly repeats what everybody knows, and a change of a document
// that is nearly full may be refused: the owner decides whether the others hear of it.
func (r *room) update(stop waiter, m *member, update []byte, reply bool, done fate) bool {
	f := peer.Single(peer.Update, update)
	f.Text = m.author()
	if !r.enter(stop) {
		return false
	}
	defer r.mu.Unlock()
	if reply || len(update) > r.left-margin {
		f.Parts = append(f.Parts, []byte{1})
	} else {
		r.change(update, m)
	}
	r.post(f, done)
	return true
}

// check asks whether the owner has all of an update. It waits as update does.
func (r *room) check(stop waiter, update []byte, done fate) bool {
	return r.wait(stop, peer.Single(peer.Check, update), done)
}

// evict asks the owner to close the document for everybody. It waits as update does.
func (r *room) evict(stop waiter, done fate) bool {
	return r.wait(stop, &peer.Frame{Kind: peer.Evict}, done)
}

// wait posts a frame when there is room.
func (r *room) wait(stop waiter, f *peer.Frame, done fate) bool {
	if !r.enter(stop) {
		return false
	}
	defer r.mu.Unlock()
	r.post(f, done)
	return true
}

// enter locks the room when another frame can be posted. It returns false, and locks nothing, if stop ends the waiting.
func (r *room) enter(stop waiter) bool {
	for {
		r.mu.Lock()
		if len(r.out) < outboxUpdates && r.bytes < outboxBytes {
			return true
		}
		if r.space == nil {
			r.space = make(chan struct{})
		}
		space := r.space
		r.mu.Unlock()
		if !r.waited(stop, space) {
			return false
		}
	}
}

// waited waits for space. It returns false if stop ends that.
func (r *room) waited(stop waiter, space <-chan struct{}) (ok bool) {
	stop.waits(func() {
		select {
		case <-space:
			ok = true
		case <-stop.Done():
		}
	})
	return ok
}

// post sends a frame that the owner acknowledges, to this owner or the next ones. The room is locked.
func (r *room) post(f *peer.Frame, done fate) {
	r.last++
	f.ID = r.last
	r.out = append(r.out, sent{f, done})
	r.bytes += f.Size()
	r.up(f)
}

func (r *room) acknowledge(id uint64, why document.Reason, ok bool) {
	for i, s := range r.out {
		if s.frame.ID == id {
			r.bytes -= s.frame.Size()
			if i == 0 { // As nearly always.
				r.out[0] = sent{}
				r.out = r.out[1:]
			} else {
				r.out = slices.Delete(r.out, i, i+1)
			}
			if s.done != nil {
				s.done.decided(why, ok)
			}
			r.makeRoom()
			break
		}
	}
	if len(r.out) == 0 && len(r.members) == 0 {
		r.wake()
	}
}

// makeRoom wakes those who wait for the owner's acknowledgements.
func (r *room) makeRoom() {
	if r.space != nil {
		close(r.space)
		r.space = nil
	}
}

// follow begins or ends to take changes from the store's feed, as the owner asks.
func (r *room) follow(k *link, channel uint32, begin bool) {
	r.mu.Lock()
	end := r.unfollow
	r.unfollow = nil
	r.mu.Unlock()
	// No call of the feed is under way when this returns, so that the room must not be locked.
	if end != nil {
		end()
	}
	feed := r.edge.opts.Feed
	if k == nil || feed == nil || !begin && end == nil {
		return
	}
	if !begin {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.catchUp()
		return
	}
	stop := feed.Subscribe(r.name, r.published, func() {
		k.send(&peer.Frame{Kind: peer.Following, Channel: channel, ID: 1})
		r.mu.Lock()
		defer r.mu.Unlock()
		r.catchUp()
	})
	r.mu.Lock()
	if r.link == k && r.channel == channel {
		r.unfollow, stop = stop, nil
	}
	r.mu.Unlock()
	if stop != nil {
		stop() // The owner was lost meanwhile.
	}
}

// catchUp asks for what the members may have missed.
func (r *room) catchUp() {
	r.count()
	r.up(&peer.Frame{Kind: peer.Sync, Parts: [][]byte{r.known.Encode()}})
}

// published takes a change from the store's feed. Those that this edge sent, its members have.
func (r *room) published(e storage.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.out {
		if s.frame.Kind == peer.Update && len(s.frame.Parts) == 1 && bytes.Equal(s.frame.Parts[0], e.Update) {
			return
		}
	}
	r.change(e.Update, nil)
}

// awareness takes a member's presence. It is echoed: y-websocket reconnects when it hears nothing for 30 seconds, and
// pings are invisible to it.
func (r *room) awareness(m *member, presences []protocol.Presence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(m.announced)+len(presences) > maxAnnounced {
		// Yjs clients repeat what they hear, so that most of what was counted was announced by others.
		if m.announced = int32(r.presence.Announced(m)); int(m.announced)+len(presences) > maxAnnounced { //nolint:gosec // Bounded.
			presences = r.presence.Here(presences)
		}
	}
	m.announced += int32(len(presences)) //nolint:gosec // As above.
	changed, stale := r.presence.Apply(presences, m)
	if len(stale) > 0 {
		m.send(presence(stale))
		// Who hears that it has left comes back with a higher clock; Hocuspocus's provider 4 tells so only when asked.
		m.send(message{kind: protocol.QueryAwareness})
	}
	r.announce(changed)
}

func (r *room) announce(changed []protocol.Presence) {
	if len(changed) == 0 {
		return
	}
	r.present(changed)
	r.up(&peer.Frame{Kind: peer.Awareness, Parts: [][]byte{protocol.EncodeAwareness(changed)}})
}

// stateless hands an application's message to all others. It is not kept, and lost while there is no owner.
func (r *room) stateless(m *member, payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell(message{kind: protocol.Stateless, payload: payload}, m)
	r.up(&peer.Frame{Kind: peer.Stateless, Parts: [][]byte{payload}})
}

// sync answers a member's question for what it lacks; both says that it is asked in turn.
func (r *room) sync(m *member, vector []byte, both bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withdraw(m) // An older question is not worth answering anymore.
	m.question = &question{vector: vector, both: both, asked: time.Now()}
	r.ask(m)
}

// speaks says whether a member may have something to tell the owner.
func (r *room) speaks(m *member, speaks bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.silent = !speaks
}

// queryAwareness tells a member who is here.
func (r *room) queryAwareness(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.send(presence(r.presence.Present(nil)))
}

// leave removes a member and its presence.
func (r *room) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(m)
	r.withdraw(m)
	r.announce(r.presence.Leave(m))
	r.wake()
}

// add brings a member into the room, and remove takes one out that may have gone already. The room is locked.
func (r *room) add(m *member) {
	r.members = append(r.members, m)
	m.place = int32(len(r.members)) //nolint:gosec // There are not so many connections.
}

func (r *room) remove(m *member) {
	if m.place == 0 {
		return
	}
	last := len(r.members) - 1
	other := r.members[last]
	r.members[m.place-1], other.place = other, m.place
	r.members[last], r.members = nil, r.members[:last]
	m.place = 0
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
	return len(r.members) == 0 && len(r.out) == 0
}
