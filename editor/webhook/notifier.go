// Package webhook tells the application which documents have changed: by an HTTP request for each document, some
// seconds after its last change. It owns when and how that is told; it knows nothing of a change but its number, and
// nothing of how the store remembers what was told.
//
// The application hears of the last change of every document at least once, also if the pod dies that was about to
// tell: whoever opens the shard next reads from the store what is still to be told. Memory, connections and retries are
// bounded; what is beyond the bounds is left to the store's memory too.
package webhook

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"collab.dev/operator/editor/storage"
)

const (
	defaultDebounce = 2 * time.Second
	defaultShards   = 256
	defaultLimit    = 10_000
	// concurrency is how many deliveries are under way at once.
	concurrency = 8
	// interval is how often the store is told what was delivered, and asked what is pending if that is due.
	interval = time.Second
	// readPage is how much is read from the store at once.
	readPage = 500
	// readRetry is the pause after the store could not be read, storeTimeout bounds a call to it.
	readRetry    = 5 * time.Second
	storeTimeout = 10 * time.Second
	// handOver is how long the former owner of a shard is given, besides the longest wait for changes, to tell of its
	// last changes itself.
	handOver = 5 * time.Second
)

// Options are what a Notifier needs.
type Options struct {
	// URL takes the deliveries. Required.
	URL string
	// SecretFile has the secret that they are signed with, by the rules of auth.SecretFile. Required.
	SecretFile string
	// Debounce is how long a document must not have changed before its changes are told of, and MaxWait how long they may
	// wait for that; 2 s and five times the former if they are 0.
	Debounce, MaxWait time.Duration
	// Notices remembers what was told. Required.
	Notices storage.Notices
	// Shards is the number of shards that documents are hashed to; 256 if it is 0.
	Shards int32
	// Limit bounds the documents that are kept in memory because they are to be told of; 10,000 if it is 0.
	Limit int
	// Transport makes the requests; one of its own if it is nil.
	Transport http.RoundTripper
	// Metrics takes what is measured. Optional.
	Metrics *Metrics
	// Logger is slog.Default if it is nil.
	Logger *slog.Logger
}

// Notifier tells of changes. It is safe for concurrent use; a nil *Notifier tells nobody.
type Notifier struct {
	options Options
	sender  *sender
	log     *slog.Logger
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	wake    chan struct{}
	// idle is closed when Close has been called and nothing is left to deliver.
	idle chan struct{}

	mu       sync.Mutex
	schedule schedule
	sending  int
	// told are deliveries of which the store does not know.
	told map[string]int64
	// reads are the shards whose pending changes are to be read from the store.
	reads map[int32]read
	// closed says that nothing is taken anymore; failing that deliveries fail, unread that the last reading did,
	// overflowing that there was no room for a document since there was plenty last.
	closed, failing, unread, overflowing bool
}

// read says when a shard is to be read, and after which document.
type read struct {
	due   time.Time
	after string
}

