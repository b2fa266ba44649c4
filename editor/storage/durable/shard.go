package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/internal/record"
)

const (
	// groupSize and groupBytes bound what is committed to the log at once.
	groupSize  = 256
	groupBytes = 1 << 20
)

// item is an operation that PostgreSQL lacks or whose sender does not know yet what became of it.
type item struct {
	entry   storage.Entry
	record  []byte
	counter int64
	done    func(error)
	// err says why the operation was not taken.
	err error
	// barrier says that this is no operation, but waits for the one with the counter.
	barrier bool
}

// flush waits for PostgreSQL to have everything up to a counter.
type flush struct {
	counter int64
	done    chan error
}

// redisError is what Redis is to blame for.
type redisError struct{ err error }

func (e redisError) Error() string { return e.err.Error() }
func (e redisError) Unwrap() error { return e.err }

// shard is an open shard. Its writer appends to the log, the Store's drainer commits to PostgreSQL, and each of them
// does the other's part of the duty while it fails.
type shard struct {
	store  *Store
	lease  lease
	logger *slog.Logger

	cancel     context.CancelFunc
	wait       sync.WaitGroup
	wakeWriter chan struct{}
	fenced     chan struct{}
	// flushed is closed when nothing is taken anymore and PostgreSQL has everything.
	flushed chan struct{}
	// redisDown makes the drainer hurry. turns guards its changes, and onPublishing, which is told of them.
	redisDown    atomic.Bool
	turns        sync.Mutex
	onPublishing func(works bool)
	// synced says that the log is fenced and that what former owners left in it is in PostgreSQL. Nothing is appended
	// to it or trimmed from it before.
	synced atomic.Bool
	// loads is held by loads for reading, and for writing while operations of former owners are adopted.
	loads sync.RWMutex
	// answers are the goroutines that tell what became of operations.
	answers sync.WaitGroup

	mu sync.Mutex
	// queue is what PostgreSQL lacks, in the order of the counters, which follow each other. unanswered is what was
	// appended, taken or not, whose senders wait to be told. held is what came while operations were being adopted: it
	// gets its numbers after them.
	queue, unanswered, held []*item
	// next is the last counter given out. The log has everything up to sent that PostgreSQL lacks, as durable as wanted
	// up to durable; PostgreSQL has everything up to drained, and the log was trimmed up to trimmed.
	next, sent, durable, drained, trimmed int64
	// given are the last numbers of the documents that are loaded, as their owner knows them or has given them out, and
	// shift is how far these are ahead of what the owner believes, because operations of a former owner were found after
	// the document was loaded.
	given, shift map[string]int64
	// heldBytes is the size of the updates of held.
	heldBytes int64
	// adopting says that the numbers of new operations are not known yet, answering that a goroutine answers, ended that
	// what was not stored will never be.
	adopting, answering, ended bool
	// flushes are those who wait for PostgreSQL to have a counter.
	flushes []flush
	// missed are documents whose subscribers have to be told that operations were not published.
	missed map[string]struct{}
	// err says why nothing is taken anymore.
	err error
	// outdated are the documents that lack operations and of which onOutdated was not told.
	outdated   []string
	onOutdated func(document string)
	// left is what was in the queue when the shard was fenced.
	left []storage.Entry
}

var (
	_ storage.Leaver    = (*shard)(nil)
	_ storage.Finder    = (*shard)(nil)
	_ storage.Unloader  = (*shard)(nil)
	_ storage.Publisher = (*shard)(nil)
	_ storage.Flusher   = (*shard)(nil)
)

func newShard(store *Store, lease lease) *shard {
	return &shard{
		store:      store,
		lease:      lease,
		logger:     store.logger.With("shard", lease.shard, "epoch", lease.epoch, "term", lease.term),
		wakeWriter: make(chan struct{}, 1),
		fenced:     make(chan struct{}),
		flushed:    make(chan struct{}),
		given:      map[string]int64{},
		missed:     map[string]struct{}{},
		shift:      map[string]int64{},
	}
}

func (s *shard) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wait.Go(func() { s.write(ctx) })
}

// sync fences the log and adopts what former owners left in it. Afterwards the log may be appended to.
func (s *shard) sync(ctx context.Context) error {
	s.synced.Store(false)
	if err := s.store.log.fence(ctx, s.lease); err != nil {
		return redisError{err}
	}
	for after := ""; ; {
		page, err := s.store.log.read(ctx, s.lease, after)
		if err != nil {
			return redisError{err}
		}
		if len(page) > 0 {
			if err := s.adopt(ctx, page); err != nil {
				return err
			}
			after = page[len(page)-1].id
		}
		if len(page) < readPage {
			break
		}
	}
	s.synced.Store(true)
	return nil
}

