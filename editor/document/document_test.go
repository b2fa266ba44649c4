package document

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"collab.dev/operator/editor/storage"
)

// gate is a Shard that answers when the test says so.
type gate struct {
	mu      sync.Mutex
	waiting []func(error)
	entries []storage.Entry
}

func (g *gate) Append(e storage.Entry, done func(error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.entries = append(g.entries, e)
	g.waiting = append(g.waiting, done)
}

func (g *gate) answer(err error) {
	g.mu.Lock()
	waiting := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	for _, done := range waiting {
		done(err)
	}
}

func (g *gate) appends() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.entries)
}

func (*gate) Load(context.Context, string) (storage.Document, error)        { return storage.Document{}, nil }
func (*gate) WriteSnapshot(context.Context, string, storage.Snapshot) error { return nil }
func (*gate) Fenced() <-chan struct{}                                       { return nil }
func (*gate) Close(context.Context) error                                   { return nil }

type record struct {
	acks, updates int
	closed        bool
}

func (*record) Attached([]byte)         {}
func (r *record) Update([]byte)         { r.updates++ }
func (*record) Awareness([]byte)        {}
func (*record) Content(uint64, Content) {}
func (r *record) Ack(uint64)            { r.acks++ }
func (*record) Rejected(uint64)         {}
func (r *record) Closed()               { r.closed = true }

func open(t *testing.T, g *gate) (*Document, *record, *record, *Attachment) {
	t.Helper()
	d, err := Open("acme/a", storage.Document{}, Options{
		Shard: g, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Unix(1, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	from, other := &record{}, &record{}
	a, err := d.Attach(from)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Attach(other); err != nil {
		t.Fatal(err)
	}
	return d, from, other, a
}

func TestNothingIsAcknowledgedBeforeItIsStored(t *testing.T) {
	g := &gate{}
	_, from, other, a := open(t, g)
	a.Update(1, "", []byte("x"), false)
	a.Update(2, "", []byte("x"), false)
	if from.acks != 0 || other.updates != 1 || from.updates != 0 || g.appends() != 1 {
		t.Fatalf("before: %+v, %+v, %d appended", from, other, g.appends())
	}
	g.answer(nil)
	if from.acks != 2 {
		t.Fatalf("the change and its repetition are stored, but %d are acknowledged", from.acks)
	}
}

func TestTimestampsRiseThoughTheClockStandsStill(t *testing.T) {
	g := &gate{}
	_, _, _, a := open(t, g)
	a.Update(1, "", []byte("x"), false)
	a.Update(2, "", []byte("y"), false)
	if e := g.entries; e[0].Seq != 1 || e[1].Seq != 2 || !e[1].Time.After(e[0].Time) {
		t.Fatalf("stored %+v", e)
	}
}

func TestOverloadDelaysAcknowledgementsAndLosesNothing(t *testing.T) {
	g := &gate{}
	_, from, _, a := open(t, g)
	a.Update(1, "", []byte("x"), false)
	g.answer(storage.ErrOverloaded)
	a.Update(2, "", []byte("y"), false)
	for start := time.Now(); g.appends() < 3; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the operation was not appended again")
		}
	}
	g.answer(nil)
	if from.acks != 2 || g.entries[1].Seq != 1 || g.entries[2].Seq != 2 {
		t.Fatalf("%d acknowledged, stored %+v", from.acks, g.entries)
	}
}

func TestAClosedDocumentTellsEverybodyAndAcknowledgesNothing(t *testing.T) {
	g := &gate{}
	d, from, other, a := open(t, g)
	a.Update(1, "", []byte("x"), false)
	d.Close()
	g.answer(nil)
	if !from.closed || !other.closed || from.acks != 0 {
		t.Fatalf("%+v, %+v", from, other)
	}
	if _, err := d.Attach(from); err == nil {
		t.Fatal("attached to a closed document")
	}
}
