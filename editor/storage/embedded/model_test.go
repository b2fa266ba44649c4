package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/embedded"
)

// TestTheStoreHasWhatAModelHas does at random what can be done to a store, and to a simple model of it.
func TestTheStoreHasWhatAModelHas(t *testing.T) {
	directories := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		directory, err := os.MkdirTemp(directories, "")
		if err != nil {
			t.Fatal(err)
		}
		m := &model{directory: directory, now: begin.Add(retention), documents: map[string]*modelled{}}
		for i := range 3 {
			m.documents[fmt.Sprintf("acme/%d", i)] = newModelled()
		}
		m.open(t)
		defer func() { m.close(t) }()
		t.Repeat(map[string]func(*rapid.T){
			"append": m.append, "repeat": m.repeat, "spread": m.spread, "snapshot": m.snapshot, "retain": m.retain,
			"deliver": m.deliver, "purge": m.purge, "create": m.create, "reopen": m.reopen, "load": m.load,
			"get": m.get, "list operations": m.operations, "replay": m.stateAt, "see what is pending": m.pending,
		})
		m.reopen(t)
		m.pending(t)
		for document := range m.documents {
			m.loaded(t, document)
		}
	})
}

// retention is longer than all that the model does takes.
const retention = 10_000 * time.Hour

var begin = time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC)

// model is a store, and what should be in it.
type model struct {
	directory string
	store     *embedded.Store
	shard     storage.Shard
	epoch     int64
	now       time.Time
	appended  int
	documents map[string]*modelled
}

// modelled is what should be known of a document.
type modelled struct {
	operations map[int64]storage.Entry
	// last is the number of the last operation, dropped that of the last one that the retention has dropped.
	last, dropped int64
	// snapshots are the numbers of those that the history is replayed from, in order.
	snapshots               []int64
	created, purged, untold bool
}

func newModelled() *modelled { return &modelled{operations: map[int64]storage.Entry{}} }

// between are the operations after one and up to another.
func (d *modelled) between(after, upTo int64) (entries []storage.Entry) {
	for _, seq := range slices.Sorted(maps.Keys(d.operations)) {
		if seq > after && seq <= upTo {
			entries = append(entries, d.operations[seq])
		}
	}
	return entries
}

// base is the number of the newest snapshot that is not after an operation, 0 if there is none.
func (d *modelled) base(seq int64) (base int64) {
	for _, snapshot := range d.snapshots {
		if snapshot <= seq {
			base = snapshot
		}
	}
	return base
}

// newest are the last operations below a number, newest first and without their updates.
func newest(entries []storage.Entry, before int64, limit int) (below []storage.Entry) {
	for _, e := range slices.Backward(entries) {
		if e.Seq < before && len(below) < limit {
			e.Update = nil
			below = append(below, e)
		}
	}
	return below
}

func equal(a, b []storage.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b storage.Entry) bool {
		return a.Document == b.Document && a.Seq == b.Seq && a.Time.Equal(b.Time) && a.User == b.User &&
			a.Origin == b.Origin && string(a.Update) == string(b.Update)
	})
}

func timeOf(seq int64) time.Time { return begin.Add(time.Duration(seq) * time.Minute) }