// adopt stores what PostgreSQL lacks of a page of the log. Nothing gets a number meanwhile.
func (s *shard) adopt(ctx context.Context, page []found) error {
	s.loads.Lock()
	defer s.loads.Unlock()
	taken := map[string]int64{}
	s.mu.Lock()
	s.adopting = true
	for _, queued := range s.queue {
		taken[queued.entry.Document] = max(taken[queued.entry.Document], queued.entry.Seq)
	}
	s.mu.Unlock()

	adopted, last, err := s.store.database.adopt(ctx, s.lease, page,
		func(document string) int64 { return taken[document] })

	s.mu.Lock()
	if err == nil {
		for document, number := range last {
			// Whether it was this attempt that stored them or a former one of unknown outcome, whoever has the document
			// open does not know of operations with these numbers.
			if given, loaded := s.given[document]; loaded && number > given {
				s.shift[document] += number - given
				s.given[document] = number
				s.outdated = append(s.outdated, document)
			}
		}
	}
	s.adopting = false
	s.enqueue(s.held...)
	s.held, s.heldBytes = nil, 0
	s.mu.Unlock()
	if err != nil {
		return err
	}
	unreadable := slices.DeleteFunc(slices.Clone(page), func(r found) bool { return !r.bad })
	s.store.metrics.Adopted(adopted, len(unreadable))
	if len(unreadable) > 0 {
		s.logger.Error("The log has records that cannot be read; they were put into the table quarantine",
			"records", len(unreadable), "first", unreadable[0].id)
	}
	if adopted > 0 {
		s.logger.Info("Stored what a former owner had left in the log", "operations", adopted)
	}
	return nil
}

// enqueue takes operations. The caller holds mu.
func (s *shard) enqueue(items ...*item) {
	for _, i := range items {
		i.entry.Seq += s.shift[i.entry.Document]
		s.given[i.entry.Document] = max(s.given[i.entry.Document], i.entry.Seq)
		s.next++
		i.counter = s.next
		// The update is kept once, in the record.
		i.record = record.Encode(i.entry)
		i.entry.Update = i.record[len(i.record)-len(i.entry.Update):]
	}
	s.queue = append(s.queue, items...)
	s.store.count(items, 1)
	if len(items) > 0 {
		wake(s.wakeWriter)
		wake(s.store.wake)
		if s.hurried() {
			wake(s.store.hurry)
		}
	}
}

// hurried says whether somebody waits for PostgreSQL rather than for Redis. The caller holds mu.
func (s *shard) hurried() bool {
	return s.store.durability == Postgres || s.redisDown.Load() || s.err != nil || len(s.flushes) > 0
}

// Append implements storage.Shard.
func (s *shard) Append(entry storage.Entry, done func(error)) {
	entry.User, entry.Origin = storage.Text(entry.User), storage.Text(entry.Origin)
	added := &item{entry: entry, done: done}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unanswered = append(s.unanswered, added)
	switch invalid := storage.CheckEntry(entry); {
	case s.err != nil:
		added.err = s.err
	case invalid != nil:
		added.err = invalid
	case s.store.buffered.Load()+s.heldBytes+int64(len(entry.Update)) > s.store.limit:
		added.err = storage.ErrOverloaded
		s.store.metrics.Refused()
	case s.adopting:
		s.held = append(s.held, added)
		s.heldBytes += int64(len(entry.Update))
		return
	default:
		s.enqueue(added)
		return
	}
	s.answer()
}

// answer starts telling senders what became of their operations, in order, unless somebody does. The caller holds mu.
func (s *shard) answer() {
	if s.answering {
		return
	}
	s.answering = true
	s.answers.Go(func() {
		for {
			s.mu.Lock()
			answers := s.answerable()
			s.answering = len(answers) > 0
			s.mu.Unlock()
			if len(answers) == 0 {
				return
			}
			for _, a := range answers {
				a.done(a.err)
			}
		}
	})
}

// safe is the counter up to which everything is as durable as wanted. The caller holds mu.
func (s *shard) safe() int64 {
	if s.store.durability == Postgres {
		return s.drained
	}
	return max(s.drained, s.durable)
}

