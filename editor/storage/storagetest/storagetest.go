// Package storagetest owns what every store must do, as tests that run against any of them. It knows no store.
package storagetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"collab.dev/operator/editor/storage"
)

// patience is a generous bound for whatever a test awaits.
const patience = time.Minute

// shards is the number of shards of the stores that are tested.
const shards = 8

// Shards is the number of shards that the stores must be made with.
func Shards() int32 { return shards }

// Store is a store that is tested.
type Store interface {
	storage.Store
	storage.Notices
	Catalog() storage.Catalog
	// Tidy drops the history that is older than the retention.
	Tidy(ctx context.Context) error
}

// Config is how a store is to be made.
type Config struct {
	History     storage.History
	Now         func() time.Time
	BufferBytes int64
}

// Open opens a store on a test's data, again if it was closed: one store at a time is open. The test closes it.
type Open func(t *testing.T, config Config) Store

// Run tests the stores. data makes the data of one test.
func Run(t *testing.T, data func(t *testing.T) Open) {
	for name, test := range map[string]func(*fixture){
		"OperationsAreAcknowledgedInTheOrderOfAppending": testOrder,
		"AnAcknowledgedOperationIsThereAfterReopening":   testReopen,
		"OperationsThatWaitAreLoadedWhenTheyAreStored":   testLoadWaiting,
		"ASnapshotShortensWhatIsLoaded":                  testSnapshot,
		"AHigherEpochFencesTheLowerOne":                  testFencing,
		"AReopeningFencesTheFormerOne":                   testReopeningFences,
		"AClosedShardTakesNothing":                       testClosed,
		"ARefusedOperationWaitsForItsTurn":               testRefused,
		"ASnapshotCanBeWrittenUnderTheCallersLock":       testSnapshotUnderLock,
		"RecordsAreChangedByTheirVersion":                testRecords,
		"RecordsAreListedByName":                         testList,
		"ADocumentIsInTheCatalogueWithItsFirstOperation": testFirstOperation,
		"ADeletedDocumentIsRestoredOrPurged":             testDeletion,
		"APurgedDocumentStaysAway":                       testPurge,
		"TheRetentionForgetsPurgedDocuments":             testPurgedLongAgo,
		"TheHistoryIsReplayedFromBases":                  testHistory,
		"VersionsAreNamed":                               testVersions,
		"TheRetentionDropsOnlyWhatSnapshotsContain":      testRetention,
		"AChangeIsPendingUntilItWasToldOf":               testNotices,
		"PendingChangesAreListedPageByPage":              testPendingPages,
	} {
		t.Run(name, func(t *testing.T) { test(&fixture{T: t, open: data(t)}) })
	}
}

// fixture is one test's stores.
type fixture struct {
	*testing.T
	open  Open
	store Store
}

// start opens the store.
func (f *fixture) start(config Config) {
	f.Helper()
	if config.Now == nil {
		config.Now = time.Now
	}
	store := f.open(f.T, config)
	f.store = store
	f.Cleanup(func() { f.stop(store) })
}

func (f *fixture) stop(store Store) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := store.Close(ctx); err != nil && !strings.Contains(err.Error(), "closed") {
		f.Errorf("close the store: %v", err)
	}
}

// restart closes the store and opens it again.
func (f *fixture) restart(config Config) {
	f.Helper()
	f.stop(f.store)
	f.start(config)
}

// own opens the shard of a document.
func (f *fixture) own(document string, epoch int64, owner string) storage.Shard {
	f.Helper()
	shard, err := f.store.Open(f.Context(), storage.ShardOf(document, shards), epoch, owner)
	if err != nil {
		f.Fatalf("open the shard: %v", err)
	}
	return shard
}

var epoch0 = time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC)

func entry(document string, seq int64) storage.Entry {
	return storage.Entry{
		Document: document, Seq: seq, Time: epoch0.Add(time.Duration(seq) * time.Second), User: "u", Origin: "test",
		Update: fmt.Appendf(nil, "update %d", seq),
	}
}

// appendAll appends operations and waits until all are stored.
func (f *fixture) appendAll(shard storage.Shard, document string, from, to int64) {
	f.Helper()
	results := make(chan error, to-from+1)
	for seq := from; seq <= to; seq++ {
		shard.Append(entry(document, seq), func(err error) { results <- err })
	}
	for seq := from; seq <= to; seq++ {
		select {
		case err := <-results:
			if err != nil {
				f.Fatalf("append operation %d: %v", seq, err)
			}
		case <-time.After(patience):
			f.Fatalf("operation %d is not acknowledged", seq)
		}
	}
}

