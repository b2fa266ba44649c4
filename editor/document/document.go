// Package document owns an open document at its owner: its content, its presence, the order of its operations, and
// who is attached to it.
//
// It knows nothing of sockets, shards or the cluster: it is given a storage.Shard to append to and sinks to tell.
package document

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/storage"
)

const (
	// retryAfter is the time between two attempts to append an operation that the stores had no room for.
	retryAfter = 100 * time.Millisecond
	// snapshotTimeout bounds one attempt to store a snapshot.
	snapshotTimeout = 30 * time.Second
	// snapshotPause is the time from a snapshot that could not be stored to the next attempt.
	snapshotPause = 500 * time.Millisecond
	// maxTail is how many snapshots may be overdue before operations wait for one: it bounds what an opening replays.
	maxTail = 50
	// maxOutage and maxOutageBytes are the same while the database is down or a snapshot is under way: a fail-over takes
	// half a minute, which nobody is to notice.
	maxOutage      = 10 * maxTail
	maxOutageBytes = 32 << 20
	// measureInterval is the time between two measurements of a document that is full.
	measureInterval = time.Second
)

var (
	// ErrClosed says that the document was closed: its shard moved away, or nobody used it.
	ErrClosed = errors.New("the document is closed")
	// ErrUnreadable says that the engine cannot make a document of what is stored.
	ErrUnreadable = errors.New("what is stored of the document cannot be read")
)

// Reason says why an operation was refused for good.
type Reason string

// The reasons.
const (
	// Malformed is an update that is no Yjs update.
	Malformed Reason = "malformed"
	// TooLarge is an update that would make the document larger than it may be.
	TooLarge Reason = "too large"
	// Missing answers Check: the document lacks some of the update.
	Missing Reason = "missing"
	// Deleted is any change of a document that is deleted.
	Deleted Reason = "deleted"
)

// Content is what somebody who joins needs to know.
type Content struct {
	// Update brings a Yjs document with the asker's state vector to the current state.
	Update []byte
	// StateVector says what the document has, so that the joiner can send what it lacks.
	StateVector []byte
	// Awareness is an awareness update with everybody's presence.
	Awareness []byte
}

// Sink is told what happens in a document. Its methods are called with the document locked: they must neither block
// nor call the document.
type Sink interface {
	// Attached is called first, with the document's state vector and how many bytes it may still grow by.
	Attached(stateVector []byte, room int)
	// Update brings a change of others.
	Update(update []byte)
	// Awareness brings changed presence.
	Awareness(update []byte)
	// Stateless brings an application's message.
	Stateless(payload []byte)
	// Follow asks the participant to take updates from the store's feed from now on and to say so by
	// Attachment.Following; or, with false, tells it that updates come from here again, without those that the feed may
	// still bring.
	Follow(follow bool)
	// Content answers Attachment.Sync.
	Content(ref uint64, content Content)
	// Ack says that the operation with this id is stored.
	Ack(id uint64)
	// Rejected says that the operation with this id will never be stored.
	Rejected(id uint64, why Reason)
	// Closed is called last, unless the sink was detached: the document is no longer served here.
	Closed()
}

// Options are what a document needs besides its content.
type Options struct {
	// Shard stores the document's operations.
	Shard storage.Shard
	// SnapshotEvery is after how many operations a snapshot is stored; 100 if it is 0.
	SnapshotEvery int
	// MaxBytes bounds the document when it is encoded: beyond it no content is taken, but deletions are. 0 is no bound.
	MaxBytes int
	// Snapshots, if it is there, has room for the snapshots that documents may be storing at a time.
	Snapshots chan struct{}
	// FanOut is with how many participants the store's feed tells them of updates instead of the owner, so that its
	// work does not grow with theirs; 0 is never.
	FanOut int
	// Changed is told of each change when it is stored, with the document locked: it must not block. Optional.
	Changed func(document string, seq int64, user string, at time.Time)
	// Broken is told that the document has to be closed and loaded again, with the document locked: it must not block.
	Broken func()
	// Now tells the time; time.Now if it is nil.
	Now func() time.Time
	// Metrics takes what is measured. Optional.
	Metrics *Metrics
	// Logger is told of operations and snapshots that cannot be stored.
	Logger *slog.Logger
}