// answerable takes those off the unanswered whose fate is known, up to the first whose fate is not. The caller holds
// mu.
func (s *shard) answerable() []*item {
	safe := s.safe()
	n := 0
	for _, waiting := range s.unanswered {
		taken := waiting.counter > 0 || waiting.barrier
		switch {
		case waiting.err != nil, taken && waiting.counter <= safe:
		case s.ended:
			waiting.err = s.err
		default:
			answers := s.unanswered[:n:n]
			s.unanswered = s.unanswered[n:]
			return answers
		}
		n++
	}
	answers := s.unanswered
	s.unanswered = nil
	return answers
}

// Load implements storage.Shard.
func (s *shard) Load(ctx context.Context, document string) (storage.Document, error) {
	start := time.Now()
	loaded, answered, err := s.load(ctx, document)
	if err != nil {
		return storage.Document{}, err
	}
	select {
	case err = <-answered:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return storage.Document{}, fmt.Errorf("wait for the document's last operations: %w", err)
	}
	s.store.metrics.Loaded(time.Since(start))
	return loaded, nil
}

// load reads a document. What it holds is as durable as wanted when answered has a value, which is nil then.
func (s *shard) load(ctx context.Context, document string) (_ storage.Document, answered <-chan error, _ error) {
	s.loads.RLock()
	defer s.loads.RUnlock()
	// The queue first: what is drained in between is then found twice rather than not at all.
	s.mu.Lock()
	err := s.err
	var queued []storage.Entry
	for _, waiting := range s.queue {
		if waiting.entry.Document == document {
			queued = append(queued, waiting.entry)
		}
	}
	if err == nil {
		answered = s.barrier(document)
	}
	delete(s.shift, document)
	s.mu.Unlock()
	if err != nil {
		return storage.Document{}, nil, err
	}
	loaded, err := s.store.database.load(ctx, s.lease.shard, document)
	if errors.Is(err, storage.ErrDeleted) {
		return storage.Document{}, nil, err
	}
	if err != nil {
		s.store.metrics.Failed("postgres")
		return storage.Document{}, nil, err
	}
	loaded.Add(queued...)
	s.mu.Lock()
	s.given[document] = loaded.LastSeq()
	s.mu.Unlock()
	return loaded, answered, nil
}

// barrier tells, in its turn among the senders, when the document's operations are as durable as wanted and their
// senders know it, or that they will never be. The caller holds mu.
func (s *shard) barrier(document string) <-chan error {
	answered := make(chan error, 1)
	last := &item{done: func(err error) { answered <- err }, barrier: true}
	waiting := s.answering
	for _, i := range s.unanswered {
		if i.entry.Document == document {
			waiting, last.counter = true, max(last.counter, i.counter)
		}
	}
	if waiting {
		s.unanswered = append(s.unanswered, last)
		s.answer()
	} else {
		answered <- nil
	}
	return answered
}

// Flush implements storage.Flusher. The log does not keep what PostgreSQL has, so that no later owner finds it there.
func (s *shard) Flush(ctx context.Context, document string) error {
	done := make(chan error, 1)
	s.loads.RLock() // What is held has no counter.
	s.mu.Lock()
	err, last := s.err, int64(0)
	for _, waiting := range s.queue {
		if waiting.entry.Document == document {
			last = waiting.counter
		}
	}
	if last > 0 && err == nil {
		s.flushes = append(s.flushes, flush{last, done})
	} else {
		done <- err
	}
	s.mu.Unlock()
	s.loads.RUnlock()
	wake(s.store.wake)
	wake(s.store.hurry)
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("bring the document's last operations to postgres: %w", err)
	}
	s.trim(ctx)
	return nil
}

// WriteSnapshot implements storage.Shard.
func (s *shard) WriteSnapshot(ctx context.Context, document string, snapshot storage.Snapshot) error {
	s.mu.Lock()
	err, shifted := s.err, s.shift[document] > 0
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case shifted:
		return fmt.Errorf("%w: %s", storage.ErrOutdated, document)
	}
	start := time.Now()
	err = s.store.database.snapshot(ctx, s.lease, document, snapshot)
	switch {
	case errors.Is(err, storage.ErrFenced):
		s.end(err)
	case errors.Is(err, storage.ErrDeleted):
	case err != nil:
		s.store.metrics.Failed("postgres")
		if !refused(err) {
			err = fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
	default:
		s.store.metrics.Snapshot(time.Since(start))
	}
	return err
}

// Fenced implements storage.Shard.
func (s *shard) Fenced() <-chan struct{} { return s.fenced }

// Unflushed implements storage.Leaver.
func (s *shard) Unflushed() []storage.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