func (f *fixture) snapshot(shard storage.Shard, document string, seq int64) {
	f.Helper()
	err := shard.WriteSnapshot(f.Context(), document, storage.Snapshot{
		Seq: seq, Time: entry(document, seq).Time, State: fmt.Appendf(nil, "state %d", seq),
	})
	if err != nil {
		f.Fatalf("write the snapshot %d: %v", seq, err)
	}
}

// is checks that a document is a snapshot, if that is not 0, and the operations from there to last.
func (f *fixture) is(doc storage.Document, err error, snapshot, last int64) {
	f.Helper()
	if err != nil {
		f.Fatalf("read the document: %v", err)
	}
	switch {
	case snapshot == 0 && doc.Snapshot != nil:
		f.Fatalf("the document has the snapshot %d", doc.Snapshot.Seq)
	case snapshot != 0 && (doc.Snapshot == nil || doc.Snapshot.Seq != snapshot ||
		string(doc.Snapshot.State) != fmt.Sprintf("state %d", snapshot)):
		f.Fatalf("the document has the snapshot %+v, not %d", doc.Snapshot, snapshot)
	}
	if int64(len(doc.Tail)) != last-snapshot {
		f.Fatalf("%d operations follow the snapshot %d, not %d", len(doc.Tail), snapshot, last-snapshot)
	}
	for i, e := range doc.Tail {
		want := entry(e.Document, snapshot+int64(i)+1)
		if e.Seq != want.Seq || !e.Time.Equal(want.Time) || e.User != want.User || e.Origin != want.Origin ||
			string(e.Update) != string(want.Update) {
			f.Fatalf("operation %d is %+v, not %+v", i, e, want)
		}
	}
}

// await waits until a condition holds.
func (f *fixture) await(what string, condition func() bool) {
	f.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			f.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// recorded waits until the catalogue knows of an operation.
func (f *fixture) recorded(document string, seq int64) {
	f.Helper()
	f.await("the catalogue to know of the operations", func() bool {
		r, err := f.store.Catalog().Get(f.Context(), document)
		return err == nil && r.LastSeq >= seq
	})
}

const document = "acme/plan"

func testOrder(f *fixture) {
	f.start(Config{})
	shard := f.own(document, 1, "a")
	const n = 1000
	var (
		mu    sync.Mutex
		order []int64
	)
	for seq := int64(1); seq <= n; seq++ {
		shard.Append(entry(document, seq), func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.Errorf("append operation %d: %v", seq, err)
			}
			order = append(order, seq)
		})
	}
	f.await("all operations to be acknowledged", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(order) == n
	})
	if !slices.IsSorted(order) {
		f.Error("operations were not acknowledged in the order of appending")
	}
}

func testReopen(f *fixture) {
	f.start(Config{})
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 300)
	if err := shard.Close(f.Context()); err != nil {
		f.Fatalf("close the shard: %v", err)
	}
	doc, err := f.own(document, 2, "b").Load(f.Context(), document)
	f.is(doc, err, 0, 300)
	f.restart(Config{})
	shard = f.own(document, 3, "c")
	doc, err = shard.Load(f.Context(), document)
	f.is(doc, err, 0, 300)
	f.appendAll(shard, document, 301, 310)
	doc, err = shard.Load(f.Context(), document)
	f.is(doc, err, 0, 310)
	doc, err = shard.Load(f.Context(), "acme/other")
	f.is(doc, err, 0, 0)
}

func testLoadWaiting(f *fixture) {
	f.start(Config{})
	shard := f.own(document, 1, "a")
	for round := range int64(20) {
		var stored atomic.Int32
		for seq := round*10 + 1; seq <= round*10+10; seq++ {
			shard.Append(entry(document, seq), func(err error) {
				if err == nil {
					stored.Add(1)
				}
			})
		}
		doc, err := shard.Load(f.Context(), document)
		if n := stored.Load(); n != 10 {
			f.Fatalf("operations were loaded of which %d were not stored", 10-n)
		}
		f.is(doc, err, 0, round*10+10)
	}
}