func (m *model) open(t *rapid.T) {
	m.epoch++
	looked, first := make(chan struct{}), true
	store, err := embedded.Open(embedded.SpreadAfter(embedded.Options{
		Directory: m.directory, Shards: 1, History: storage.History{Retention: retention, BaseOperations: 1},
		Now: func() time.Time {
			if first { // It is the janitor, which must find nothing: the model would not know.
				first = false
				close(looked)
				return begin
			}
			return m.now
		},
		Logger: slog.New(slog.DiscardHandler),
	}, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	<-looked
	m.store = store
	if m.shard, err = store.Open(context.Background(), 0, m.epoch, "a"); err != nil {
		t.Fatal(err)
	}
}

func (m *model) close(t *rapid.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.store.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func (m *model) reopen(t *rapid.T) {
	m.close(t)
	m.open(t)
}

// draw draws a document.
func (m *model) draw(t *rapid.T) (name string, document *modelled) {
	name = rapid.SampledFrom(slices.Sorted(maps.Keys(m.documents))).Draw(t, "document")
	return name, m.documents[name]
}

// add appends operations from a number on, with updates of sizes.
func (m *model) add(t *rapid.T, name string, from int64, sizes []int) {
	results := make(chan error, len(sizes))
	for i, size := range sizes {
		m.appended++
		e := storage.Entry{
			Document: name, Seq: from + int64(i), Time: timeOf(from + int64(i)), User: fmt.Sprint("u", m.appended),
			Update: fmt.Appendf(make([]byte, size), "update %d", m.appended),
		}
		m.shard.Append(e, func(err error) { results <- err })
		if d := m.documents[name]; !d.purged {
			d.operations[e.Seq] = e
			d.last = max(d.last, e.Seq)
			d.created, d.untold = true, true
		}
	}
	for range sizes {
		select {
		case err := <-results:
			if err != nil {
				t.Fatalf("append to %s: %v", name, err)
			}
		case <-time.After(patience):
			t.Fatalf("an operation of %s is not acknowledged", name)
		}
	}
}

func (m *model) append(t *rapid.T) {
	name, d := m.draw(t)
	sizes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 30, 400, 1000, 1030, 4000}), 1, 60).Draw(t, "sizes")
	gap := rapid.SampledFrom([]int64{0, 0, 0, 2}).Draw(t, "gap")
	m.add(t, name, d.last+1+gap, sizes)
}

// repeat appends operations whose numbers are there already: the later ones count.
func (m *model) repeat(t *rapid.T) {
	name, d := m.draw(t)
	if d.last == d.dropped {
		t.Skip("there are none")
	}
	from := rapid.Int64Range(d.dropped+1, d.last).Draw(t, "from")
	sizes := []int{0, 30, 400}
	if rapid.Bool().Draw(t, "spread") {
		// What is large would not wait for what is in the journal.
		m.spread(t)
		sizes = append(sizes, 4000)
	}
	m.add(t, name, from, rapid.SliceOfN(rapid.SampledFrom(sizes), 1, 20).Draw(t, "sizes"))
}

// spread has the journal emptied, by a look at all documents.
func (m *model) spread(t *rapid.T) {
	if _, err := m.store.Catalog().List(context.Background(), "acme", "", 1, false); err != nil {
		t.Fatal(err)
	}
}

func (m *model) snapshot(t *rapid.T) {
	name, d := m.draw(t)
	if d.last == 0 {
		t.Skip("there are no operations")
	}
	seq := rapid.Int64Range(1, d.last).Draw(t, "seq")
	err := m.shard.WriteSnapshot(context.Background(), name, storage.Snapshot{
		Seq: seq, Time: timeOf(seq), State: fmt.Appendf(nil, "state %d", seq),
	})
	if err != nil {
		t.Fatalf("write a snapshot of %s: %v", name, err)
	}
	if seq > d.base(d.last) {
		d.snapshots = append(d.snapshots, seq)
	}
}

func (m *model) retain(t *rapid.T) {
	m.spread(t) // What is in the journal would only be dropped by chance.
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "minutes")) * time.Minute)
	if err := m.store.Tidy(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, d := range m.documents {
		before := d.dropped
		for _, e := range d.between(0, d.base(d.last)) {
			if e.Time.Before(m.now.Add(-retention)) {
				delete(d.operations, e.Seq)
				d.dropped = max(d.dropped, e.Seq)
			}
		}
		if d.dropped > before {
			d.snapshots = slices.DeleteFunc(d.snapshots, func(seq int64) bool { return seq < d.dropped })
		}
	}
}

func (m *model) deliver(t *rapid.T) {
	name, d := m.draw(t)
	seq := d.last - rapid.Int64Range(0, 1).Draw(t, "missed")
	if err := m.store.Delivered(context.Background(), map[string]int64{name: seq}); err != nil {
		t.Fatal(err)
	}
	d.untold = d.untold && seq != d.last
}

