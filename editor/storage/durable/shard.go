package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"collab.dev/operator/editor/storage"
)

const (
	// groupSize bounds how many operations are committed to the log at once, and batchSize how many are drained.
	groupSize = 256
	batchSize = 1000
	// drainPause is how long operations gather before they are drained, so that PostgreSQL sees batches.
	drainPause = 100 * time.Millisecond
	// redisPause is how long Redis is left alone after it failed; PostgreSQL is written to directly meanwhile.
	redisPause = 500 * time.Millisecond
	// databasePause is how long PostgreSQL is left alone after it failed.
	databasePause = 250 * time.Millisecond
)

// item is an operation that PostgreSQL lacks or whose sender does not know yet that it is stored.
type item struct {
	entry   storage.Entry
	record  []byte
	counter int64
	done    func(error)
}

// shard is an open shard. Two goroutines work on it: the writer appends to the log and acknowledges, the drainer writes
// to PostgreSQL and trims the log. They wake each other, and each does the other's part of the duty while it fails.
type shard struct {
	store  *Store
	number int32
	epoch  int64
	logger *slog.Logger

	cancel      context.CancelFunc
	wait        sync.WaitGroup
	wakeWriter  chan struct{}
	wakeDrainer chan struct{}
	fenced      chan struct{}
	// redisDown makes the drainer hurry and leave the log untrimmed.
	redisDown atomic.Bool
	// synced says that the log is fenced and that what former owners left in it is in PostgreSQL. Nothing is appended
	// to it or trimmed from it before.
	synced atomic.Bool

	mu sync.Mutex
	// queue is what PostgreSQL lacks, unacked what has not been acknowledged, both in the order of their counters.
	queue, unacked []*item
	// next is the last counter given out. The log has everything up to sent that PostgreSQL lacks, as durable as wanted
	// up to durable; PostgreSQL has everything up to drained.
	next, sent, durable, drained int64
	// shift is how far the numbers of a document's operations are ahead of those that its owner gives them, because
	// operations of a former owner were found after the document was loaded.
	shift map[string]int64
	// err says why nothing is taken anymore.
	err error
	// empty is closed, if there is one, when queue is.
	empty chan struct{}
}

func newShard(store *Store, number int32, epoch int64) *shard {
	return &shard{
		store:       store,
		number:      number,
		epoch:       epoch,
		logger:      store.logger.With("shard", number, "epoch", epoch),
		wakeWriter:  make(chan struct{}, 1),
		wakeDrainer: make(chan struct{}, 1),
		fenced:      make(chan struct{}),
		shift:       map[string]int64{},
	}
}

func (s *shard) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wait.Go(func() { s.write(ctx) })
	s.wait.Go(func() { s.drain(ctx) })
}

// fence raises the epoch in Redis and adopts what owners of lower epochs than below left in the log; of all epochs if
// below is 0.
func (s *shard) fence(ctx context.Context, below int64) error {
	s.synced.Store(false)
	counter, err := s.store.log.fence(ctx, s.number, s.epoch)
	if err != nil {
		return err
	}
	entries, bad, err := s.store.log.read(ctx, s.number, below)
	if err != nil {
		return err
	}
	if bad > 0 {
		s.logger.Error("The log holds records that cannot be read; they are skipped", "records", bad)
	}
	// Nothing may be appended meanwhile: it could get the number of an operation that is adopted.
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(entries) > 0 {
		adopted, err := s.store.database.adopt(ctx, s.number, s.epoch, entries, s.lastSeq)
		if err != nil {
			return err
		}
		for document, n := range adopted {
			s.shift[document] += n
		}
		if len(adopted) > 0 {
			s.logger.Info("Stored what a former owner had left in the log", "documents", len(adopted))
		}
	}
	if below == 0 {
		s.next, s.sent, s.durable, s.drained = counter, counter, counter, counter
		clear(s.shift)
	}
	s.synced.Store(true)
	return nil
}

// lastSeq is the highest number that is given out in the queue for the document. The caller holds mu.
func (s *shard) lastSeq(document string) int64 {
	var last int64
	for _, queued := range s.queue {
		if queued.entry.Document == document {
			last = max(last, queued.entry.Seq)
		}
	}
	return last
}

// Append implements storage.Shard.
func (s *shard) Append(entry storage.Entry, done func(error)) {
	s.mu.Lock()
	err := s.err
	if err == nil && s.store.buffered.Load()+int64(len(entry.Update)) > s.store.limit {
		err = storage.ErrOverloaded
	}
	if err != nil {
		s.mu.Unlock()
		go done(err)
		return
	}
	entry.Seq += s.shift[entry.Document]
	s.next++
	added := &item{entry: entry, record: encodeRecord(entry), counter: s.next, done: done}
	s.queue = append(s.queue, added)
	s.unacked = append(s.unacked, added)
	s.store.buffered.Add(int64(len(added.record)))
	s.mu.Unlock()
	wake(s.wakeWriter)
	wake(s.wakeDrainer)
}