func testSnapshot(f *fixture) {
	f.start(Config{})
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 30)
	f.snapshot(shard, document, 20)
	f.snapshot(shard, document, 10) // Older: it changes nothing.
	doc, err := shard.Load(f.Context(), document)
	f.is(doc, err, 20, 30)
	f.restart(Config{})
	shard = f.own(document, 2, "a")
	f.snapshot(shard, document, 30)
	doc, err = shard.Load(f.Context(), document)
	f.is(doc, err, 30, 30)
	if doc.LastSeq() != 30 {
		f.Errorf("the last operation is %d", doc.LastSeq())
	}
}

// refusedAs appends an operation that must be refused.
func (f *fixture) refusedAs(shard storage.Shard, seq int64, want error) {
	f.Helper()
	result := make(chan error, 1)
	shard.Append(entry(document, seq), func(err error) { result <- err })
	select {
	case err := <-result:
		if !errors.Is(err, want) {
			f.Errorf("the operation ended with %v, not %v", err, want)
		}
	case <-time.After(patience):
		f.Error("the operation was not answered")
	}
}

func testFencing(f *fixture) {
	f.start(Config{})
	first := f.own(document, 5, "a")
	f.appendAll(first, document, 1, 10)
	second := f.own(document, 6, "b")
	f.refusedAs(first, 11, storage.ErrFenced)
	select {
	case <-first.Fenced():
	case <-time.After(patience):
		f.Error("the shard does not say that it is fenced")
	}
	err := first.WriteSnapshot(f.Context(), document, storage.Snapshot{Seq: 10, Time: epoch0, State: []byte("late")})
	if !errors.Is(err, storage.ErrFenced) {
		f.Errorf("a fenced owner's snapshot ended with %v", err)
	}
	for _, owner := range []struct {
		epoch int64
		name  string
	}{{5, "a"}, {5, "b"}, {6, "a"}} {
		_, err := f.store.Open(f.Context(), storage.ShardOf(document, shards), owner.epoch, owner.name)
		if !errors.Is(err, storage.ErrFenced) {
			f.Errorf("opening as %q at epoch %d ended with %v", owner.name, owner.epoch, err)
		}
	}
	doc, err := second.Load(f.Context(), document)
	f.is(doc, err, 0, 10)
	f.appendAll(second, document, 11, 20)
	doc, err = second.Load(f.Context(), document)
	f.is(doc, err, 0, 20)
}

func testReopeningFences(f *fixture) {
	f.start(Config{})
	first := f.own(document, 5, "a")
	f.appendAll(first, document, 1, 10)
	again := f.own(document, 5, "a")
	f.refusedAs(first, 11, storage.ErrFenced)
	f.appendAll(again, document, 11, 20)
	doc, err := again.Load(f.Context(), document)
	f.is(doc, err, 0, 20)
}

func testClosed(f *fixture) {
	f.start(Config{})
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 1)
	if err := shard.Close(f.Context()); err != nil {
		f.Errorf("close: %v", err)
	}
	f.refusedAs(shard, 2, storage.ErrClosed)
	if _, err := shard.Load(f.Context(), document); !errors.Is(err, storage.ErrClosed) {
		f.Errorf("a closed shard's loading ended with %v", err)
	}
	if err := shard.Close(f.Context()); err != nil {
		f.Errorf("close again: %v", err)
	}
	f.stop(f.store)
	if _, err := f.store.Open(context.Background(), 1, 1, "a"); err == nil {
		f.Error("a closed store opened a shard")
	}
}

func testRefused(f *fixture) {
	f.start(Config{BufferBytes: 4000})
	shard := f.own(document, 1, "a")
	var (
		mu      sync.Mutex
		order   []int64
		refused int
	)
	const n = 200
	for seq := int64(1); seq <= n; seq++ {
		e := entry(document, seq)
		if seq%10 == 0 {
			e.Update = make([]byte, 5000) // Never taken.
		}
		shard.Append(e, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, seq)
			if seq%10 == 0 && !errors.Is(err, storage.ErrOverloaded) {
				f.Errorf("operation %d ended with %v", seq, err)
			}
			if err != nil {
				refused++
			}
		})
	}
	f.await("all operations to be answered", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(order) == n
	})
	if !slices.IsSorted(order) {
		f.Error("operations were not answered in the order of appending")
	}
	if refused < n/10 || refused == n {
		f.Errorf("%d operations of %d were refused", refused, n)
	}
}

