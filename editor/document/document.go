// Package document owns an open document at its owner: its content, its presence, the order of its operations, and
// who is attached to it.
//
// It knows nothing of sockets, shards or the cluster: it is given a storage.Shard to append to and sinks to tell.
package document

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/storage"
)

// retryAfter is the time between two attempts to append an operation that the stores had no room for.
const retryAfter = 100 * time.Millisecond

// ErrClosed says that the document was closed: its shard moved away, or nobody used it.
var ErrClosed = errors.New("the document is closed")

// Content is what somebody who joins needs to know.
type Content struct {
	// Updates bring a Yjs document to the current state, in any order.
	Updates [][]byte
	// StateVector says what the document has, so that the joiner can send what it lacks.
	StateVector []byte
	// Awareness is an awareness update with everybody's presence.
	Awareness []byte
}

// Sink is told what happens in a document. Its methods are called with the document locked: they must neither block
// nor call the document.
type Sink interface {
	// Attached is called first, with the document's state vector.
	Attached(stateVector []byte)
	// Update brings a change of others.
	Update(update []byte)
	// Awareness brings changed presence.
	Awareness(update []byte)
	// Content answers Attachment.Sync.
	Content(ref uint64, content Content)
	// Ack says that the operation with this id is stored.
	Ack(id uint64)
	// Rejected says that the operation with this id is not valid and will never be stored.
	Rejected(id uint64)
	// Closed is called last, unless the sink was detached: the document is no longer served here.
	Closed()
}

// Options are what a document needs besides its content.
type Options struct {
	// Shard stores the document's operations.
	Shard storage.Shard
	// Now tells the time; time.Now if it is nil.
	Now func() time.Time
	// Stored is told how long each operation took to be stored. Optional.
	Stored func(time.Duration)
	// Logger is told of operations that cannot be stored.
	Logger *slog.Logger
}

// Document is one open document. It is safe for concurrent use.
type Document struct {
	name string
	opts Options

	mu       sync.Mutex
	engine   engine
	presence protocol.Room[*Attachment]
	sinks    map[*Attachment]struct{}
	seq      int64
	clock    time.Time
	pending  map[int64]*operation
	retry    []*operation
	timer    *time.Timer
	closed   bool
}

type operation struct {
	entry storage.Entry
	since time.Time
	acks  []ack
}

type ack struct {
	to *Attachment
	id uint64
}

// Open opens a document from what is stored.
func Open(name string, stored storage.Document, opts Options) (*Document, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	d := &Document{
		name: name, opts: opts, engine: newOpaque(),
		sinks: map[*Attachment]struct{}{}, pending: map[int64]*operation{}, seq: stored.LastSeq(),
	}
	if s := stored.Snapshot; s != nil {
		if _, err := d.engine.Apply(s.State, s.Seq); err != nil {
			return nil, fmt.Errorf("the snapshot of %q at operation %d: %w", name, s.Seq, err)
		}
		d.clock = s.Time
	}
	for _, e := range stored.Tail {
		if _, err := d.engine.Apply(e.Update, e.Seq); err != nil {
			return nil, fmt.Errorf("operation %d of %q: %w", e.Seq, name, err)
		}
		if e.Time.After(d.clock) {
			d.clock = e.Time
		}
	}
	return d, nil
}

// Attachment is one participant's hold on a document.
type Attachment struct {
	document *Document
	sink     Sink
}

// Attach adds a participant. It fails with ErrClosed.
func (d *Document) Attach(sink Sink) (*Attachment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	a := &Attachment{document: d, sink: sink}
	d.sinks[a] = struct{}{}
	sink.Attached(d.engine.StateVector())
	return a, nil
}

// Update integrates a change, tells all others, and stores it. The sink's Ack or Rejected is called with id later,
// unless the document closes first. echo tells the sender's sink of the change too. The update must not change
// afterwards.
func (a *Attachment) Update(id uint64, user string, update []byte, echo bool) {
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached(a) {
		return
	}
	if protocol.IsEmptyUpdate(update) {
		a.sink.Ack(id)
		return
	}
	known, err := d.engine.Apply(update, d.seq+1)
	if err != nil {
		a.sink.Rejected(id)
		return
	}
	if known != 0 {
		// It came before. It may still be on its way to the stores, and then it is acknowledged with the first copy.
		if op := d.pending[known]; op != nil {
			op.acks = append(op.acks, ack{a, id})
		} else {
			a.sink.Ack(id)
		}
		return
	}
	for other := range d.sinks {
		if other != a || echo {
			other.sink.Update(update)
		}
	}
	d.seq++
	op := &operation{
		entry: storage.Entry{Document: d.name, Seq: d.seq, Time: d.tick(), User: user, Update: update},
		since: d.opts.Now(),
		acks:  []ack{{a, id}},
	}
	d.pending[d.seq] = op
	if d.timer != nil {
		d.retry = append(d.retry, op)
		return
	}
	d.append(op)
}

