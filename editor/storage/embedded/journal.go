package embedded

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"collab.dev/operator/editor/storage/internal/record"
)

const (
	// spreadAfter and spreadBytes are when the journal's operations are put where they belong: some time after the first of
	// them was committed, or when they are many.
	spreadAfter = time.Second
	spreadBytes = 4 << 20
	// journaledBytes bounds an operation that goes into the journal: a large one fills pages of its own anyway.
	journaledBytes = 1024
)

// journal knows what is in the bucket of that name: operations in the order in which they were committed. There those of
// many documents take a page after the other, while each document's have a page of their own, which would be written anew
// for every one that is typed. Once a second all are put there together. Whoever reads a document before has that done
// first, so that nobody but this file knows of the journal.
type journal struct {
	after time.Duration // The constant spreadAfter.
	// writing is held from the begin of a transaction that writes until what the other fields say is true of it. Who holds
	// it has record and runs, in which operations are encoded, to themselves.
	writing      sync.Mutex
	record, runs []byte

	mu        sync.Mutex
	documents map[string]struct{}
	bytes     int
	since     time.Time
}

func newJournal(after time.Duration) *journal {
	return &journal{after: after, documents: map[string]struct{}{}}
}

// has says whether operations of a document, or of any if it is empty, are in the bucket.
func (j *journal) has(document string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if document == "" {
		return len(j.documents) > 0
	}
	_, ok := j.documents[document]
	return ok
}

// due says when the bucket is to be emptied, and whether there is something in it.
func (j *journal) due() (at time.Time, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bytes > spreadBytes {
		return time.Time{}, true
	}
	return j.since.Add(j.after), len(j.documents) > 0
}

func (j *journal) add(noted []*item) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.documents) == 0 {
		j.since = time.Now()
	}
	for _, i := range noted {
		j.documents[i.entry.Document] = struct{}{}
		j.bytes += len(i.entry.Update)
	}
}

func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.documents)
	j.bytes, j.record, j.runs = 0, nil, nil // Who is idle gives memory back.
}

// view runs a transaction that reads what there is of a document, or of all if it is empty.
func (s *Store) view(document string, do func(*bolt.Tx) error) error {
	if s.journal.has(document) {
		if err := s.update(func(*bolt.Tx) error { return nil }); err != nil {
			return err
		}
	}
	return s.db.View(do)
}

// update runs a transaction that writes. It finds the journal empty.
func (s *Store) update(do func(*bolt.Tx) error) error {
	return s.transact(true, func(tx *bolt.Tx) ([]*item, error) { return nil, do(tx) })
}

// transact runs a transaction that writes, and says what it noted. Before that it empties the journal, if it is to.
func (s *Store) transact(empty bool, do func(*bolt.Tx) (noted []*item, err error)) error {
	s.journal.writing.Lock()
	defer s.journal.writing.Unlock()
	var noted []*item
	err := s.db.Update(func(tx *bolt.Tx) (err error) {
		if empty {
			if err := spread(tx); err != nil {
				return err
			}
		}
		noted, err = do(tx)
		return err
	})
	if err != nil {
		return err
	}
	if empty {
		s.journal.clear()
	}
	s.journal.add(noted)
	return nil
}

// note puts operations into the bucket, in runs: a key of its own for each would cost more than the operation.
func (j *journal) note(tx *bolt.Tx, noted []*item) error {
	bucket := tx.Bucket(bucketJournal)
	bucket.FillPercent = 1 // It grows at its end only.
	put := func(run []byte) error {
		number, err := bucket.NextSequence()
		if err != nil {
			return err
		}
		return bucket.Put(binary.BigEndian.AppendUint64(nil, number), run)
	}
	run, size := j.runs[:0], 0
	for _, i := range noted {
		j.record = record.Append(j.record[:0], i.entry)
		if len(run) > 0 && !fits(run, j.record) {
			if err := put(run); err != nil {
				return err
			}
			size += len(run)
			run = run[len(run):]
		}
		run = record.AppendRun(run, j.record)
	}
	// The next commit is about as large. The bucket keeps this one's until the end of the transaction.
	j.runs = slices.Grow(j.runs[:0], size+len(run))
	if len(run) == 0 {
		return nil
	}
	return put(run)
}

// spread puts what is in the journal where it belongs.
func spread(tx *bolt.Tx) error {
	bucket := tx.Bucket(bucketJournal)
	cursor := bucket.Cursor()
	key, value := cursor.First()
	if key == nil {
		return nil
	}
	to := newPlacer(tx)
	for ; key != nil; key, value = cursor.Next() {
		for stored := range record.Records(value) {
			e, err := record.Peek(stored)
			if err != nil {
				return fmt.Errorf("run %d of the journal: %w", binary.BigEndian.Uint64(key), err)
			}
			if err := to.place(e, stored); err != nil {
				return err
			}
		}
	}
	if err := to.finish(); err != nil {
		return err
	}
	if err := tx.DeleteBucket(bucketJournal); err != nil {
		return err
	}
	_, err := tx.CreateBucket(bucketJournal)
	return err
}