func testSnapshotUnderLock(f *fixture) {
	f.start(Config{})
	shard := f.own(document, 1, "a")
	var (
		lock sync.Mutex
		wait sync.WaitGroup
	)
	lock.Lock()
	for seq := int64(1); seq <= 100; seq++ {
		wait.Add(1)
		shard.Append(entry(document, seq), func(error) {
			lock.Lock()
			defer lock.Unlock()
			wait.Done()
		})
	}
	f.snapshot(shard, document, 1)
	second := f.own(document, 2, "b") // The first is fenced while its caller holds the lock.
	err := shard.WriteSnapshot(f.Context(), document, storage.Snapshot{Seq: 2, Time: epoch0, State: []byte("late")})
	if !errors.Is(err, storage.ErrFenced) {
		f.Errorf("a fenced owner's snapshot ended with %v", err)
	}
	lock.Unlock()
	wait.Wait()
	if _, err := second.Load(f.Context(), document); err != nil {
		f.Error(err)
	}
}

func testRecords(f *fixture) {
	f.start(Config{})
	catalog, ctx := f.store.Catalog(), f.Context()
	if _, err := catalog.Get(ctx, document); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("a document that is not there: %v", err)
	}
	created, err := catalog.Create(ctx, storage.Record{
		Document: document, Title: "Plan", Metadata: map[string]string{"color": "red"},
	})
	if err != nil || created.Version != 1 || created.Created.IsZero() {
		f.Fatalf("create: %+v, %v", created, err)
	}
	if _, err := catalog.Create(ctx, storage.Record{Document: document}); !errors.Is(err, storage.ErrExists) {
		f.Errorf("create again: %v", err)
	}
	updated, err := catalog.Update(ctx, document, 1, func(r *storage.Record) {
		r.Title, r.Metadata["size"] = "Plan B", "small"
		r.Version, r.Document = 77, "acme/else" // Not for callers to change.
	})
	if err != nil || updated.Version != 2 {
		f.Fatalf("update: %+v, %v", updated, err)
	}
	if _, err := catalog.Update(ctx, document, 1, func(*storage.Record) {}); !errors.Is(err, storage.ErrConflict) {
		f.Errorf("an update of an old version: %v", err)
	}
	got, err := catalog.Get(ctx, document)
	if err != nil || got.Title != "Plan B" || got.Version != 2 || !got.Created.Equal(created.Created) ||
		!maps.Equal(got.Metadata, map[string]string{"color": "red", "size": "small"}) || got.Document != document {
		f.Errorf("get: %+v, %v", got, err)
	}
	_, err = catalog.Update(ctx, document, 0, func(r *storage.Record) {
		r.Metadata["big"] = strings.Repeat("x", storage.MaxMetadataBytes)
	})
	if !errors.Is(err, storage.ErrRecord) {
		f.Errorf("too much metadata: %v", err)
	}
	for _, name := range []string{"", "acme", "/plan", "acme/", "acme/\x00", "acme/" + strings.Repeat("x", 600)} {
		if _, err := catalog.Create(ctx, storage.Record{Document: name}); !errors.Is(err, storage.ErrName) {
			f.Errorf("create %.20q: %v", name, err)
		}
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for {
				r, err := catalog.Get(ctx, document)
				if err == nil {
					_, err = catalog.Update(ctx, document, r.Version, func(r *storage.Record) { r.Title += "!" })
				}
				if errors.Is(err, storage.ErrConflict) {
					continue
				}
				if err != nil {
					f.Error(err)
				}
				return
			}
		})
	}
	wait.Wait()
	if got, err := catalog.Get(ctx, document); err != nil || got.Title != "Plan B!!!!!!!!" || got.Version != 10 {
		f.Errorf("after concurrent changes: %+v, %v", got, err)
	}
}