// Document is one open document. It is safe for concurrent use.
type Document struct {
	name string
	opts Options
	// background is the context of snapshots, which Close ends and waits for.
	background context.Context //nolint:containedctx // It ends with the document.
	cancel     context.CancelFunc
	wait       sync.WaitGroup

	mu       sync.Mutex
	engine   *crdt.Doc
	apply    func(update []byte, origin any) (changed bool, err error) // The engine's.
	presence protocol.Room[*Attachment]
	sinks    map[*Attachment]struct{}
	seq      int64
	clock    time.Time
	used     time.Time
	// queue holds the operations that are not stored, and those that are stored after one that is not, in order.
	queue []*operation
	// retry holds the operations of queue that the stores had no room for, and those that came while there were any.
	retry  []*operation
	timer  *time.Timer
	closed bool
	// hot says that operations are published to the store's feed, feedless that it does not work, broken that the content
	// cannot be trusted.
	hot, feedless, broken bool

	// snapshot is the last operation that a stored snapshot contains, state the size of that, and bytes at most what the
	// document takes when encoded, as it was measured at a time.
	snapshot     int64
	state, bytes int
	measured     time.Time
	// snapshotting says that a snapshot is under way, outage that the last one was not stored because the database is
	// down, refused that it was not for another reason.
	snapshotting, outage, refused bool
}

type operation struct {
	entry  storage.Entry
	since  time.Time
	stored bool
	// acks are who is told that it is stored: mostly only who sent it.
	acks []ack
	only [1]ack
}

type ack struct {
	to *Attachment
	id uint64
}

// Open opens a document from what is stored. It fails with ErrUnreadable.
func Open(name string, stored storage.Document, opts Options) (d *Document, err error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.SnapshotEvery == 0 {
		opts.SnapshotEvery = 100
	}
	d = &Document{
		name: name, opts: opts, engine: crdt.NewDoc(crdt.Options{GUID: name}),
		sinks: map[*Attachment]struct{}{}, seq: stored.LastSeq(), used: opts.Now(),
	}
	d.apply = d.engine.Apply
	if err := d.replay(stored); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	d.background, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

// replay applies what is stored. It fails over a fault of the engine, too.
func (d *Document) replay(stored storage.Document) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the document engine failed over %q: %v\n%s", d.name, fault, debug.Stack())
		}
	}()
	if s := stored.Snapshot; s != nil {
		if _, err := d.apply(s.State, nil); err != nil {
			return fmt.Errorf("the snapshot of %q at operation %d: %w", d.name, s.Seq, err)
		}
		d.clock, d.snapshot, d.state, d.bytes = s.Time, s.Seq, len(s.State), len(s.State)
	}
	for _, e := range stored.Tail {
		if _, err := d.apply(e.Update, nil); err != nil {
			return fmt.Errorf("operation %d of %q: %w", e.Seq, d.name, err)
		}
		d.bytes += len(e.Update)
		if e.Time.After(d.clock) {
			d.clock = e.Time
		}
	}
	return nil
}

// Attachment is one participant's hold on a document.
type Attachment struct {
	document *Document
	sink     Sink
	// following says that the participant takes updates from the store's feed.
	following bool
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
	sink.Attached(d.engine.EncodeStateVector(), d.room())
	if d.hot {
		sink.Follow(true)
	}
	d.fanOut()
	return a, nil
}

// Author is who made a change, and how it came.
type Author struct {
	// User is empty where nobody is known.
	User string
	// Origin is the protocol, such as "y-websocket".
	Origin string
}

// Update integrates a change, tells all others, and stores it. The sink's Ack or Rejected is called with id later,
// unless the document closes first. echo tells the sender's sink of the change too. The update must not change
// afterwards.
func (a *Attachment) Update(id uint64, by Author, update []byte, echo bool) {
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
	start := d.opts.Now()
	fits, changed := false, false
	err := d.guard("an update, which is refused", func() (err error) {
		if fits, err = d.fits(update); err == nil && fits {
			changed, err = d.apply(update, nil)
		}
		return err
	})
	switch {
	case err != nil:
		a.sink.Rejected(id, Malformed)
		return
	case !fits:
		a.sink.Rejected(id, TooLarge)
		return
	}
	d.used = start
	d.opts.Metrics.integrated(d.opts.Now().Sub(start), len(update))
	if !changed {
		// It came before. What it repeats may still be on its way to the stores, and then it is acknowledged with that.
		if n := len(d.queue); n > 0 {
			d.queue[n-1].acks = append(d.queue[n-1].acks, ack{a, id})
		} else {
			a.sink.Ack(id)
		}
		return
	}
	for other := range d.sinks {
		if (other != a || echo) && !other.following {
			other.sink.Update(update)
		}
	}
	d.seq++
	d.bytes += len(update)
	op := &operation{
		entry: storage.Entry{
			Document: d.name, Seq: d.seq, Time: d.tick(), User: by.User, Origin: by.Origin, Update: update, Publish: d.hot,
		},
		since: start,
		only:  [1]ack{{a, id}},
	}
	op.acks = op.only[:]
	d.queue = append(d.queue, op)
	if d.timer != nil || d.overdue(d.seq) {
		d.later(op)
		return
	}
	d.append(op)
}