// Load implements storage.Shard.
func (s *shard) Load(ctx context.Context, document string) (storage.Document, error) {
	// The queue first: what is drained in between is then found twice rather than not at all.
	s.mu.Lock()
	err := s.err
	var queued []storage.Entry
	for _, waiting := range s.queue {
		if waiting.entry.Document == document {
			queued = append(queued, waiting.entry)
		}
	}
	delete(s.shift, document)
	s.mu.Unlock()
	if err != nil {
		return storage.Document{}, err
	}
	loaded, err := s.store.database.load(ctx, s.number, document)
	if err != nil {
		return storage.Document{}, err
	}
	stored := map[int64]bool{}
	for _, e := range loaded.Tail {
		stored[e.Seq] = true
	}
	for _, e := range queued {
		if !stored[e.Seq] && (loaded.Snapshot == nil || e.Seq > loaded.Snapshot.Seq) {
			loaded.Tail = append(loaded.Tail, e)
		}
	}
	slices.SortFunc(loaded.Tail, func(a, b storage.Entry) int { return int(a.Seq - b.Seq) })
	return loaded, nil
}

// WriteSnapshot implements storage.Shard. It refuses the snapshot of a document that lacks operations of a former owner
// that were found after it was loaded.
func (s *shard) WriteSnapshot(ctx context.Context, document string, snapshot storage.Snapshot) error {
	s.mu.Lock()
	err, shifted := s.err, s.shift[document] > 0
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case shifted:
		return fmt.Errorf("document %s has to be loaded again before it can be snapshotted", document)
	}
	err = s.store.database.snapshot(ctx, s.number, s.epoch, document, snapshot)
	if errors.Is(err, storage.ErrFenced) {
		s.end(err)
	}
	return err
}

// Fenced implements storage.Shard.
func (s *shard) Fenced() <-chan struct{} { return s.fenced }

// Close implements storage.Shard.
func (s *shard) Close(ctx context.Context) error {
	s.mu.Lock()
	empty := make(chan struct{})
	if s.err == nil {
		s.err = storage.ErrClosed
	}
	if len(s.queue) == 0 || errors.Is(s.err, storage.ErrFenced) {
		close(empty)
	} else {
		s.empty = empty
	}
	s.mu.Unlock()
	wake(s.wakeDrainer)

	var err error
	select {
	case <-empty:
	case <-s.fenced:
		err = storage.ErrFenced
	case <-ctx.Done():
		err = fmt.Errorf("not all operations reached postgres: %w", ctx.Err())
	}
	s.cancel()
	s.wait.Wait()
	s.acknowledge()
	s.abandon(storage.ErrClosed)
	s.store.forget(s)
	return err
}

// end stops the shard because it is fenced.
func (s *shard) end(err error) {
	s.mu.Lock()
	first := !errors.Is(s.err, storage.ErrFenced)
	s.err = err
	s.mu.Unlock()
	if first {
		s.logger.Info("The shard belongs to a newer owner: it takes nothing anymore")
		close(s.fenced)
	}
	s.cancel()
	s.abandon(err)
}

// abandon tells all who wait that their operations may not be stored.
func (s *shard) abandon(err error) {
	s.mu.Lock()
	unacked := s.unacked
	s.unacked = nil
	for _, lost := range s.queue {
		s.store.buffered.Add(-int64(len(lost.record)))
	}
	s.queue = nil
	s.mu.Unlock()
	for _, waiting := range unacked {
		waiting.done(err)
	}
}

// acknowledge tells those whose operations are stored. Only the writer calls it, so that they are told in order.
func (s *shard) acknowledge() {
	s.mu.Lock()
	safe := s.drained
	if s.store.durability != Postgres {
		safe = max(safe, s.durable)
	}
	n := 0
	for n < len(s.unacked) && s.unacked[n].counter <= safe {
		n++
	}
	stored := s.unacked[:n]
	s.unacked = s.unacked[n:]
	s.mu.Unlock()
	for _, waiting := range stored {
		waiting.done(nil)
	}
}

// write is the writer.
func (s *shard) write(ctx context.Context) {
	var retry <-chan time.Time // set while Redis is left alone
	for {
		s.acknowledge()
		drained, group := s.unsent()
		if len(group) > 0 && retry == nil {
			if s.appendGroup(ctx, drained, group) {
				continue
			}
			retry = time.After(redisPause)
			wake(s.wakeDrainer)
		}
		select {
		case <-s.wakeWriter:
		case <-retry:
			retry = nil
		case <-ctx.Done():
			return
		}
	}
}

