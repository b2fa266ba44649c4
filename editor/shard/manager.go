package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/storage"
)

const (
	releaseTimeout = 2 * time.Second
	openTimeout    = 10 * time.Second
	closeTimeout   = 10 * time.Second
	loadTimeout    = 10 * time.Second
	minBackoff     = 50 * time.Millisecond
	maxBackoff     = 2 * time.Second
	parallelOpens  = 16
	// parallelLoads and parallelSnapshots bound the documents that are loaded and stored at a time: what they hold in
	// memory, and which of the database's connections they take.
	parallelLoads     = 3
	parallelSnapshots = 2
	// unreadablePause is how long a document stays refused that cannot be read, and faultPause one over which the engine
	// failed while it was open.
	unreadablePause = time.Minute
	faultPause      = time.Second
	// steady is how long a shard is served before its loss counts as the first one.
	steady = time.Minute
)

// Options are what a Manager needs.
type Options struct {
	// Name and UID identify this pod among the ShardMap's members. Without a UID the name is enough.
	Name, UID string
	// Maps is followed by Run.
	Maps *Maps
	// Store opens shards.
	Store storage.Store
	// Release asks a previous owner to give a shard up to the owner of epoch.
	Release func(ctx context.Context, address string, shard int32, epoch int64) error
	// SnapshotEvery and MaxDocumentBytes are what document.Options calls SnapshotEvery and MaxBytes.
	SnapshotEvery, MaxDocumentBytes int
	// FanOut is with how many edges of a document the store's feed tells them of updates instead of the owner; 0 is
	// never. The store has to be a storage.Feed, and the edges have to listen to it.
	FanOut int
	// IdleAfter is how long a document stays open with nobody attached; a minute if it is 0.
	IdleAfter time.Duration
	// MemoryBudget is about how many bytes the open documents may take. Beyond it those that nobody is attached to are
	// closed, the least recently used first. 0 is no bound.
	MemoryBudget int
	// Forward brings an operation to the document's owner, wherever that is, and returns when it is durable. It is used
	// for acknowledged operations that the stores may have lost when this pod was fenced. Optional.
	Forward func(ctx context.Context, document, user string, update []byte) error
	// Changed is told of each change that was stored, and Opened of each shard that this pod has taken over. They must not
	// block. Optional.
	Changed func(document string, seq int64, user string, at time.Time)
	Opened  func(shard int32)
	// Metrics takes what is measured. Optional.
	Metrics *Metrics
	// Logger takes what is worth knowing about take-overs.
	Logger *slog.Logger
}

// Manager serves this pod's shards. It is safe for concurrent use.
type Manager struct {
	opts                    Options
	opens, loads, snapshots chan struct{} // Turns, of which there are so many as each has room for.
	// opened has a value when a document was opened since the last look at the memory.
	opened chan struct{}
	wait   sync.WaitGroup

	updates atomic.Int64

	mu     sync.Mutex
	shards map[int32]*owned
	// floor holds, for each shard, the epoch of whoever asked for it last: this pod must not take it at a lower one.
	floor map[int32]int64
}

// owned is one shard from the moment that the map gives it to this pod until it is closed.
type owned struct {
	assignment v1alpha1.ShardAssignment
	cancel     context.CancelFunc
	// ready is closed when documents can be opened, done when the shard is flushed and closed.
	ready, done chan struct{}

	mu        sync.Mutex
	shard     storage.Shard
	documents map[string]*opening
	// feedless says that the store's feed does not work.
	feedless, closed bool
}

// opening is a document that is open or being opened, or is refused with err until a time.
type opening struct {
	ready    chan struct{}
	document *document.Document
	err      error
	until    time.Time
}

// NewManager returns a manager that owns nothing yet.
func NewManager(opts Options) *Manager {
	if opts.IdleAfter == 0 {
		opts.IdleAfter = time.Minute
	}
	return &Manager{
		opts: opts, opens: make(chan struct{}, parallelOpens), loads: make(chan struct{}, parallelLoads),
		snapshots: make(chan struct{}, parallelSnapshots), opened: make(chan struct{}, 1),
		shards: map[int32]*owned{}, floor: map[int32]int64{},
	}
}