// errFault is what guard makes of a fault of the engine.
var errFault = errors.New("the document engine failed")

// guard runs something over the engine. A fault of the engine costs that and no more: nobody knows what it left
// behind, so that the document is loaded again from what is stored.
func (d *Document) guard(what string, do func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v", errFault, fault)
			d.opts.Logger.Error("The document engine failed over "+what+"; loading the document again",
				"document", d.name, "fault", fault, "stack", string(debug.Stack()))
			d.reload()
		}
	}()
	return do()
}

// reload takes nothing anymore and asks for the document to be closed and loaded again.
func (d *Document) reload() {
	d.broken = true
	if d.opts.Broken != nil {
		d.opts.Broken()
	}
}

// room is how many bytes the document may still grow by.
func (d *Document) room() int {
	if d.opts.MaxBytes == 0 {
		return math.MaxInt
	}
	return max(d.opts.MaxBytes-d.bytes, 0)
}

// fits says whether there is room for an update. There always is for one that brings no content, so that a full
// document can be joined and made smaller.
func (d *Document) fits(update []byte) (bool, error) {
	if d.opts.MaxBytes == 0 || d.bytes+len(update) <= d.opts.MaxBytes {
		return true, nil
	}
	news, err := d.news(update)
	if err != nil || news == 0 {
		return true, err
	}
	if now := d.opts.Now(); now.Sub(d.measured) >= measureInterval {
		state, err := d.engine.EncodeStateAsUpdate(nil)
		if err != nil {
			return false, err
		}
		d.measured, d.bytes = now, len(state)
	}
	return d.bytes+news <= d.opts.MaxBytes, nil
}

// news is how many bytes of an update are content that the document lacks. Deletions are none. But those of content
// that is not there have to be kept, so that more deletions do count while some are.
func (d *Document) news(update []byte) (int, error) {
	meta, err := crdt.ParseUpdateMeta(update)
	if err != nil {
		return 0, err
	}
	lacks, known := false, d.engine.StateVector()
	for client, to := range meta.To {
		lacks = lacks || to > known[client]
	}
	if !lacks {
		if !d.engine.HasPending() {
			return 0, nil
		}
		has, err := d.engine.Snapshot().ContainsUpdate(update)
		if err != nil || has {
			return 0, err
		}
		return len(update), nil
	}
	missing, err := crdt.DiffUpdate(update, known.Encode())
	if err != nil {
		return 0, err
	}
	deletions, err := crdt.DiffUpdate(update, meta.To.Encode())
	return len(missing) - len(deletions), err
}

// Check says whether the document has all of an update, which is not integrated: the sink's Ack is called with id when
// it has and all of it is stored, Rejected when it has not.
func (a *Attachment) Check(id uint64, update []byte) {
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached(a) {
		return
	}
	has := false
	err := d.guard("a question about an update", func() (err error) {
		has, err = d.engine.Snapshot().ContainsUpdate(update)
		return err
	})
	switch n := len(d.queue); {
	case errors.Is(err, errFault):
	case err != nil:
		a.sink.Rejected(id, Malformed)
	case !has:
		a.sink.Rejected(id, Missing)
	case n > 0:
		d.queue[n-1].acks = append(d.queue[n-1].acks, ack{a, id})
	default:
		a.sink.Ack(id)
	}
}

