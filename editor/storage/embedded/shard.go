package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"collab.dev/operator/editor/storage"
)

// shard is an open shard. Its operations wait in the Store's queue.
type shard struct {
	store  *Store
	number int32
	epoch  int64
	fenced chan struct{}
	// answers are the goroutines that tell what became of operations.
	answers sync.WaitGroup

	mu sync.Mutex
	// unanswered is what was appended, in order, and whose senders wait to be told. waiting counts what is in the Store's
	// queue.
	unanswered []*item
	waiting    int
	answering  bool
	// abandoned says that all senders were told that their operations may not be stored.
	abandoned bool
	// err says why nothing is taken anymore; flushed is closed when nothing waits then.
	err     error
	flushed chan struct{}
}

func newShard(store *Store, number int32, epoch int64) *shard {
	return &shard{
		store: store, number: number, epoch: epoch, fenced: make(chan struct{}), flushed: make(chan struct{}),
	}
}

// Append implements storage.Shard.
func (s *shard) Append(entry storage.Entry, done func(error)) {
	entry.User, entry.Origin = storage.Text(entry.User), storage.Text(entry.Origin)
	added := &item{shard: s, entry: entry, done: done}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unanswered = append(s.unanswered, added)
	err := s.err
	if err == nil {
		err = storage.CheckEntry(entry)
	}
	if err == nil {
		err = s.store.enqueue(added)
	}
	if err != nil {
		added.settled, added.err = true, err
		s.answer()
		return
	}
	s.waiting++
}

// enqueue lets an item be committed, unless too much of its sort waits already: snapshots must not keep operations
// out. A snapshot may be larger than the buffer.
func (s *Store) enqueue(added *item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch size := added.size(); {
	case added.snapshot != nil && s.snapshots > 0 && s.snapshots+size > s.options.BufferBytes:
		return storage.ErrOverloaded
	case added.snapshot == nil && s.operations+size > s.options.BufferBytes:
		s.options.Metrics.Refused()
		return storage.ErrOverloaded
	}
	s.queue = append(s.queue, added)
	s.count(1, added)
	poke(s.wake)
	if added.snapshot != nil || s.operations > s.options.BufferBytes/4 {
		poke(s.hurry)
	}
	return nil
}

// poke makes a channel have a value.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settle says what became of an item, once.
func (s *shard) settle(i *item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.snapshot != nil {
		// Not by the goroutine that answers: it may wait for a lock of whoever waits for the snapshot.
		i.done(err)
		i.settled = true
	}
	if !i.settled {
		i.settled, i.err = true, err
	}
}

// told lets senders be told of the items that were settled. Close must not come between: it waits for those who tell.
func (s *shard) told(items int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= items
	if !s.abandoned {
		s.answer()
	}
	s.checkFlushed()
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
			n := 0
			for n < len(s.unanswered) && s.unanswered[n].settled {
				n++
			}
			answers := s.unanswered[:n:n]
			s.unanswered = s.unanswered[n:]
			s.answering = n > 0
			s.mu.Unlock()
			if n == 0 {
				return
			}
			for _, a := range answers {
				a.done(a.err)
			}
		}
	})
}

// Load implements storage.Shard.
func (s *shard) Load(ctx context.Context, document string) (doc storage.Document, err error) {
	start := time.Now()
	if err := s.answered(ctx, document); err != nil {
		return storage.Document{}, err
	}
	err = s.store.view(document, func(tx *bolt.Tx) error {
		if err := living(tx, document); err != nil {
			return err
		}
		var after int64
		if doc.Snapshot = readSnapshot(tx, document); doc.Snapshot != nil {
			after = doc.Snapshot.Seq
		}
		doc.Tail, err = readOperations(tx, document, after, 0)
		return err
	})
	if errors.Is(err, storage.ErrDeleted) {
		return storage.Document{}, err
	}
	if err != nil {
		s.store.options.Metrics.Failed("disk")
		return storage.Document{}, fmt.Errorf("read the document: %w", err)
	}
	s.store.options.Metrics.Loaded(time.Since(start))
	return doc, nil
}

// answered waits until the document's operations are committed and their senders know it. It fails if the shard takes
// nothing anymore.
func (s *shard) answered(ctx context.Context, document string) error {
	told := make(chan struct{})
	s.mu.Lock()
	if s.answering || slices.ContainsFunc(s.unanswered, func(i *item) bool { return i.entry.Document == document }) {
		s.unanswered = append(s.unanswered, &item{settled: true, done: func(error) { close(told) }})
		s.answer()
		poke(s.store.hurry)
	} else {
		close(told)
	}
	s.mu.Unlock()
	select {
	case <-told:
	case <-ctx.Done():
		return fmt.Errorf("wait for the document's last operations: %w", ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// WriteSnapshot implements storage.Shard. It fails with ErrOverloaded while too many snapshots wait.
func (s *shard) WriteSnapshot(ctx context.Context, document string, snapshot storage.Snapshot) error {
	if err := storage.CheckName(document); err != nil {
		return err
	}
	start := time.Now()
	result := make(chan error, 1)
	added := &item{
		shard: s, entry: storage.Entry{Document: document}, snapshot: &snapshot, done: func(err error) { result <- err },
	}
	s.mu.Lock()
	err := s.err
	if err == nil {
		if err = s.store.enqueue(added); err == nil {
			s.waiting++
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err = <-result:
	case <-s.store.ended:
		return storage.ErrClosed
	case <-ctx.Done():
		s.store.withdraw(added)
		return fmt.Errorf("store the snapshot: %w", ctx.Err())
	}
	if err == nil {
		s.store.options.Metrics.Snapshot(time.Since(start))
	}
	return err
}

// Flush implements storage.Flusher.
func (s *shard) Flush(ctx context.Context, document string) error { return s.answered(ctx, document) }

// Fenced implements storage.Shard.
func (s *shard) Fenced() <-chan struct{} { return s.fenced }

// end stops the shard because it was opened anew.
func (s *shard) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == storage.ErrFenced { //nolint:errorlint // It is set nowhere else.
		return
	}
	s.err = storage.ErrFenced
	close(s.fenced)
	s.store.options.Metrics.Fenced()
	s.checkFlushed()
}

// checkFlushed closes flushed when it is time. The caller holds mu.
func (s *shard) checkFlushed() {
	if s.err == nil || s.waiting > 0 {
		return
	}
	select {
	case <-s.flushed:
	default:
		close(s.flushed)
	}
}

// Close implements storage.Shard.
func (s *shard) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.err == nil {
		s.err = storage.ErrClosed
	}
	fenced := s.err == storage.ErrFenced //nolint:errorlint // It is set nowhere else.
	s.checkFlushed()
	s.mu.Unlock()
	poke(s.store.hurry)
	var err error
	select {
	case <-s.flushed:
	case <-ctx.Done():
		err = fmt.Errorf("not all operations reached the disk: %w", ctx.Err())
		s.abandon()
	}
	s.answers.Wait()
	s.store.forget(s)
	if fenced && err == nil {
		err = storage.ErrFenced
	}
	return err
}

// abandon tells all who wait that their operations may not be stored. They may be nevertheless.
func (s *shard) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abandoned = true
	for _, waiting := range s.unanswered {
		if !waiting.settled {
			waiting.settled, waiting.err = true, s.err
		}
	}
	s.answer()
}