// Run follows the map until ctx ends; then it hands all shards over to nobody: it flushes and closes them.
func (m *Manager) Run(ctx context.Context) {
	// A shard is closed in order even when the process is told to stop: each one has a context of its own.
	shards := context.WithoutCancel(ctx)
	m.wait.Go(func() { m.sweep(ctx) })
	for ctx.Err() == nil {
		current, changed := m.opts.Maps.Current()
		if current != nil {
			m.follow(shards, current)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	m.mu.Lock()
	for _, o := range m.shards {
		o.cancel()
	}
	m.mu.Unlock()
	m.wait.Wait()
}

// Owned returns the number of shards that the map gives to this pod and that it has not closed.
func (m *Manager) Owned() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, o := range m.shards {
		select {
		case <-o.done:
		default:
			n++
		}
	}
	return n
}

// Documents returns the number of open documents.
func (m *Manager) Documents() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, o := range m.shards {
		o.mu.Lock()
		n += len(o.documents)
		o.mu.Unlock()
	}
	return n
}

// Updates returns the number of operations that edges have sent since the start.
func (m *Manager) Updates() int64 { return m.updates.Load() }

// Release gives a shard up because another pod owns it at a higher epoch, and returns when it is flushed and closed.
func (m *Manager) Release(ctx context.Context, shard int32, epoch int64) error {
	m.mu.Lock()
	m.floor[shard] = max(m.floor[shard], epoch)
	o := m.shards[shard]
	if o == nil || o.assignment.Epoch >= epoch {
		m.mu.Unlock()
		return nil
	}
	o.cancel()
	m.mu.Unlock()
	select {
	case <-o.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Manager) follow(ctx context.Context, current *Map) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range current.shards {
		owner, ok := current.members[a.Owner]
		mine := ok && owner.Name == m.opts.Name && (m.opts.UID == "" || owner.UID == m.opts.UID) &&
			a.Epoch >= m.floor[a.Shard]
		before := m.shards[a.Shard]
		if before != nil && mine && before.assignment.Epoch == a.Epoch {
			continue
		}
		if before != nil {
			before.cancel()
		}
		if !mine {
			delete(m.shards, a.Shard)
			continue
		}
		previous := ""
		if p, ok := current.members[a.PreviousOwner]; ok && p.Name != m.opts.Name {
			previous = p.Address
		}
		m.take(ctx, a, before, previous, minBackoff)
	}
}