func (m *model) purge(t *rapid.T) {
	name, d := m.draw(t)
	_, err := m.store.Catalog().Delete(context.Background(), name, 0, true)
	if d.created != (err == nil) || err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("purge %s: %v", name, err)
	}
	if d.created {
		m.documents[name] = newModelled()
		m.documents[name].purged = true
	}
}

func (m *model) create(t *rapid.T) {
	name, d := m.draw(t)
	_, err := m.store.Catalog().Create(context.Background(), storage.Record{Document: name})
	if d.created != errors.Is(err, storage.ErrExists) || err != nil && !d.created {
		t.Fatalf("create %s: %v", name, err)
	}
	d.created, d.purged = true, false
}

func (m *model) load(t *rapid.T) {
	name, _ := m.draw(t)
	m.loaded(t, name)
}

func (m *model) loaded(t *rapid.T, name string) {
	d := m.documents[name]
	doc, err := m.shard.Load(context.Background(), name)
	if d.purged && errors.Is(err, storage.ErrDeleted) {
		return
	}
	if err != nil || d.purged {
		t.Fatalf("load %s: %v", name, err)
	}
	m.is(t, d, doc, d.last)
}

// is checks that what was read of a document is its newest snapshot before an operation and what follows up to that.
func (m *model) is(t *rapid.T, d *modelled, got storage.Document, seq int64) {
	base := d.base(seq)
	if (got.Snapshot != nil) != (base > 0) ||
		base > 0 && (got.Snapshot.Seq != base || string(got.Snapshot.State) != fmt.Sprint("state ", base)) {
		t.Fatalf("the snapshot up to operation %d is %+v, not %d", seq, got.Snapshot, base)
	}
	if want := d.between(base, seq); !equal(got.Tail, want) {
		t.Fatalf("the operations after %d and up to %d are %+v, not %+v", base, seq, got.Tail, want)
	}
}

func (m *model) get(t *rapid.T) {
	name, d := m.draw(t)
	got, err := m.store.Catalog().Get(context.Background(), name)
	if !d.created && errors.Is(err, storage.ErrNotFound) {
		return
	}
	if err != nil || !d.created || got.LastSeq != d.last || d.last > 0 && got.Updated.Before(timeOf(d.last)) {
		t.Fatalf("the record of %s is %+v (%v), not of %d operations", name, got, err, d.last)
	}
}

func (m *model) operations(t *rapid.T) {
	name, d := m.draw(t)
	before, limit := rapid.Int64Range(0, d.last+3).Draw(t, "before"), rapid.IntRange(0, 50).Draw(t, "limit")
	got, err := m.store.Catalog().Operations(context.Background(), name, before, limit)
	if before == 0 {
		before = d.last + 1
	}
	if want := newest(d.between(0, d.last), before, limit); err != nil || !equal(got, want) {
		t.Fatalf("%d operations of %s before %d are %+v (%v), not %+v", limit, name, before, got, err, want)
	}
}

func (m *model) stateAt(t *rapid.T) {
	name, d := m.draw(t)
	seq := rapid.Int64Range(0, d.last+3).Draw(t, "seq")
	got, err := m.store.Catalog().StateAt(context.Background(), name, seq)
	if found := d.created && d.base(seq) >= min(seq, d.dropped); !found && errors.Is(err, storage.ErrNotFound) {
		return
	} else if err != nil || !found {
		t.Fatalf("the state of %s at %d: %v", name, seq, err)
	}
	m.is(t, d, got, seq)
}

func (m *model) pending(t *rapid.T) {
	want := map[string]storage.Notice{}
	for name, d := range m.documents {
		if d.untold {
			want[name] = storage.Notice{Document: name, Seq: d.last, User: d.operations[d.last].User, Time: timeOf(d.last)}
		}
	}
	notices, err := m.store.Pending(context.Background(), 0, "", len(m.documents)+1)
	got := map[string]storage.Notice{}
	for _, n := range notices {
		got[n.Document] = n
	}
	if err != nil || len(notices) != len(got) || !maps.Equal(got, want) {
		t.Fatalf("pending is %+v (%v), not %+v", notices, err, want)
	}
}
