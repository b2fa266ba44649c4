package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"collab.dev/operator/editor/storage/internal/record"
)

const (
	// tidyInterval is the time between two looks at what the history's retention does not keep.
	tidyInterval = time.Hour
	// tidyBatch bounds what is deleted in one transaction, so that operations need not wait long.
	tidyBatch = 2000
)

// tidy is the janitor: it drops what is older than the retention, now and then until ctx ends.
func (s *Store) tidy(ctx context.Context) {
	for {
		if err := s.dropHistory(ctx); err != nil && ctx.Err() == nil {
			s.options.Metrics.Failed("disk")
			s.logger.Warn("The old history could not be dropped; trying again", "in", tidyInterval, "error", err)
		}
		pause(ctx, tidyInterval)
		if ctx.Err() != nil {
			return
		}
	}
}

// dropHistory drops the operations that are older than the retention and that the newest snapshots contain, the bases
// that nothing can be replayed from anymore, and the names of documents that were purged before.
func (s *Store) dropHistory(ctx context.Context) error {
	cutoff := s.options.Now().Add(-s.options.History.Retention)
	if err := s.forgetPurged(cutoff); err != nil {
		return fmt.Errorf("forget purged documents: %w", err)
	}
	for document := []byte(nil); ctx.Err() == nil; {
		// One document after the other, so that nothing is kept in memory. What is in the journal is not old.
		err := s.db.View(func(tx *bolt.Tx) error {
			cursor := tx.Bucket(bucketSnapshots).Cursor()
			key, _ := cursor.Seek(document)
			if bytes.Equal(key, document) {
				key, _ = cursor.Next()
			}
			document = bytes.Clone(key)
			return nil
		})
		if err != nil {
			return err
		}
		if document == nil {
			return nil
		}
		for more := true; more && ctx.Err() == nil; {
			if more, err = s.dropBefore(string(document), cutoff); err != nil {
				return fmt.Errorf("drop the history of %q: %w", document, err)
			}
		}
	}
	return ctx.Err()
}

// forgetPurged forgets the names of documents that were purged before a time.
func (s *Store) forgetPurged(cutoff time.Time) error {
	var old [][]byte
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketPurged).ForEach(func(document, at []byte) error {
			if time.UnixMicro(integer(at)).Before(cutoff) && len(old) < tidyBatch {
				old = append(old, bytes.Clone(document))
			}
			return nil
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return s.update(func(tx *bolt.Tx) error {
		for _, document := range old {
			if err := tx.Bucket(bucketPurged).Delete(document); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropBefore drops a bounded part of a document's history, and says whether there is more.
func (s *Store) dropBefore(document string, cutoff time.Time) (more bool, err error) {
	due := false
	err = s.db.View(func(tx *bolt.Tx) error {
		key, value := tx.Bucket(bucketOperations).Cursor().Seek(numbered(document, 0))
		if _, ok := numberOf(key, document); ok {
			var last int64
			last, _, err = droppable(tx, document, cutoff)(value)
			due = last > 0
		}
		return err
	})
	if err != nil || !due {
		return false, err
	}
	err = s.update(func(tx *bolt.Tx) error {
		operations, drop, end := tx.Bucket(bucketOperations), droppable(tx, document, cutoff), readEnd(tx, document)
		var rest []byte
		var bad error
		runs, err := deleteNumbered(operations, document, func(_ int64, run []byte) bool {
			if rest != nil {
				return false
			}
			var last int64
			last, rest, bad = drop(run)
			end.dropped = max(end.dropped, last)
			return last > 0
		}, tidyBatch)
		if err != nil || bad != nil || len(runs) == 0 {
			return errors.Join(err, bad)
		}
		if rest != nil {
			if err := operations.Put(numbered(document, runs[len(runs)-1]), rest); err != nil {
				return err
			}
		}
		more = len(runs) == tidyBatch
		_, err = deleteNumbered(tx.Bucket(bucketBases), document, func(seq int64, _ []byte) bool {
			return seq < end.dropped
		}, -1)
		if err != nil {
			return err
		}
		return tx.Bucket(bucketEnds).Put([]byte(document), end.encode())
	})
	return more, err
}

// droppable says up to which operation of a run, if any, all are old enough and in the newest snapshot, and what the
// rest of the run is, if there is one.
func droppable(tx *bolt.Tx, document string, cutoff time.Time) func(run []byte) (last int64, rest []byte, err error) {
	var covered int64
	if b := tx.Bucket(bucketSnapshots).Get([]byte(document)); len(b) >= 8 {
		covered = integer(b)
	}
	return func(run []byte) (last int64, rest []byte, err error) {
		for stored := range record.Records(run) {
			e, err := record.Peek(stored)
			switch {
			case err != nil:
				return 0, nil, err
			case rest == nil && e.Seq <= covered && e.Time.Before(cutoff):
				last = e.Seq
			case last == 0:
				return 0, nil, nil
			default:
				rest = record.AppendRun(rest, stored)
			}
		}
		return last, rest, nil
	}
}

// Tidy drops the history that is older than the retention. A Store does so by itself every hour.
func (s *Store) Tidy(ctx context.Context) error { return s.dropHistory(ctx) }