// unsent is the next group for the log, and up to where PostgreSQL has everything.
func (s *shard) unsent() (drained int64, group []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.sent, s.drained)
	// Counters in the queue follow each other, so that the position follows from them.
	if len(s.queue) == 0 {
		return s.drained, nil
	}
	from := max(0, int(s.sent-s.queue[0].counter)+1)
	to := min(len(s.queue), from+groupSize)
	if from >= to {
		return s.drained, nil
	}
	return s.drained, slices.Clone(s.queue[from:to])
}

// appendGroup commits a group to the log and says whether Redis is of use.
func (s *shard) appendGroup(ctx context.Context, drained int64, group []*item) bool {
	if !s.synced.Load() {
		return s.fenceAgain(ctx)
	}
	records := make([][]byte, len(group))
	for i, member := range group {
		records[i] = member.record
	}
	durable, err := s.store.log.append(ctx, s.number, s.epoch, drained, group[0].counter, records)
	var gap gapError
	switch {
	case err == nil:
		s.appended(group[len(group)-1].counter, durable)
		s.setRedisDown(!durable, errors.New("no replica received the last append in time"))
		return true
	case errors.Is(err, storage.ErrFenced):
		s.end(err)
		return true
	case errors.As(err, &gap):
		s.logger.Warn("Redis lost the end of the log in a fail-over; appending it again", "after", gap.last)
		s.rewind(gap.last)
		return true
	case errors.Is(err, errStale):
		s.logger.Warn("Redis lost the shard's epoch in a fail-over; fencing the shard again")
		return s.fenceAgain(ctx)
	}
	if ctx.Err() == nil {
		s.setRedisDown(true, err)
	}
	return false
}

// fenceAgain fences a log that has lost the epoch, and says whether Redis is of use.
func (s *shard) fenceAgain(ctx context.Context) bool {
	switch err := s.fence(ctx, s.epoch); {
	case err == nil:
		s.rewind(0)
		return true
	case errors.Is(err, storage.ErrFenced):
		s.end(err)
		return true
	default:
		if ctx.Err() == nil {
			s.setRedisDown(true, err)
		}
		return false
	}
}

// setRedisDown logs the change once.
func (s *shard) setRedisDown(down bool, cause error) {
	if s.redisDown.Swap(down) == down {
		return
	}
	if down {
		s.logger.Warn("Redis does not take operations; writing to PostgreSQL directly", "error", cause)
	} else {
		s.logger.Info("Redis takes operations again")
	}
}

func (s *shard) appended(counter int64, durable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.sent, counter)
	if durable {
		s.durable = max(s.durable, counter)
	}
}

// rewind makes the writer append again what follows the counter.
func (s *shard) rewind(counter int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.drained, counter)
}

// drain is the drainer.
func (s *shard) drain(ctx context.Context) {
	healthy := true
	for {
		batch, hurry := s.undrained()
		if len(batch) == 0 {
			select {
			case <-s.wakeDrainer:
				if !s.hurried() {
					pause(ctx, drainPause)
				}
			case <-ctx.Done():
				return
			}
			continue
		}
		entries := make([]storage.Entry, len(batch))
		for i, member := range batch {
			entries[i] = member.entry
		}
		err := s.store.database.insert(ctx, s.number, s.epoch, entries)
		switch {
		case errors.Is(err, storage.ErrFenced):
			s.end(err)
			return
		case ctx.Err() != nil:
			return
		case err != nil:
			if healthy {
				s.logger.Warn("PostgreSQL does not take operations; keeping them in the log", "error", err)
			}
			healthy = false
			pause(ctx, databasePause)
			continue
		case !healthy:
			s.logger.Info("PostgreSQL takes operations again")
			healthy = true
		}
		s.stored(batch)
		wake(s.wakeWriter)
		if !hurry {
			s.trim(ctx, batch[len(batch)-1].counter)
		}
	}
}

// hurried says whether somebody waits for PostgreSQL rather than for Redis.
func (s *shard) hurried() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.durability == Postgres || s.redisDown.Load() || s.err != nil || len(s.queue) >= batchSize
}

// undrained is the next batch for PostgreSQL, and whether Redis is to be left alone.
func (s *shard) undrained() (batch []*item, hurry bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queue[:min(len(s.queue), batchSize)]), s.redisDown.Load()
}

// stored takes a batch that PostgreSQL has off the queue.
func (s *shard) stored(batch []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil { // The shard has ended meanwhile.
		return
	}
	for _, member := range batch {
		s.store.buffered.Add(-int64(len(member.record)))
	}
	s.queue = slices.Clone(s.queue[len(batch):])
	s.drained = batch[len(batch)-1].counter
	if len(s.queue) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// trim shortens the log. A failure costs nothing but memory: the next one trims more, and the next owner skips what
// PostgreSQL has.
func (s *shard) trim(ctx context.Context, counter int64) {
	if !s.synced.Load() {
		return
	}
	err := s.store.log.trim(ctx, s.number, s.epoch, counter)
	if errors.Is(err, storage.ErrFenced) {
		s.end(err)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
