package embedded_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/embedded"
	"collab.dev/operator/editor/storage/internal/record"
)

// raw opens the database of a store that is not open.
func raw(t *testing.T, directory string) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(directory, "documents.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// runs are the numbers of operations that the values of a bucket have. It checks the values' size.
func runs(t *testing.T, directory, bucket string) (counts []int) {
	t.Helper()
	db := raw(t, directory)
	defer func() { _ = db.Close() }()
	err := db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(_, value []byte) error {
			n := 0
			for stored := range record.Records(value) {
				if _, err := record.Decode(stored); err != nil {
					return err
				}
				n++
			}
			if n > 1 && len(value) > embedded.RunBytes {
				t.Errorf("a run of %d operations in %q has %d bytes", n, bucket, len(value))
			}
			counts = append(counts, n)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func sum(counts []int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

func TestOperationsAreKeptInBoundedRuns(t *testing.T) {
	const n = 500
	directory := t.TempDir()
	store, shard := slowly(t, directory)
	entries := updates(1, n)
	entries[99].Update = make([]byte, 1024)  // These take a run each.
	entries[199].Update = make([]byte, 5000) // This one does not go through the journal.
	entries[200].User = strings.Repeat("u", 5000)
	if err := embedded.Commit(shard, entries...); err != nil {
		t.Fatal(err)
	}
	shut(t, store)
	journal := runs(t, directory, "journal")
	if sum(journal) != n-1 || len(journal) > n/10 {
		t.Errorf("the journal has %v", journal)
	}
	if direct := runs(t, directory, "operations"); !slices.Equal(direct, []int{1}) {
		t.Errorf("written directly were %v", direct)
	}
	shut(t, open(t, directory))
	if journal := runs(t, directory, "journal"); len(journal) > 0 {
		t.Errorf("after opening the journal has %v", journal)
	}
	if operations := runs(t, directory, "operations"); sum(operations) != n || len(operations) > n/10 {
		t.Errorf("the document has %v", operations)
	}
}

// TestFilesOfEarlierVersionsAreRead writes files in which each operation has a key of its own.
func TestFilesOfEarlierVersionsAreRead(t *testing.T) {
	const last = 20
	for format, journaled := range map[uint64]int64{1: 0, 2: 8} {
		t.Run(fmt.Sprint("format ", format), func(t *testing.T) {
			directory := t.TempDir()
			now := time.UnixMicro(last)
			writeFormat(t, directory, format, last-journaled, last)
			store, err := embedded.Open(embedded.Options{
				Directory: directory, Shards: 1, History: storage.History{Retention: time.Hour},
				Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			shard, err := store.Open(t.Context(), 0, 2, "a")
			if err != nil {
				t.Fatal(err)
			}
			check := func(from, to int64) {
				t.Helper()
				want := updates(from, to)
				doc, err := store.Catalog().StateAt(t.Context(), document, to)
				if err != nil || !equal(doc.Tail, want) {
					t.Fatalf("the history has %+v (%v)", doc, err)
				}
				for before := from + 1; before <= to+1; before++ {
					wanted := newest(want, before, 3)
					operations, err := store.Catalog().Operations(t.Context(), document, before, 3)
					if err != nil || !equal(operations, wanted) {
						t.Fatalf("before %d are %+v (%v)", before, operations, err)
					}
				}
				notices, err := store.Pending(t.Context(), 0, "", 10)
				if err != nil || len(notices) != 1 || notices[0].Seq != to || !notices[0].Time.Equal(want[len(want)-1].Time) {
					t.Fatalf("pending is %+v (%v)", notices, err)
				}
			}
			doc, err := shard.Load(t.Context(), document)
			if err != nil || !equal(doc.Tail, updates(1, last)) {
				t.Fatalf("loaded %+v (%v)", doc, err)
			}
			check(1, last)
			// What is new goes beside it, and what is old goes away.
			add(t, shard, last+1, last+5)
			check(1, last+5)
			snapshot := storage.Snapshot{Seq: last - 10, Time: time.UnixMicro(last - 10), State: []byte("state")}
			if err := shard.WriteSnapshot(t.Context(), document, snapshot); err != nil {
				t.Fatal(err)
			}
			now = now.Add(2 * time.Hour)
			if err := store.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			check(last-9, last+5)
			shut(t, store)
			db := raw(t, directory)
			defer func() { _ = db.Close() }()
			_ = db.View(func(tx *bolt.Tx) error {
				if known := tx.Bucket([]byte("meta")).Get([]byte("format")); binary.BigEndian.Uint64(known) != 3 {
					t.Errorf("the format is %x", known)
				}
				return nil
			})
		})
	}
}

// writeFormat writes a file of an earlier version: the document's operations up to one are where they belong, and those
// up to the last in the journal.
func writeFormat(t *testing.T, directory string, format uint64, placed, last int64) {
	t.Helper()
	db := raw(t, directory)
	err := db.Update(func(tx *bolt.Tx) error {
		put := func(bucket string, key, value []byte) {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			if err == nil {
				err = b.Put(key, value)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		number := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
		put("meta", []byte("format"), number(int64(format)))
		for i, e := range updates(1, last) {
			if e.Seq <= placed {
				put("operations", append([]byte(document+"\x00"), number(e.Seq)...), record.Encode(e))
			} else {
				put("journal", number(int64(i)), record.Encode(e))
			}
		}
		put("ends", []byte(document), slices.Concat(number(placed), number(placed), number(0)))
		known, err := json.Marshal(storage.Record{Document: document, Metadata: map[string]string{}, Version: 1})
		put("documents", []byte(document), known)
		put("untold", embedded.Untold(document), []byte{1})
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
