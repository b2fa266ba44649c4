package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store has one shard, whose fate the test decides.
type store struct {
	// fenced is closed to fence the shard that is open; the next opening makes another one.
	fenced   chan struct{}
	left     []storage.Entry
	stored   storage.Document
	named    map[string]storage.Document
	opens    chan struct{}
	loads    chan string
	outdated chan func(string)
	// flushes tells of each Flush what ends it; it is not waited for if it is nil.
	flushes chan chan struct{}
}

func newStore() *store {
	return &store{
		fenced: make(chan struct{}), opens: make(chan struct{}, 10), loads: make(chan string, 10),
		outdated: make(chan func(string), 10),
	}
}

func (s *store) Open(context.Context, int32, int64, string) (storage.Shard, error) {
	s.opens <- struct{}{}
	select {
	case <-s.fenced:
		s.fenced = make(chan struct{})
	default:
	}
	return &opened{s, s.fenced}, nil
}
func (*store) Close(context.Context) error { return nil }

type opened struct {
	store  *store
	fenced chan struct{}
}

func (s *opened) Load(_ context.Context, name string) (storage.Document, error) {
	s.store.loads <- name
	if d, ok := s.store.named[name]; ok {
		return d, nil
	}
	return s.store.stored, nil
}
func (*opened) Append(_ storage.Entry, done func(error))                      { go done(nil) }
func (*opened) WriteSnapshot(context.Context, string, storage.Snapshot) error { return nil }
func (s *opened) Fenced() <-chan struct{}                                     { return s.fenced }
func (*opened) Close(context.Context) error                                   { return storage.ErrFenced }
func (s *opened) Unflushed() []storage.Entry                                  { return s.store.left }
func (s *opened) OnOutdated(outdated func(string))                            { s.store.outdated <- outdated }
func (s *opened) Flush(ctx context.Context, _ string) error {
	if s.store.flushes == nil {
		return nil
	}
	end := make(chan struct{})
	s.store.flushes <- end
	select {
	case <-end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve runs a manager that owns the only shard of a map.
func serve(
	t *testing.T, s *store, forward func(context.Context, string, string, []byte) error, set ...func(*Options),
) *Manager {
	t.Helper()
	maps := &Maps{}
	maps.Set(NewMap(v1alpha1.ShardMapSpec{
		Members: []v1alpha1.ShardMember{{Name: "a"}},
		Shards:  []v1alpha1.ShardAssignment{{Shard: 0, Owner: "a", Epoch: 1}},
	}))
	options := Options{Name: "a", Maps: maps, Store: s, Forward: forward, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range set {
		f(&options)
	}
	m := NewManager(options)
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

// typed returns the updates of somebody who types a text letter by letter.
func typed(t *testing.T, client uint64, text string) (updates [][]byte) {
	t.Helper()
	doc := crdt.NewDoc(crdt.Options{ClientID: client})
	doc.OnUpdate(func(update []byte, _ any) { updates = append(updates, update) })
	for i, letter := range text {
		if err := doc.Text("t").Insert(i, string(letter)); err != nil {
			t.Fatal(err)
		}
	}
	return updates
}

func TestAFencedOwnerForwardsWhatItHasAcknowledged(t *testing.T) {
	s := newStore()
	want := map[string]string{}
	for n := range 20 {
		for client, user := range []string{"eve", "bob"} {
			name := fmt.Sprintf("acme/%d", n)
			want[name+" "+user] = fmt.Sprintf("%s in %d", user, n)
			for _, update := range typed(t, uint64(client+1), want[name+" "+user]) {
				s.left = append(s.left, storage.Entry{Document: name, User: user, Update: update})
			}
		}
	}
	rand.Shuffle(len(s.left), func(i, k int) { s.left[i], s.left[k] = s.left[k], s.left[i] })
	forwarded := make(chan storage.Entry, 100)
	serve(t, s, func(_ context.Context, document, user string, update []byte) error {
		forwarded <- storage.Entry{Document: document, User: user, Update: update}
		return nil
	})
	receive(t, s.outdated, "the shard to be opened")
	close(s.fenced)
	for range 40 { // All of a user in a document at once.
		got := receive(t, forwarded, "a change")
		doc := crdt.NewDoc(crdt.Options{})
		if err := doc.ApplyUpdate(got.Update, nil); err != nil {
			t.Fatal(err)
		}
		key := got.Document + " " + got.User
		if text := doc.Text("t").String(); text != want[key] {
			t.Fatalf("forwarded %q of %s, want %q", text, key, want[key])
		}
		delete(want, key)
	}
}

func TestAShardThatIsLostAtItsOwnEpochIsTakenAgain(t *testing.T) {
	s := newStore()
	m := serve(t, s, nil)
	for range 3 {
		receive(t, s.opens, "the shard to be opened")
		receive(t, s.outdated, "the shard to be served")
		err := m.attach(t.Context(), "acme/a", 1, func(*owned, *document.Document) error { return nil })
		if err != nil {
			t.Fatalf("attach: %v", err)
		}
		receive(t, s.loads, "the document to be loaded")
		close(s.fenced)
		for start := time.Now(); m.Documents() > 0; time.Sleep(time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatal("the lost shard's document is open")
			}
		}
	}
	receive(t, s.opens, "the shard to be opened")
	receive(t, s.outdated, "the shard to be served")
	m.opts.Maps.Set(NewMap(v1alpha1.ShardMapSpec{
		Members: []v1alpha1.ShardMember{{Name: "b"}},
		Shards:  []v1alpha1.ShardAssignment{{Shard: 0, Owner: "b", Epoch: 2}},
	}))
	for start := time.Now(); m.Owned() > 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the shard that is another pod's is kept")
		}
	}
	select {
	case <-s.opens:
		t.Error("a shard that is another pod's was taken again")
	case <-time.After(10 * minBackoff):
	}
}

func TestAnEvictedDocumentIsStoredBeforeItIsOpenedAgain(t *testing.T) {
	s := newStore()
	s.flushes = make(chan chan struct{}, 1)
	m := serve(t, s, nil)
	ctx, cancel := context.WithCancel(t.Context())
	edge, owner := peer.Pipe(ctx)
	var served sync.WaitGroup
	served.Go(func() { _ = m.Serve(ctx, owner) })
	defer served.Wait()
	defer cancel()
	send := func(f *peer.Frame) {
		if err := edge.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	frames := [3]chan *peer.Frame{}
	for i := range frames {
		frames[i] = make(chan *peer.Frame, 10)
	}
	served.Go(func() {
		for {
			f, err := edge.Recv()
			if err != nil {
				return
			}
			frames[f.Channel] <- f
		}
	})
	expect := func(kind peer.Kind, channel uint32) {
		t.Helper()
		if f := receive(t, frames[channel], "a frame"); f.Kind != kind {
			t.Fatalf("got %+v, want the kind %d on channel %d", f, kind, channel)
		}
	}
	send(&peer.Frame{Kind: peer.Attach, Channel: 1, ID: 1, Text: "acme/a"})
	expect(peer.Attached, 1)
	receive(t, s.loads, "the document to be loaded")
	send(&peer.Frame{Kind: peer.Evict, Channel: 1, ID: 7})
	stored := receive(t, s.flushes, "the stores to be asked for everything")
	send(&peer.Frame{Kind: peer.Attach, Channel: 2, ID: 1, Text: "acme/a"})
	send(&peer.Frame{Kind: peer.Ping})
	expect(peer.Pong, 0)
	select {
	case f := <-frames[1]:
		t.Fatalf("got %+v before everything is stored", f)
	case f := <-frames[2]:
		t.Fatalf("got %+v before everything is stored", f)
	case <-s.loads:
		t.Fatal("the document is loaded again before everything is stored")
	case <-time.After(50 * time.Millisecond):
	}
	close(stored)
	// Who asked has its answer before it is sent elsewhere.
	expect(peer.Ack, 1)
	expect(peer.Moved, 1)
	receive(t, s.loads, "the document to be loaded again")
	expect(peer.Attached, 2)
}

// listener is a sink that tells when its document closes.
type listener struct{ closed chan struct{} }

func (listener) Attached([]byte, int)             {}
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

func TestADocumentThatCannotBeReadIsRefusedAndReportedOnce(t *testing.T) {
	s := newStore()
	s.stored = storage.Document{Tail: []storage.Entry{{Seq: 1, Update: []byte("no update")}}}
	reports := &reports{}
	m := serve(t, s, nil, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(reports, nil)) })
	for range 5 {
		err := m.attach(t.Context(), "acme/a", 1, func(*owned, *document.Document) error { return nil })
		if !errors.Is(err, document.ErrUnreadable) {
			t.Fatalf("attached with %v", err)
		}
	}
	if n := len(s.loads); n != 1 {
		t.Errorf("it was loaded %d times", n)
	}
	if n := reports.count("it cannot be read"); n != 1 {
		t.Errorf("it was reported %d times", n)
	}
	if m.closeUnused(time.Now()); m.Documents() != 1 {
		t.Error("it is not refused anymore")
	}
	if m.closeUnused(time.Now().Add(2 * unreadablePause)); m.Documents() != 0 {
		t.Error("it is refused for good")
	}
}

// reports is a log.
type reports struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *reports) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *reports) count(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), text)
}