// OnOutdated implements storage.Finder.
func (s *shard) OnOutdated(outdated func(document string)) {
	s.mu.Lock()
	s.onOutdated = outdated
	s.mu.Unlock()
	wake(s.wakeWriter)
}

// Unload implements storage.Unloader.
func (s *shard) Unload(document string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.given, document)
	delete(s.shift, document)
}

// tellOutdated tells of documents that have to be loaded again.
func (s *shard) tellOutdated() {
	s.mu.Lock()
	tell, documents := s.onOutdated, s.outdated
	if tell != nil {
		s.outdated = nil
	}
	s.mu.Unlock()
	if tell == nil {
		return
	}
	for _, document := range documents {
		tell(document)
	}
}

// Close implements storage.Shard.
func (s *shard) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.err == nil {
		s.err = storage.ErrClosed
	}
	s.checkFlushed()
	s.mu.Unlock()
	wake(s.store.wake)
	wake(s.store.hurry)

	var err error
	select {
	case <-s.flushed:
		s.trim(ctx)
	case <-s.fenced:
		err = storage.ErrFenced
	case <-ctx.Done():
		err = fmt.Errorf("not all operations reached postgres: %w", ctx.Err())
	}
	s.cancel()
	s.wait.Wait()
	s.mu.Lock()
	s.abandon()
	s.mu.Unlock()
	s.answers.Wait()
	s.store.forget(s)
	return err
}

// checkFlushed closes flushed when it is time. The caller holds mu.
func (s *shard) checkFlushed() {
	if s.err == nil || s.ended || len(s.queue) > 0 || len(s.held) > 0 {
		return
	}
	select {
	case <-s.flushed:
	default:
		close(s.flushed)
	}
}

// trim takes what PostgreSQL has off the log at once, so that the next owner need not read it.
func (s *shard) trim(ctx context.Context) {
	s.mu.Lock()
	drained, trimmed := s.drained, s.trimmed
	s.mu.Unlock()
	if s.synced.Load() && !s.redisDown.Load() && drained > trimmed {
		_, _ = s.store.log.append(ctx, s.lease, drained, nil)
	}
}

// end stops the shard because it is fenced.
func (s *shard) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, storage.ErrFenced) || s.ended {
		return
	}
	s.err = storage.ErrFenced
	for _, kept := range slices.Concat(s.queue, s.held) {
		s.left = append(s.left, kept.entry)
	}
	s.logger.Info("The shard belongs to a newer owner: it takes nothing anymore", "unflushed", len(s.left), "cause", err)
	s.store.metrics.Fenced()
	s.abandon()
	s.cancel()
	close(s.fenced)
}

// abandon gives up what PostgreSQL lacks. The caller holds mu.
func (s *shard) abandon() {
	s.store.count(s.queue, -1)
	s.queue, s.held, s.heldBytes, s.ended = nil, nil, 0, true
	for _, f := range s.flushes {
		f.done <- s.err
	}
	s.flushes = nil
	s.answer()
}