// New starts a Notifier. Close ends it.
func New(o Options) (*Notifier, error) {
	if o.Debounce == 0 {
		o.Debounce = defaultDebounce
	}
	if o.MaxWait == 0 {
		o.MaxWait = 5 * o.Debounce
	}
	if o.Shards == 0 {
		o.Shards = defaultShards
	}
	if o.Limit == 0 {
		o.Limit = defaultLimit
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	sender, err := newSender(o.URL, o.SecretFile, o)
	if err != nil {
		return nil, err
	}
	n := &Notifier{
		options: o, sender: sender, log: o.Logger, wake: make(chan struct{}, 1), idle: make(chan struct{}),
		schedule: schedule{
			debounce: o.Debounce, maxWait: o.MaxWait, limit: o.Limit, random: rand.Float64,
			documents: map[string]*entry{},
		},
		told: map[string]int64{}, reads: map[int32]read{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.wait.Go(func() { n.dispatch(ctx) })
	n.wait.Go(func() { n.remember(ctx) })
	return n, nil
}

// Changed says that an operation of a document was stored: its number, who made it, and its time. It never blocks.
func (n *Notifier) Changed(document string, seq int64, user string, at time.Time) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	now := time.Now()
	if !n.add(now, document, seq, user, at) {
		n.reads[storage.ShardOf(document, n.options.Shards)] = read{due: now}
	}
}

// add schedules an operation and says whether there was room. The caller holds mu.
func (n *Notifier) add(now time.Time, document string, seq int64, user string, at time.Time) bool {
	documents := len(n.schedule.documents)
	before, waits := n.schedule.next()
	if !n.schedule.changed(now, document, seq, user, at) {
		if !n.overflowing {
			n.overflowing = true
			n.log.Warn("The application is to be told of more documents than memory is for; the store remembers the others",
				"documents", n.options.Limit)
		}
		return false
	}
	if len(n.schedule.documents) > documents {
		n.options.Metrics.wait(len(n.schedule.documents))
		if next, _ := n.schedule.next(); !waits || next.Before(before) {
			n.wakeUp()
		}
	}
	return true
}

func (n *Notifier) wakeUp() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Opened says that this process owns a shard now. What is pending in it is read from the store in the background, after
// the former owner had the time to tell of it.
func (n *Notifier) Opened(shard int32) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads[shard] = read{due: time.Now().Add(n.options.MaxWait + handOver)}
}

// Close tells of what waits for more changes, as long as ctx allows, and ends the Notifier. It must be called before the
// store is closed. What could not be told is left to the store's memory.
func (n *Notifier) Close(ctx context.Context) {
	if n == nil {
		return
	}
	n.mu.Lock()
	n.closed = true
	forgotten := n.schedule.flush()
	n.mu.Unlock()
	n.wakeUp()
	select {
	case <-n.idle:
	case <-ctx.Done():
	}
	n.cancel()
	n.wait.Wait()
	n.sender.client.CloseIdleConnections()
	n.mu.Lock()
	left := forgotten + len(n.schedule.documents)
	n.mu.Unlock()
	if left > 0 {
		n.log.Info("Not all changes were told of in time; the next owners will", "documents", left)
	}
	last, done := context.WithTimeout(context.WithoutCancel(ctx), interval)
	defer done()
	n.record(last)
}

// dispatch starts deliveries when they are due, until ctx ends.
func (n *Notifier) dispatch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	for {
		pause, waits := n.start(func(c change) { deliveries.Go(func() { n.deliver(ctx, c) }) })
		timer.Stop()
		if waits {
			timer.Reset(pause)
		}
		select {
		case <-n.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// start starts what is due, and returns when the next may be. Nothing may be until a delivery has ended if there are as
// many as there may be: that wakes the dispatcher.
func (n *Notifier) start(deliver func(change)) (pause time.Duration, waits bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for n.sending < concurrency {
		c, ok := n.schedule.take(now)
		if !ok {
			break
		}
		n.sending++
		deliver(c)
	}
	if n.closed && len(n.schedule.documents) == 0 {
		select {
		case <-n.idle:
		default:
			close(n.idle)
		}
	}
	next, ok := n.schedule.next()
	return next.Sub(now), ok && n.sending < concurrency
}

// deliver delivers a change once and says what became of it.
func (n *Notifier) deliver(ctx context.Context, c change) {
	start := time.Now()
	o, pause, err := n.sender.send(ctx, c)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sending--
	if ctx.Err() != nil && o != told {
		return // Close has given up. The document counts as left.
	}
	o = n.schedule.done(time.Now(), c.document, o, pause)
	n.options.Metrics.delivered(o, time.Since(start))
	n.options.Metrics.wait(len(n.schedule.documents))
	if o == told || o == gone {
		n.toldOf(c.document, c.seq)
	}
	n.tell(c, o, err)
	n.wakeUp()
}

// toldOf remembers a delivery until the store knows of it. What is beyond the bound is told of twice. The caller holds
// mu.
func (n *Notifier) toldOf(document string, seq int64) {
	if len(n.told) < n.options.Limit {
		n.told[document] = seq
	}
}

// tell logs what became of a delivery. The caller holds mu.
func (n *Notifier) tell(c change, o outcome, err error) {
	log := n.log.With("document", c.document, "seq", c.seq)
	switch o {
	case told, gone:
		log.Debug("The application was told of a change", "result", o)
	case refused:
		log.Warn("The application refuses to be told of a change: giving it up until the shard is opened again",
			"error", err)
	case expired:
		log.Warn("The application could not be told of a change for too long: giving it up until the shard is opened again",
			"for", retryFor, "error", err)
	case failed:
		if !n.failing {
			log.Warn("The application cannot be told of changes; trying again", "error", err)
		}
		n.failing = true
	}
	if n.failing && n.schedule.retrying == 0 {
		n.failing = false
		n.log.Info("No change waits anymore for being told again")
	}
}

// remember lets the store know what was delivered, and reads from it what is pending, until ctx ends.
func (n *Notifier) remember(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		n.record(ctx)
		for ctx.Err() == nil {
			shard, after, due := n.dueRead()
			if !due {
				break
			}
			n.read(ctx, shard, after)
		}
	}
}

// record lets the store know what was delivered. If that fails it is tried again later, or the application hears of the
// changes twice.
func (n *Notifier) record(ctx context.Context) {
	n.mu.Lock()
	told := n.told
	n.told = map[string]int64{}
	n.mu.Unlock()
	if len(told) == 0 {
		return
	}
	call, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := n.options.Notices.Delivered(call, told); err != nil {
		n.log.Warn("The store cannot remember which changes were told of; trying again", "documents", len(told),
			"error", err)
		n.mu.Lock()
		defer n.mu.Unlock()
		for document, seq := range told {
			if _, newer := n.told[document]; !newer {
				n.toldOf(document, seq)
			}
		}
	}
}

// dueRead is a shard that is to be read now, and after which document, unless there is little room for what would be
// found.
func (n *Notifier) dueRead() (shard int32, after string, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || len(n.schedule.documents) > n.options.Limit/2 {
		return 0, "", false
	}
	n.overflowing = false
	now := time.Now()
	for shard, read := range n.reads {
		if !read.due.After(now) {
			delete(n.reads, shard)
			return shard, read.after, true
		}
	}
	return 0, "", false
}

// read schedules what is pending in a shard. As soon as there is no room it leaves the rest for later.
func (n *Notifier) read(ctx context.Context, shard int32, after string) {
	for {
		call, cancel := context.WithTimeout(ctx, storeTimeout)
		notices, err := n.options.Notices.Pending(call, shard, after, readPage)
		cancel()
		if ctx.Err() != nil {
			return
		}
		pause := time.Duration(0)
		if err != nil {
			pause = readRetry
		}
		taken := n.take(shard, notices, err)
		if taken > 0 {
			after = notices[taken-1].Document
		}
		if err != nil || taken < len(notices) {
			n.readLater(shard, pause, after)
			return
		}
		if len(notices) < readPage {
			return
		}
	}
}

// take schedules what was found in the store, and says for how much of it there was room.
func (n *Notifier) take(shard int32, notices []storage.Notice, err error) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil && !n.unread {
		n.log.Warn("The store does not say of which changes to tell; trying again", "shard", shard, "error", err)
	}
	n.unread = err != nil
	now := time.Now()
	for i, notice := range notices {
		if n.told[notice.Document] == notice.Seq {
			continue // The store will know soon.
		}
		if n.closed || !n.add(now, notice.Document, notice.Seq, notice.User, notice.Time) {
			return i
		}
	}
	return len(notices)
}

// readLater lets a shard be read from a document on, unless it is to be read anyway.
func (n *Notifier) readLater(shard int32, pause time.Duration, after string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, planned := n.reads[shard]; !planned {
		n.reads[shard] = read{time.Now().Add(pause), after}
	}
}