// Awareness takes an awareness update and tells everybody what is news.
func (a *Attachment) Awareness(update []byte) error {
	presences, err := protocol.ParseAwareness(update)
	if err != nil {
		return fmt.Errorf("awareness update: %w", err)
	}
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached(a) {
		return nil
	}
	changed, stale := d.presence.Apply(presences, a)
	if len(stale) > 0 {
		a.sink.Awareness(protocol.EncodeAwareness(stale))
	}
	d.announce(changed, a)
	return nil
}

// Sync asks for what a participant with this state vector lacks. The sink's Content is called with ref.
func (a *Attachment) Sync(ref uint64, stateVector []byte) error {
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached(a) {
		return nil
	}
	updates, err := d.engine.Diff(stateVector)
	if err != nil {
		return fmt.Errorf("state vector: %w", err)
	}
	a.sink.Content(ref, Content{
		Updates: updates, StateVector: d.engine.StateVector(),
		Awareness: protocol.EncodeAwareness(d.presence.Present(nil)),
	})
	return nil
}

// Detach removes the participant and everybody whom it announced.
func (a *Attachment) Detach() {
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached(a) {
		return
	}
	delete(d.sinks, a)
	d.announce(d.presence.Leave(a), nil)
}

// CloseIfIdle closes the document if nobody is attached and all operations are stored, and says whether it is closed.
func (d *Document) CloseIfIdle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed && len(d.sinks) == 0 && len(d.pending) == 0 {
		d.closed = true
	}
	return d.closed
}

// Close ends the document and tells all sinks. Operations on their way to the stores are still acknowledged to
// nobody: who sent them sends them again to the next owner.
func (d *Document) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
	for a := range d.sinks {
		a.sink.Closed()
	}
	clear(d.sinks)
}

func (d *Document) attached(a *Attachment) bool {
	_, ok := d.sinks[a]
	return ok && !d.closed
}

func (d *Document) announce(changed []protocol.Presence, except *Attachment) {
	if len(changed) == 0 {
		return
	}
	update := protocol.EncodeAwareness(changed)
	for a := range d.sinks {
		if a != except {
			a.sink.Awareness(update)
		}
	}
}

// tick returns a hybrid logical timestamp: the time, or just after the last one if the clock was set back. It has
// the resolution that PostgreSQL stores.
func (d *Document) tick() time.Time {
	now := d.opts.Now().UTC().Truncate(time.Microsecond)
	if !now.After(d.clock) {
		now = d.clock.Add(time.Microsecond)
	}
	d.clock = now
	return now
}

// append hands an operation to the store. The store's answer comes from another goroutine.
func (d *Document) append(op *operation) {
	d.opts.Shard.Append(op.entry, func(err error) { d.appended(op, err) })
}

func (d *Document) appended(op *operation, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		delete(d.pending, op.entry.Seq)
		if d.opts.Stored != nil {
			d.opts.Stored(d.opts.Now().Sub(op.since))
		}
		for _, k := range op.acks {
			if d.attached(k.to) {
				k.to.sink.Ack(k.id)
			}
		}
	case d.closed, errors.Is(err, storage.ErrClosed), errors.Is(err, storage.ErrFenced):
		// The shard is on its way to another owner, who gets the operation from the edge that waits for its
		// acknowledgement.
	default:
		// Without acknowledgements the edges' buffers fill up, and they stop reading from their clients. The operation
		// keeps its number, because later ones may have been taken.
		if d.timer == nil {
			d.opts.Logger.Warn("The stores do not take operations; trying again", "document", d.name, "error", err)
			d.timer = time.AfterFunc(retryAfter, d.again)
		}
		d.retry = append(d.retry, op)
	}
}

func (d *Document) again() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = nil
	if d.closed {
		return
	}
	ops := d.retry
	d.retry = nil
	for _, op := range ops {
		d.append(op)
	}
}