// write is the writer.
func (s *shard) write(ctx context.Context) {
	var retry, idle <-chan time.Time // Set while Redis is left alone, and while only trimming is to be done.
	for ctx.Err() == nil {
		s.tellOutdated()
		appending, trimming := s.pending()
		if retry == nil && appending {
			idle = nil
			if s.appendGroup(ctx) {
				continue
			}
			retry = time.After(s.store.pauses.redis)
		}
		if trimming && idle == nil {
			idle = time.After(s.store.pauses.trim)
		}
		select {
		case <-s.wakeWriter:
		case <-retry:
			retry = nil
		case <-idle:
			idle = nil
			if retry == nil && trimming {
				s.appendGroup(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// pending says whether the log is to be fenced or appended to, and whether it is to be trimmed.
func (s *shard) pending() (appending, trimming bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.synced.Load() || max(s.sent, s.drained) < s.next, s.trimmed < s.drained || len(s.missed) > 0
}

// unsent is the next group for the log, and up to where PostgreSQL has everything.
func (s *shard) unsent() (drained int64, group []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.sent, s.drained)
	if len(s.queue) == 0 {
		return s.drained, nil
	}
	// Counters in the queue follow each other, so that the position follows from them.
	from := int(s.sent-s.queue[0].counter) + 1
	to, bytes := from, 0
	for to < len(s.queue) && to < from+groupSize && bytes < groupBytes {
		bytes += len(s.queue[to].record)
		to++
	}
	return s.drained, slices.Clone(s.queue[from:to])
}

// appendGroup commits a group to the log and trims it, and says whether Redis is of use.
func (s *shard) appendGroup(ctx context.Context) bool {
	if !s.synced.Load() {
		return s.syncAgain(ctx)
	}
	start := time.Now()
	drained, group := s.unsent()
	durable, err := s.store.log.append(ctx, s.lease, drained, group)
	var gap gapError
	switch {
	case err == nil:
		if len(group) > 0 {
			s.store.metrics.Appended(time.Since(start))
			s.setRedisDown(!durable, errors.New("no replica received the last append in time"))
		}
		s.appended(drained, group, durable)
		s.publishMissed(ctx)
		return true
	case errors.Is(err, storage.ErrFenced):
		s.end(err)
		return true
	case errors.As(err, &gap):
		s.logger.Warn("Redis lost the end of the log in a fail-over; appending it again", "after", gap.last)
		s.rewind(gap.last)
		return true
	case errors.Is(err, errStale):
		s.logger.Warn("Redis lost the shard's term in a fail-over; fencing the shard again")
		return s.syncAgain(ctx)
	case ctx.Err() == nil:
		s.store.metrics.Failed("redis")
		s.setRedisDown(true, err)
	}
	return false
}

// syncAgain fences a log that is not fenced, and says whether Redis is of use.
func (s *shard) syncAgain(ctx context.Context) bool {
	s.synced.Store(false)
	err := s.store.database.confirm(ctx, s.lease)
	if err == nil {
		err = s.sync(ctx)
	}
	switch {
	case err == nil:
		s.setRedisDown(false, nil)
		s.rewind(0)
		return true
	case errors.Is(err, storage.ErrFenced):
		s.end(err)
		return true
	case ctx.Err() == nil:
		s.setRedisDown(true, err)
	}
	return false
}

// OnPublishing implements storage.Publisher.
func (s *shard) OnPublishing(changed func(works bool)) {
	s.turns.Lock()
	defer s.turns.Unlock()
	s.onPublishing = changed
	if s.redisDown.Load() {
		changed(false)
	}
}

// setRedisDown logs the change once.
func (s *shard) setRedisDown(down bool, cause error) {
	s.turns.Lock()
	defer s.turns.Unlock()
	if s.redisDown.Swap(down) == down {
		return
	}
	if s.onPublishing != nil {
		s.onPublishing(!down)
	}
	if down {
		s.logger.Warn("The log in Redis cannot be used; writing to PostgreSQL directly", "error", cause)
		wake(s.store.hurry)
	} else {
		s.logger.Info("The log in Redis can be used again")
	}
}

func (s *shard) appended(drained int64, group []*item, durable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimmed = max(s.trimmed, drained)
	if len(group) == 0 {
		return
	}
	counter := group[len(group)-1].counter
	s.sent = max(s.sent, counter)
	if durable {
		s.durable = max(s.durable, counter)
		s.answer()
	}
}

// publishMissed tells subscribers that they have missed operations, which went to PostgreSQL while Redis was down.
func (s *shard) publishMissed(ctx context.Context) {
	s.mu.Lock()
	missed := s.missed
	s.missed = map[string]struct{}{}
	s.mu.Unlock()
	if len(missed) == 0 || s.store.log.publishMissed(ctx, slices.Collect(maps.Keys(missed))) == nil {
		return
	}
	// The next append tries again.
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.missed, missed)
}

// rewind makes the writer append again what follows the counter.
func (s *shard) rewind(counter int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.drained, counter)
}

// undrained is what comes next for PostgreSQL, within bounds, and whether somebody waits for it.
func (s *shard) undrained(operations, bytes int) (items []*item, hurry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.queue) && n < operations && bytes > 0 {
		bytes -= len(s.queue[n].record)
		n++
	}
	return slices.Clone(s.queue[:n]), s.hurried()
}

// stored takes what PostgreSQL has off the queue.
func (s *shard) stored(items []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	for _, i := range items {
		if i.entry.Publish && i.counter > s.sent {
			s.missed[i.entry.Document] = struct{}{}
		}
	}
	s.store.count(items, -1)
	clear(s.queue[:len(items)])
	s.queue = s.queue[len(items):]
	s.drained = items[len(items)-1].counter
	s.flushes = slices.DeleteFunc(s.flushes, func(f flush) bool {
		if f.counter > s.drained {
			return false
		}
		f.done <- nil
		return true
	})
	s.checkFlushed()
	s.answer()
	wake(s.wakeWriter)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