func testList(f *fixture) {
	f.start(Config{})
	catalog, ctx := f.store.Catalog(), f.Context()
	var want []string
	for _, name := range []string{"a", "B", "b", "b/c", "bb", "é", "z"} {
		want = append(want, "acme/"+name)
	}
	for _, name := range append([]string{"acm/x", "acme2/x", "acme!/x"}, want...) {
		if _, err := catalog.Create(ctx, storage.Record{Document: name}); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := catalog.Delete(ctx, "acme/z", 0, false); err != nil {
		f.Fatal(err)
	}
	want = want[:len(want)-1]
	slices.Sort(want)
	var got []string
	for after := ""; ; {
		page, err := catalog.List(ctx, "acme", after, 2, false)
		if err != nil {
			f.Fatal(err)
		}
		for _, r := range page {
			got = append(got, r.Document)
		}
		if len(page) < 2 {
			break
		}
		after = page[1].Document
	}
	if !slices.Equal(got, want) {
		f.Errorf("listed %q, not %q", got, want)
	}
	if page, err := catalog.List(ctx, "acme", "", 10, true); err != nil || len(page) != 1 || page[0].Document != "acme/z" {
		f.Errorf("deleted documents: %+v, %v", page, err)
	}
}

func testFirstOperation(f *fixture) {
	f.start(Config{})
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 3)
	f.recorded(document, 3)
	r, err := f.store.Catalog().Get(f.Context(), document)
	if err != nil || r.Version != 1 || !r.Created.Equal(entry(document, 1).Time) ||
		!r.Updated.Equal(entry(document, 3).Time) {
		f.Errorf("the record is %+v, %v", r, err)
	}
	operations, err := f.store.Catalog().Operations(f.Context(), document, 0, 2)
	if err != nil || len(operations) != 2 || operations[0].Seq != 3 || operations[1].Seq != 2 ||
		operations[0].User != "u" || operations[0].Origin != "test" || len(operations[0].Update) != 0 {
		f.Errorf("the operations are %+v, %v", operations, err)
	}
	operations, err = f.store.Catalog().Operations(f.Context(), document, 2, 5)
	if err != nil || len(operations) != 1 || operations[0].Seq != 1 {
		f.Errorf("the operations before are %+v, %v", operations, err)
	}
}

func testDeletion(f *fixture) {
	f.start(Config{})
	catalog, ctx := f.store.Catalog(), f.Context()
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 5)
	f.recorded(document, 5)
	if _, err := catalog.Delete(ctx, document, 7, false); !errors.Is(err, storage.ErrConflict) {
		f.Errorf("deleting another version: %v", err)
	}
	deleted, err := catalog.Delete(ctx, document, 1, false)
	if err != nil || deleted.Deleted == nil || deleted.Version != 2 {
		f.Fatalf("delete: %+v, %v", deleted, err)
	}
	if _, err := catalog.Delete(ctx, document, 0, false); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("deleting again: %v", err)
	}
	if _, err := catalog.Update(ctx, document, 0, func(*storage.Record) {}); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("changing a deleted document: %v", err)
	}
	for range 2 {
		if _, err := shard.Load(ctx, document); !errors.Is(err, storage.ErrDeleted) {
			f.Errorf("loading a deleted document: %v", err)
		}
		shard = f.own(document, 2, "b") // The next owner neither.
	}
	restored, err := catalog.Restore(ctx, document)
	if err != nil || restored.Deleted != nil || restored.Version != 3 {
		f.Errorf("restore: %+v, %v", restored, err)
	}
	doc, err := shard.Load(ctx, document)
	f.is(doc, err, 0, 5)
	if err := catalog.NameVersion(ctx, document, storage.Version{Seq: 5, Name: "v", State: []byte("state")}); err != nil {
		f.Error(err)
	}
	f.snapshot(shard, document, 5)
	if _, err := catalog.Delete(ctx, document, 3, true); err != nil {
		f.Errorf("purge: %v", err)
	}
	if _, err := catalog.Get(ctx, document); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("a purged document: %v", err)
	}
	if versions, err := catalog.Versions(ctx, document, 0, 10); err != nil || len(versions) != 0 {
		f.Errorf("a purged document's versions: %+v, %v", versions, err)
	}
	if _, err := shard.Load(ctx, document); !errors.Is(err, storage.ErrDeleted) {
		f.Errorf("loading a purged document: %v", err)
	}
	if _, err := catalog.Restore(ctx, document); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("restoring a purged document: %v", err)
	}
}

