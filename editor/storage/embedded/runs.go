package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/internal/record"
)

// runBytes bounds a run of several operations. A few runs fill a page of the file: one that took several pages would be
// written again with whatever comes beside it.
const runBytes = 1024

// fits says whether a run may take a record.
func fits(run, stored []byte) bool {
	return len(run)+len(stored)+binary.MaxVarintLen16 <= runBytes
}

// placer puts operations where they belong: to those of their documents, in runs of consecutive ones. A run's key has
// the number of its last operation, so that the first run from a number on is the one that has it.
type placer struct {
	tx         *bolt.Tx
	operations *bolt.Bucket
	// documents are those of which there are operations, nil those that were purged.
	documents map[string]*placed
}

// placed is a document of which operations are placed.
type placed struct {
	document string
	end      end
	// run has the operations from first to last, which are not in the bucket yet.
	run         []byte
	first, last int64
}

func newPlacer(tx *bolt.Tx) *placer {
	p := &placer{tx: tx, operations: tx.Bucket(bucketOperations), documents: map[string]*placed{}}
	p.operations.FillPercent = 0.8 // Most documents are appended to.
	return p
}

// place puts one operation, which is stored as its record, unless its document was purged. It keeps nothing of either.
func (p *placer) place(e storage.Entry, stored []byte) error {
	to, ok := p.documents[e.Document]
	if !ok {
		e.Document = strings.Clone(e.Document)
		if !purged(p.tx, e.Document) {
			to = &placed{document: e.Document, end: readEnd(p.tx, e.Document)}
			if to.end == (end{}) {
				if err := createRecord(p.tx, e); err != nil {
					return err
				}
			}
		}
		p.documents[e.Document] = to
	}
	if to == nil {
		return nil
	}
	if len(to.run) == 0 || e.Seq != to.last+1 || !fits(to.run, stored) {
		size := len(to.run)
		if err := p.put(to); err != nil {
			return err
		}
		to.first, to.run = e.Seq, make([]byte, 0, min(size, runBytes)) // It will be about as large.
	}
	to.run = record.AppendRun(to.run, stored)
	to.last = e.Seq
	to.end.time = max(to.end.time, e.Time.UnixMicro())
	return nil
}

// put puts a document's run into the bucket.
func (p *placer) put(from *placed) error {
	if len(from.run) == 0 {
		return nil
	}
	if from.first <= from.end.seq {
		if err := p.cut(from.document, from.first, from.last); err != nil {
			return err
		}
	}
	from.end.seq = max(from.end.seq, from.last)
	run := from.run
	from.run = nil // The bucket keeps it until the end of the transaction.
	return p.operations.Put(numbered(from.document, from.last), run)
}

// cut takes the operations from first to last out of a document's runs: others have their numbers now.
func (p *placer) cut(document string, first, last int64) error {
	for {
		key, value := p.operations.Cursor().Seek(numbered(document, first))
		end, ok := numberOf(key, document)
		if !ok {
			return nil
		}
		var before, after []byte
		for stored := range record.Records(value) {
			switch e, err := record.Peek(stored); {
			case err != nil:
				return fmt.Errorf("the run up to operation %d: %w", end, err)
			case e.Seq < first:
				before = record.AppendRun(before, stored)
			case e.Seq > last:
				after = record.AppendRun(after, stored)
			}
		}
		err := p.operations.Delete(numbered(document, end))
		if err == nil && before != nil {
			err = p.operations.Put(numbered(document, first-1), before)
		}
		if err == nil && after != nil {
			err = p.operations.Put(numbered(document, end), after)
		}
		if err != nil || end >= last {
			return err
		}
	}
}

// finish is to be called after the last operation.
func (p *placer) finish() error {
	// What is next to each other is found faster.
	for _, document := range slices.Sorted(maps.Keys(p.documents)) {
		to := p.documents[document]
		if to == nil {
			continue
		}
		if err := p.put(to); err != nil {
			return err
		}
		if err := p.tx.Bucket(bucketEnds).Put([]byte(document), to.end.encode()); err != nil {
			return err
		}
		if err := markUntold(p.tx, document); err != nil {
			return err
		}
	}
	return nil
}

// readOperations reads the operations after one and, unless it is 0, up to another.
func readOperations(tx *bolt.Tx, document string, after, upTo int64) (entries []storage.Entry, err error) {
	c := tx.Bucket(bucketOperations).Cursor()
	for key, value := c.Seek(numbered(document, after+1)); key != nil; key, value = c.Next() {
		end, ok := numberOf(key, document)
		if !ok {
			break
		}
		for stored := range record.Records(bytes.Clone(value)) {
			e, err := record.Decode(stored)
			if err != nil {
				return nil, fmt.Errorf("the run up to operation %d: %w", end, err)
			}
			if upTo > 0 && e.Seq > upTo {
				return entries, nil
			}
			if e.Seq > after {
				entries = append(entries, e)
			}
		}
	}
	return entries, nil
}

// readBackwards reads the operations below a number, or all if that is 0, newest first, limit at most and without their
// updates.
func readBackwards(tx *bolt.Tx, document string, before int64, limit int) (entries []storage.Entry, err error) {
	runs, from := tx.Bucket(bucketOperations), before
	if before > 0 {
		// The run that has the one before may have more.
		key, _ := runs.Cursor().Seek(numbered(document, before))
		if end, ok := numberOf(key, document); ok {
			from = end + 1
		}
	}
	backwards(runs, document, from, func(end int64, value []byte) bool {
		var run []storage.Entry
		for stored := range record.Records(value) {
			var e storage.Entry
			if e, err = record.Decode(stored); err != nil {
				err = fmt.Errorf("the run up to operation %d: %w", end, err)
				return false
			}
			if before > 0 && e.Seq >= before {
				break
			}
			e.Update = nil // It is part of the value.
			run = append(run, e)
		}
		slices.Reverse(run)
		entries = append(entries, run[:min(len(run), limit-len(entries))]...)
		return len(entries) < limit
	})
	return entries, err
}
