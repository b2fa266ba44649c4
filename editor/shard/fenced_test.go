package shard

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store has one shard, whose fate the test decides.
type store struct {
	fenced   chan struct{}
	left     []storage.Entry
	loads    chan string
	outdated chan func(string)
}

func newStore() *store {
	return &store{fenced: make(chan struct{}), loads: make(chan string, 10), outdated: make(chan func(string), 1)}
}

func (s *store) Open(context.Context, int32, int64, string) (storage.Shard, error) { return s, nil }
func (s *store) Load(_ context.Context, name string) (storage.Document, error) {
	s.loads <- name
	return storage.Document{}, nil
}
func (*store) Append(_ storage.Entry, done func(error))                      { go done(nil) }
func (*store) WriteSnapshot(context.Context, string, storage.Snapshot) error { return nil }
func (s *store) Fenced() <-chan struct{}                                     { return s.fenced }
func (*store) Close(context.Context) error                                   { return storage.ErrFenced }
func (s *store) Unflushed() []storage.Entry                                  { return s.left }
func (s *store) OnOutdated(outdated func(string))                            { s.outdated <- outdated }

// serve runs a manager that owns the only shard of a map.
func serve(t *testing.T, s *store, forward func(context.Context, string, string, []byte) error) *Manager {
	t.Helper()
	maps := &Maps{}
	maps.Set(NewMap(v1alpha1.ShardMapSpec{
		Members: []v1alpha1.ShardMember{{Name: "a"}},
		Shards:  []v1alpha1.ShardAssignment{{Shard: 0, Owner: "a", Epoch: 1}},
	}))
	m := NewManager(Options{
		Name: "a", Maps: maps, Store: s, Forward: forward, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { m.Run(ctx) })
	t.Cleanup(func() { cancel(); wait.Wait() })
	return m
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func TestAFencedOwnerForwardsWhatItHasAcknowledged(t *testing.T) {
	s := newStore()
	s.left = []storage.Entry{{Document: "acme/a", User: "eve", Update: []byte{1}}, {Document: "acme/b", Update: []byte{2}}}
	forwarded := make(chan storage.Entry, 10)
	serve(t, s, func(_ context.Context, document, user string, update []byte) error {
		forwarded <- storage.Entry{Document: document, User: user, Update: update}
		return nil
	})
	receive(t, s.outdated, "the shard to be opened")
	close(s.fenced)
	for _, want := range s.left {
		if got := receive(t, forwarded, "an operation"); got.Document != want.Document || got.User != want.User ||
			got.Update[0] != want.Update[0] {
			t.Fatalf("forwarded %+v, want %+v", got, want)
		}
	}
}

// listener is a sink that tells when its document closes.
type listener struct{ closed chan struct{} }

func (listener) Attached([]byte)                  {}
func (listener) Update([]byte)                    {}
func (listener) Awareness([]byte)                 {}
func (listener) Follow(bool)                      {}
func (listener) Stateless([]byte)                 {}
func (listener) Content(uint64, document.Content) {}
func (listener) Ack(uint64)                       {}
func (listener) Rejected(uint64, document.Reason) {}
func (l listener) Closed()                        { close(l.closed) }

func TestADocumentThatLacksOperationsIsLoadedAgain(t *testing.T) {
	s := newStore()
	m := serve(t, s, nil)
	attach := func() listener {
		l := listener{make(chan struct{})}
		err := m.attach(t.Context(), "acme/a", 1, func(_ *owned, d *document.Document) error {
			_, err := d.Attach(l)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := attach()
	receive(t, s.loads, "the document to be loaded")
	receive(t, s.outdated, "the shard to ask for outdated documents")("acme/a")
	receive(t, first.closed, "the outdated document to be closed")
	attach()
	receive(t, s.loads, "the document to be loaded again")
}

func TestUnattendedDocumentsGoWhenTheMemoryIsShort(t *testing.T) {
	s := newStore()
	m := serve(t, s, nil)
	m.opts.MemoryBudget = 1
	var attachment *document.Attachment
	err := m.attach(t.Context(), "acme/a", 1, func(_ *owned, d *document.Document) (err error) {
		attachment, err = d.Attach(listener{make(chan struct{})})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	doc := crdt.NewDoc(crdt.Options{})
	var update []byte
	doc.OnUpdate(func(u []byte, _ any) { update = u })
	if err := doc.Text("t").Insert(0, "text"); err != nil {
		t.Fatal(err)
	}
	attachment.Update(1, document.Author{}, update, false)
	if short := m.closeUnused(time.Now()); !short || m.Documents() != 1 {
		t.Fatal("a document that is attended was closed")
	}
	attachment.Detach()
	for start := time.Now(); m.Documents() > 0; time.Sleep(time.Millisecond) {
		m.closeUnused(time.Now())
		if time.Since(start) > 20*time.Second {
			t.Fatal("the document is not closed")
		}
	}
}