// take makes the shard this pod's, after what was before. If the shard is lost although nobody has cancelled it, it is
// taken again after a time: PostgreSQL may have been restored from a backup that does not know of this opening. The
// caller holds mu.
func (m *Manager) take(
	ctx context.Context, a v1alpha1.ShardAssignment, before *owned, previous string, backoff time.Duration,
) {
	own, cancel := context.WithCancel(ctx)
	o := &owned{
		assignment: a, cancel: cancel, ready: make(chan struct{}), done: make(chan struct{}),
		documents: map[string]*opening{},
	}
	m.shards[a.Shard] = o
	m.wait.Go(func() {
		defer cancel()
		if before != nil {
			<-before.done
		}
		start := time.Now()
		left := m.own(own, o, previous)
		close(o.done)
		if time.Since(start) > steady {
			backoff = minBackoff
		}
		m.wait.Go(func() { m.forward(left, a.Shard) })
		select {
		case <-time.After(backoff):
		case <-own.Done():
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if own.Err() == nil {
			m.take(ctx, a, nil, "", min(2*backoff, maxBackoff))
		}
	})
}

// own takes a shard over, serves it until ctx ends or somebody else has it, and closes it. It returns the operations
// that were acknowledged here and that the stores may have lost since.
func (m *Manager) own(ctx context.Context, o *owned, previous string) (left []storage.Entry) {
	log := m.opts.Logger.With("shard", o.assignment.Shard, "epoch", o.assignment.Epoch)
	start := time.Now()
	if previous != "" {
		release, cancel := context.WithTimeout(ctx, releaseTimeout)
		if err := m.opts.Release(release, previous, o.assignment.Shard, o.assignment.Epoch); err != nil {
			log.Warn("The previous owner did not release the shard; fencing it", "owner", o.assignment.PreviousOwner,
				"error", err)
		}
		cancel()
	}
	shard, err := m.open(ctx, o.assignment, log)
	if err != nil {
		o.close()
		return nil
	}
	if f, ok := shard.(storage.Finder); ok {
		f.OnOutdated(func(name string) { m.wait.Go(func() { o.reload(name) }) })
	}
	if p, ok := shard.(storage.Publisher); ok {
		p.OnPublishing(o.feed)
	}
	o.mu.Lock()
	o.shard = shard
	o.mu.Unlock()
	close(o.ready)
	log.Debug("Serving the shard", "after", time.Since(start))
	m.opts.Metrics.tookOver(time.Since(start))
	if m.opts.Opened != nil {
		m.opts.Opened(o.assignment.Shard)
	}
	select {
	case <-ctx.Done():
	case <-shard.Fenced():
		log.Info("The shard belongs to a newer owner, or the database does not know of this one; dropping it")
	}
	o.close()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err = shard.Close(closing)
	switch {
	case err == nil:
	case errors.Is(err, storage.ErrFenced):
		m.opts.Metrics.fenced()
	default:
		log.Warn("The shard was closed before everything was flushed; the next owner reads it from the log", "error", err)
	}
	if leaver, ok := shard.(storage.Leaver); ok {
		return leaver.Unflushed()
	}
	return nil
}

// open opens the shard in the stores, as often as it takes. It gives up when the shard belongs to somebody else.
func (m *Manager) open(ctx context.Context, a v1alpha1.ShardAssignment, log *slog.Logger) (storage.Shard, error) {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		select {
		case m.opens <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		opening, cancel := context.WithTimeout(ctx, openTimeout)
		shard, err := m.opts.Store.Open(opening, a.Shard, a.Epoch, m.opts.Name)
		cancel()
		<-m.opens
		switch {
		case err == nil:
			return shard, nil
		case errors.Is(err, storage.ErrFenced), errors.Is(err, storage.ErrClosed):
			log.Info("The shard cannot be taken", "error", err)
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		log.Warn("The shard cannot be opened yet; trying again", "in", backoff, "error", err)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reload closes a document, so that whoever needs it loads it afresh.
func (o *owned) reload(name string) {
	o.mu.Lock()
	d := o.documents[name]
	o.mu.Unlock()
	if d == nil {
		return
	}
	<-d.ready
	if d.document != nil {
		d.document.Close()
		o.forget(name, d.document)
	}
}

// broken closes a document over which the engine failed, and lets some time go by before it is loaded again: it may
// fail again at once.
func (o *owned) broken(name string) {
	o.reload(name)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.documents[name] == nil {
		o.refuse(name, document.ErrUnreadable, faultPause)
	}
}

// refuse refuses a document for a time. The caller holds mu.
func (o *owned) refuse(name string, err error, d time.Duration) {
	refused := &opening{ready: make(chan struct{}), err: err, until: time.Now().Add(d)}
	close(refused.ready)
	o.documents[name] = refused
}

// evict closes a document for everybody when the stores have all of it, so that it is opened as it is stored then:
// whoever needs it waits until then. done is called before those who have it open are told. What is not stored within
// ctx is left to the shard.
func (o *owned) evict(ctx context.Context, name string, done func()) error {
	o.mu.Lock()
	d, waiting := o.documents[name], &opening{ready: make(chan struct{}), err: document.ErrClosed}
	if d == nil || o.closed {
		o.mu.Unlock()
		return errNotServed
	}
	o.documents[name] = waiting
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.documents[name] == waiting {
			delete(o.documents, name)
		}
		o.unload(name)
		close(waiting.ready)
	}()
	<-d.ready
	if d.document == nil {
		done()
		return nil
	}
	d.document.Stop()
	defer d.document.Close()
	if f, ok := o.shard.(storage.Flusher); ok {
		if err := f.Flush(ctx, name); err != nil {
			return err
		}
	}
	done()
	return nil
}

// feed tells the documents whether the store's feed works.
func (o *owned) feed(works bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.feedless = !works
	for _, d := range o.documents {
		if d.document != nil {
			d.document.Feed(works)
		}
	}
}

// close refuses further documents and tells everybody who is attached.
func (o *owned) close() {
	o.mu.Lock()
	o.closed = true
	documents := o.documents
	o.documents = map[string]*opening{}
	o.mu.Unlock()
	for _, d := range documents {
		select {
		case <-d.ready:
			if d.document != nil {
				d.document.Close()
			}
		default:
			// Whoever opens it finds the shard closed.
		}
	}
}

// errNotServed says that this pod does not serve the document.
var errNotServed = errors.New("the document is not served here")

// attach attaches to a document whose shard has an epoch, as far as the caller knows. It waits while this pod takes the
// shard over or has not heard of it.
func (m *Manager) attach(
	ctx context.Context, name string, epoch int64, attach func(*owned, *document.Document) error,
) error {
	for {
		current, changed := m.opts.Maps.Current()
		a, _, ok := current.Assignment(name)
		if !ok || a.Epoch < epoch {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		m.mu.Lock()
		o := m.shards[a.Shard]
		m.mu.Unlock()
		if o == nil || o.assignment.Epoch < epoch {
			if a.Owner != m.opts.Name {
				return errNotServed
			}
			// Run is about to follow the map.
			select {
			case <-time.After(minBackoff):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-o.ready:
		case <-o.done:
			return errNotServed
		case <-ctx.Done():
			return ctx.Err()
		}
		d, err := m.document(ctx, o, name)
		if err == nil {
			err = attach(o, d)
		}
		if !errors.Is(err, document.ErrClosed) {
			return err
		}
	}
}

// document opens a document once, however many ask for it.
func (m *Manager) document(ctx context.Context, o *owned, name string) (*document.Document, error) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil, errNotServed
	}
	d := o.documents[name]
	if d != nil && (d.until.IsZero() || time.Now().Before(d.until)) {
		o.mu.Unlock()
		select {
		case <-d.ready:
			return d.document, d.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	d = &opening{ready: make(chan struct{})}
	o.documents[name] = d
	shard := o.shard
	o.mu.Unlock()

	// Others may wait for this document too, so that it does not depend on who asked first.
	start := time.Now()
	loading, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
	opened, err := m.load(loading, o, shard, name)
	cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil && o.closed {
		opened.Close()
		err = errNotServed
	}
	m.opts.Metrics.loaded(time.Since(start), err)
	if err != nil {
		d.err = err
		if o.documents[name] == d {
			delete(o.documents, name)
		}
		if errors.Is(err, document.ErrUnreadable) && !o.closed {
			m.opts.Logger.Error("The document is refused: it cannot be read", "document", name, "for", unreadablePause,
				"error", err)
			o.refuse(name, document.ErrUnreadable, unreadablePause)
		}
	} else {
		d.document = opened
		opened.Feed(!o.feedless)
		select {
		case m.opened <- struct{}{}:
		default:
		}
	}
	close(d.ready)
	return d.document, d.err
}

// load makes a document of what is stored.
func (m *Manager) load(
	ctx context.Context, o *owned, shard storage.Shard, name string,
) (*document.Document, error) {
	select {
	case m.loads <- struct{}{}:
		defer func() { <-m.loads }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other documents to be loaded: %w", ctx.Err())
	}
	stored, err := shard.Load(ctx, name)
	if err != nil {
		return nil, err
	}
	return document.Open(name, stored, document.Options{
		Shard: shard, SnapshotEvery: m.opts.SnapshotEvery, MaxBytes: m.opts.MaxDocumentBytes, Snapshots: m.snapshots,
		FanOut: m.opts.FanOut, Changed: m.opts.Changed, Broken: func() { m.wait.Go(func() { o.broken(name) }) },
		Metrics: m.opts.Metrics.documents(), Logger: m.opts.Logger,
	})
}