// Stateless hands an application's message to all others.
func (a *Attachment) Stateless(payload []byte) {
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached(a) {
		return
	}
	for other := range d.sinks {
		if other != a {
			other.sink.Stateless(payload)
		}
	}
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
	start := d.opts.Now()
	content := Content{Awareness: protocol.EncodeAwareness(d.presence.Present(nil))}
	err := d.guard("somebody's question for what is new", func() (err error) {
		content.StateVector = d.engine.EncodeStateVector()
		content.Update, err = d.engine.EncodeStateAsUpdate(stateVector)
		return err
	})
	switch {
	case errors.Is(err, errFault):
		return nil // It is asked again when the document is open again.
	case err != nil:
		return fmt.Errorf("state vector: %w", err)
	}
	a.sink.Content(ref, content)
	d.opts.Metrics.joined(d.opts.Now().Sub(start))
	return nil
}

// Detach removes a participant that was lost, and announces that everybody is gone whom it announced.
func (a *Attachment) Detach() { a.detach(func(d *Document) { d.announce(d.presence.Leave(a), nil) }) }

// Leave removes a participant that has announced itself who is gone: the others are about to turn up at the next owner.
// If they were announced to be gone, those who hear of that would take them for gone there, too.
func (a *Attachment) Leave() { a.detach(func(d *Document) { d.presence.Forget(a) }) }

func (a *Attachment) detach(presence func(d *Document)) {
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.attached(a) {
		return
	}
	delete(d.sinks, a)
	d.fanOut()
	d.used = d.opts.Now()
	presence(d)
}

// Following says whether the participant takes updates from the store's feed, as Sink.Follow asked it to. Before it says
// so, and after it says that it does not, it is told of updates like any other. It has to Sync after it began.
func (a *Attachment) Following(follows bool) {
	d := a.document
	d.mu.Lock()
	defer d.mu.Unlock()
	a.following = follows && d.hot && d.attached(a)
}

// Feed says whether the store's feed works: while it does not, all participants are told of updates directly.
func (d *Document) Feed(works bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.feedless = !works
	d.fanOut()
}

// fanOut turns to the feed when there are many participants, and back when there are half as many, or it does not work.
func (d *Document) fanOut() {
	n := len(d.sinks)
	hot := d.opts.FanOut > 0 && !d.feedless && (n >= d.opts.FanOut || d.hot && 2*n > d.opts.FanOut)
	if hot == d.hot {
		return
	}
	d.hot = hot
	for a := range d.sinks {
		a.following = false
		a.sink.Follow(hot)
	}
}

// Use is what a document takes and since when.
type Use struct {
	// Bytes is about the memory that the document takes.
	Bytes int
	// Attended says that somebody is attached, or that operations are not stored yet.
	Attended bool
	// Last is when the document was used last.
	Last time.Time
}

// Use says what the document takes.
func (d *Document) Use() Use {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Use{
		Bytes: d.engine.MemoryBytes(), Attended: len(d.sinks) > 0 || len(d.queue) > 0, Last: d.used,
	}
}

// CloseIfIdle closes the document if nobody is attached, all operations are stored and so is a snapshot of them, and
// says whether it is closed. If only the snapshot is missing, it begins to store one.
func (d *Document) CloseIfIdle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
	case len(d.sinks) > 0 || len(d.queue) > 0 || d.snapshotting:
	case d.seq > d.snapshot:
		d.takeSnapshot()
	default:
		d.closed = true
		d.cancel()
	}
	return d.closed
}

// Stop ends the document's work: it takes nothing anymore, and returns when it writes nothing anymore but the
// operations that are on their way to the stores. These are acknowledged to nobody: who sent them sends them again to
// the next owner. The sinks are told by Close.
func (d *Document) Stop() {
	d.mu.Lock()
	d.stop()
	d.mu.Unlock()
	d.wait.Wait()
}

// Close stops the document and tells all sinks.
func (d *Document) Close() {
	d.mu.Lock()
	d.stop()
	for a := range d.sinks {
		a.sink.Closed()
	}
	clear(d.sinks)
	d.mu.Unlock()
	d.wait.Wait()
}

// stop refuses all that comes. The caller holds mu.
func (d *Document) stop() {
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.cancel()
}

func (d *Document) attached(a *Attachment) bool {
	_, ok := d.sinks[a]
	return ok && !d.closed && !d.broken
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
		op.stored = true
		d.opts.Metrics.stored(d.opts.Now().Sub(op.since))
		d.acknowledge()
	case d.closed, errors.Is(err, storage.ErrClosed), errors.Is(err, storage.ErrFenced):
		// The shard is on its way to another owner, who gets the operation from the edge that waits for its
		// acknowledgement.
	default:
		// Without acknowledgements the edges' buffers fill up, and they stop reading from their clients. The operation
		// keeps its number, because later ones may have been taken.
		if d.timer == nil {
			d.opts.Logger.Warn("The stores do not take operations; trying again", "document", d.name, "error", err)
		}
		d.later(op)
	}
}