// testPurge purges a document of which operations and snapshots are on their way, and creates it anew.
func testPurge(f *fixture) {
	f.start(Config{})
	catalog, ctx := f.store.Catalog(), f.Context()
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 5)
	f.recorded(document, 5)
	var wait sync.WaitGroup
	for seq := int64(6); seq <= 50; seq++ {
		wait.Add(1)
		shard.Append(entry(document, seq), func(error) { wait.Done() })
	}
	if _, err := catalog.Delete(ctx, document, 0, true); err != nil {
		f.Fatalf("purge: %v", err)
	}
	wait.Wait()
	f.appendAll(shard, document, 51, 55)
	err := shard.WriteSnapshot(ctx, document, storage.Snapshot{Seq: 55, Time: epoch0, State: []byte("late")})
	if !errors.Is(err, storage.ErrDeleted) {
		f.Errorf("the snapshot of a purged document ended with %v", err)
	}
	gone := func(when string, shard storage.Shard) {
		f.Helper()
		if err := shard.(storage.Flusher).Flush(ctx, document); err != nil {
			f.Errorf("%s: flush: %v", when, err)
		}
		_, loading := shard.Load(ctx, document)
		_, getting := catalog.Get(ctx, document)
		_, replaying := catalog.StateAt(ctx, document, 100)
		_, again := catalog.Delete(ctx, document, 0, true)
		if !errors.Is(loading, storage.ErrDeleted) || !errors.Is(getting, storage.ErrNotFound) ||
			!errors.Is(replaying, storage.ErrNotFound) || !errors.Is(again, storage.ErrNotFound) {
			f.Errorf("%s: load %v, get %v, replay %v, purge again %v", when, loading, getting, replaying, again)
		}
		for _, deleted := range []bool{false, true} {
			if records, err := catalog.List(ctx, "acme", "", 10, deleted); err != nil || len(records) != 0 {
				f.Errorf("%s: listed as deleted (%t): %v, %v", when, deleted, records, err)
			}
		}
		if operations, err := catalog.Operations(ctx, document, 0, 10); err != nil || len(operations) != 0 {
			f.Errorf("%s: %d operations are there, %v", when, len(operations), err)
		}
		if notices := f.pending(storage.ShardOf(document, shards), 10); len(notices) != 0 {
			f.Errorf("%s: to be told of: %v", when, notices)
		}
	}
	gone("purged", shard)
	gone("at the next owner", f.own(document, 2, "b"))
	f.restart(Config{})
	catalog = f.store.Catalog()
	shard = f.own(document, 3, "c")
	gone("after a restart", shard)

	created, err := catalog.Create(ctx, storage.Record{Document: document, Title: "anew"})
	if err != nil || created.Version != 1 || created.LastSeq != 0 {
		f.Fatalf("create anew: %+v, %v", created, err)
	}
	doc, err := shard.Load(ctx, document)
	f.is(doc, err, 0, 0)
	f.appendAll(shard, document, 1, 3)
	f.recorded(document, 3)
	doc, err = shard.Load(ctx, document)
	f.is(doc, err, 0, 3)
	if r, err := catalog.Get(ctx, document); err != nil || r.Title != "anew" || r.LastSeq != 3 {
		f.Errorf("created anew: %+v, %v", r, err)
	}
	if _, err := catalog.Create(ctx, storage.Record{Document: document}); !errors.Is(err, storage.ErrExists) {
		f.Errorf("creating it once more: %v", err)
	}
}

func testPurgedLongAgo(f *fixture) {
	now := epoch0
	f.start(Config{History: storage.History{Retention: time.Hour}, Now: func() time.Time { return now }})
	ctx := f.Context()
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 3)
	f.recorded(document, 3)
	if _, err := f.store.Catalog().Delete(ctx, document, 0, true); err != nil {
		f.Fatalf("purge: %v", err)
	}
	now = now.Add(30 * time.Minute)
	if err := f.store.Tidy(ctx); err != nil {
		f.Fatal(err)
	}
	if _, err := shard.Load(ctx, document); !errors.Is(err, storage.ErrDeleted) {
		f.Errorf("within the retention a purged document is loaded with %v", err)
	}
	now = now.Add(time.Hour)
	if err := f.store.Tidy(ctx); err != nil {
		f.Fatal(err)
	}
	doc, err := shard.Load(ctx, document)
	f.is(doc, err, 0, 0)
}

func testHistory(f *fixture) {
	f.start(Config{History: storage.History{BaseOperations: 50, BaseInterval: 1000 * time.Hour}})
	shard := f.own(document, 1, "a")
	for seq := int64(10); seq <= 200; seq += 10 {
		f.appendAll(shard, document, seq-9, seq)
		f.snapshot(shard, document, seq)
	}
	f.recorded(document, 200)
	for seq, base := range map[int64]int64{
		0: 0, 5: 0, 9: 0, 10: 10, 40: 10, 59: 10, 60: 60, 109: 60, 110: 110, 199: 160, 200: 200,
	} {
		doc, err := f.store.Catalog().StateAt(f.Context(), document, seq)
		f.is(doc, err, base, seq)
	}
	doc, err := f.store.Catalog().StateAt(f.Context(), document, 1000)
	f.is(doc, err, 200, 200)
	if _, err := f.store.Catalog().StateAt(f.Context(), "acme/none", 1); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("the history of no document: %v", err)
	}
}

func testVersions(f *fixture) {
	f.start(Config{})
	catalog, ctx := f.store.Catalog(), f.Context()
	v := storage.Version{Seq: 4, Name: "first", User: "u", Created: epoch0, State: []byte("state 4")}
	if err := catalog.NameVersion(ctx, document, v); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("a version of no document: %v", err)
	}
	f.appendAll(f.own(document, 1, "a"), document, 1, 9)
	f.recorded(document, 9)
	for _, v := range []storage.Version{
		v, {Seq: 6, Name: "bare"}, {Seq: 8, Name: "third"}, {Seq: 4, Name: "renamed", User: "v", Created: epoch0},
	} {
		if err := catalog.NameVersion(ctx, document, v); err != nil {
			f.Fatal(err)
		}
	}
	versions, err := catalog.Versions(ctx, document, 8, 10)
	if err != nil || len(versions) != 2 || versions[0].Name != "bare" || versions[0].Created.IsZero() ||
		versions[1].Seq != 4 || versions[1].Name != "renamed" || versions[1].User != "v" ||
		!versions[1].Created.Equal(epoch0) || len(versions[1].State) != 0 {
		f.Errorf("the versions are %+v, %v", versions, err)
	}
	if versions, err := catalog.Versions(ctx, document, 0, 1); err != nil || len(versions) != 1 || versions[0].Seq != 8 {
		f.Errorf("the newest version is %+v, %v", versions, err)
	}
	doc, err := catalog.StateAt(ctx, document, 7)
	f.is(doc, err, 4, 7)
}

func testRetention(f *fixture) {
	now := epoch0.Add(time.Hour)
	config := Config{
		History: storage.History{Retention: 30 * 24 * time.Hour, BaseOperations: 10},
		Now:     func() time.Time { return now },
	}
	f.start(config)
	ctx := f.Context()
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 25)
	f.snapshot(shard, document, 20)
	f.recorded(document, 25)
	catalog := f.store.Catalog()
	for _, v := range []storage.Version{
		{Seq: 12, Name: "kept", State: []byte("state 12")}, {Seq: 20, Name: "last", State: []byte("state 20")},
	} {
		if err := catalog.NameVersion(ctx, document, v); err != nil {
			f.Fatal(err)
		}
	}
	// Twice: what is kept is kept again, and dropped when a snapshot contains it.
	for _, snapshot := range []int64{20, 25} {
		now = now.AddDate(1, 0, 0)
		if err := f.store.Tidy(ctx); err != nil {
			f.Fatalf("tidy: %v", err)
		}
		doc, err := shard.Load(ctx, document)
		f.is(doc, err, 20, 25)
		f.snapshot(shard, document, snapshot)
	}
	doc, err := catalog.StateAt(ctx, document, 23)
	f.is(doc, err, 20, 23)
	for _, seq := range []int64{5, 11, 13, 19} {
		if _, err := catalog.StateAt(ctx, document, seq); !errors.Is(err, storage.ErrNotFound) {
			f.Errorf("the history at operation %d is still there: %v", seq, err)
		}
	}
	doc, err = catalog.StateAt(ctx, document, 12)
	f.is(doc, err, 12, 12)
	if err := f.store.Tidy(ctx); err != nil {
		f.Fatalf("tidy: %v", err)
	}
	doc, err = shard.Load(ctx, document)
	f.is(doc, err, 25, 25)
	if operations, err := catalog.Operations(ctx, document, 0, 10); err != nil || len(operations) != 0 {
		f.Errorf("%d operations are left, %v", len(operations), err)
	}
	// What is too old for every partition is stored nevertheless.
	f.appendAll(shard, document, 26, 30)
	f.recorded(document, 30)
	doc, err = shard.Load(ctx, document)
	f.is(doc, err, 25, 30)
}