// acknowledge tells who waits for it that all operations up to the first that is not stored are stored.
func (d *Document) acknowledge() {
	done := 0
	for ; done < len(d.queue) && d.queue[done].stored; done++ {
		op := d.queue[done]
		if d.opts.Changed != nil {
			d.opts.Changed(d.name, op.entry.Seq, op.entry.User, op.entry.Time)
		}
		for _, k := range op.acks {
			if d.attached(k.to) {
				k.to.sink.Ack(k.id)
			}
		}
	}
	clear(d.queue[:done])
	d.queue = d.queue[done:]
	if d.lastStored()-d.snapshot >= int64(d.opts.SnapshotEvery) {
		d.takeSnapshot()
	}
}

// lastStored is the last operation that is stored with all before it.
func (d *Document) lastStored() int64 {
	if len(d.queue) > 0 {
		return d.queue[0].entry.Seq - 1
	}
	return d.seq
}

// later appends the operation when the stores may have room.
func (d *Document) later(op *operation) {
	d.retry = append(d.retry, op)
	if d.timer == nil {
		d.timer = time.AfterFunc(retryAfter, d.again)
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
	for i, op := range ops {
		if d.overdue(op.entry.Seq) {
			d.takeSnapshot()
			d.retry = append(d.retry, ops[i:]...)
			d.timer = time.AfterFunc(retryAfter, d.again)
			return
		}
		d.append(op)
	}
}

// overdue says whether an operation has to wait for a snapshot. While the database is down it does not for long, and
// while it is not known yet why a snapshot is late: only what is refused otherwise is likely to be refused for good.
func (d *Document) overdue(seq int64) bool {
	late, every := seq-d.snapshot, int64(d.opts.SnapshotEvery)
	switch {
	case late <= maxTail*every:
		return false
	case d.refused, !d.snapshotting && !d.outage:
		return true
	}
	return late > maxOutage*every || d.bytes-d.state > maxOutageBytes
}

// takeSnapshot begins to store the state up to the last stored operation. The state may contain later ones too: it is
// then ahead of its number, which does no harm, because operations may be applied twice.
func (d *Document) takeSnapshot() {
	if d.snapshotting || d.closed || d.broken || d.lastStored() <= d.snapshot {
		return
	}
	d.snapshotting = true
	d.wait.Go(func() {
		stored := d.storeSnapshot()
		if !stored {
			pause(d.background, snapshotPause)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.snapshotting = false
	})
}

// storeSnapshot stores the state in its turn, and says whether it is stored. Nothing is encoded before that.
func (d *Document) storeSnapshot() bool {
	if d.opts.Snapshots != nil {
		select {
		case d.opts.Snapshots <- struct{}{}:
			defer func() { <-d.opts.Snapshots }()
		case <-d.background.Done():
			return false
		}
	}
	snapshot, before, err := d.encode()
	if err == nil {
		ctx, cancel := context.WithTimeout(d.background, snapshotTimeout)
		defer cancel()
		err = d.opts.Shard.WriteSnapshot(ctx, d.name, snapshot)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outage = errors.Is(err, storage.ErrUnavailable)
	d.refused = err != nil && !d.outage
	switch {
	case err == nil:
		size := len(snapshot.State)
		d.bytes += size - before
		d.snapshot, d.state = snapshot.Seq, size
		d.opts.Metrics.snapshot(size)
	case d.closed, errors.Is(err, storage.ErrFenced), errors.Is(err, storage.ErrClosed), errors.Is(err, errFault):
	case errors.Is(err, storage.ErrDeleted):
		d.reload()
	default:
		d.opts.Logger.Warn("The snapshot was not stored; the next operations will try again",
			"document", d.name, "error", err)
	}
	return err == nil
}

// encode makes a snapshot, and tells what the document was thought to take.
func (d *Document) encode() (snapshot storage.Snapshot, before int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	snapshot = storage.Snapshot{Seq: d.lastStored(), Time: d.clock}
	err = d.guard("its snapshot", func() (err error) {
		snapshot.State, err = d.engine.EncodeStateAsUpdate(nil)
		return err
	})
	return snapshot, d.bytes, err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
