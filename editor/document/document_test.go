package document

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/storage"
)

// gate is a Shard that answers when the test says so.
type gate struct {
	mu      sync.Mutex
	waiting []func(error)
	entries []storage.Entry

	snapshots []storage.Snapshot
	refuse    error         // What WriteSnapshot returns.
	hang      chan struct{} // What it waits for, if it is there.
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

func (*gate) Load(context.Context, string) (storage.Document, error) { return storage.Document{}, nil }
func (g *gate) WriteSnapshot(ctx context.Context, _ string, s storage.Snapshot) error {
	if g.hang != nil {
		select {
		case <-g.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.snapshots = append(g.snapshots, s)
	return g.refuse
}

func (g *gate) taken() []storage.Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.snapshots)
}
func (*gate) Fenced() <-chan struct{}     { return nil }
func (*gate) Close(context.Context) error { return nil }

type record struct {
	acks, updates int
	rejected      Reason
	messages      []string
	closed        bool
	follow        bool
}

// typist makes updates, each of which inserts a text at the end.
type typist struct {
	doc  *crdt.Doc
	last []byte
}

func newTypist(client uint64) *typist {
	p := &typist{doc: crdt.NewDoc(crdt.Options{ClientID: client})}
	p.doc.OnUpdate(func(update []byte, _ any) { p.last = update })
	return p
}

func (p *typist) insert(t *testing.T, text string) []byte {
	t.Helper()
	root := p.doc.Text("text")
	if err := root.Insert(root.Len(), text); err != nil {
		t.Fatal(err)
	}
	return p.last
}

func (*record) Attached([]byte, int)            {}
func (r *record) Update([]byte)                 { r.updates++ }
func (*record) Awareness([]byte)                {}
func (r *record) Stateless(payload []byte)      { r.messages = append(r.messages, string(payload)) }
func (*record) Content(uint64, Content)         {}
func (r *record) Follow(follow bool)            { r.follow = follow }
func (r *record) Ack(uint64)                    { r.acks++ }
func (r *record) Rejected(_ uint64, why Reason) { r.rejected = why }
func (r *record) Closed()                       { r.closed = true }

func open(t *testing.T, g *gate, set ...func(*Options)) (*Document, *record, *record, *Attachment) {
	t.Helper()
	options := Options{
		Shard: g, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Unix(1, 0) },
	}
	for _, f := range set {
		f(&options)
	}
	d, err := Open("acme/a", storage.Document{}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

func TestNothingIsAcknowledgedBeforeItIsStored(t *testing.T) {
	g := &gate{}
	_, from, other, a := open(t, g)
	x := newTypist(1).insert(t, "x")
	a.Update(1, Author{}, x, false)
	a.Update(2, Author{}, x, false)
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
	p := newTypist(1)
	a.Update(1, Author{}, p.insert(t, "x"), false)
	a.Update(2, Author{}, p.insert(t, "y"), false)
	if e := g.entries; e[0].Seq != 1 || e[1].Seq != 2 || !e[1].Time.After(e[0].Time) {
		t.Fatalf("stored %+v", e)
	}
}

func TestOverloadDelaysAcknowledgementsAndLosesNothing(t *testing.T) {
	g := &gate{}
	_, from, _, a := open(t, g)
	p := newTypist(1)
	a.Update(1, Author{}, p.insert(t, "x"), false)
	g.answer(storage.ErrOverloaded)
	a.Update(2, Author{}, p.insert(t, "y"), false)
	await(t, "the operation to be appended again", func() bool { return g.appends() >= 3 })
	g.answer(nil)
	if from.acks != 2 || g.entries[1].Seq != 1 || g.entries[2].Seq != 2 {
		t.Fatalf("%d acknowledged, stored %+v", from.acks, g.entries)
	}
}

func TestAClosedDocumentTellsEverybodyAndAcknowledgesNothing(t *testing.T) {
	g := &gate{}
	d, from, other, a := open(t, g)
	a.Update(1, Author{}, newTypist(1).insert(t, "x"), false)
	d.Close()
	g.answer(nil)
	if !from.closed || !other.closed || from.acks != 0 {
		t.Fatalf("%+v, %+v", from, other)
	}
	if _, err := d.Attach(from); err == nil {
		t.Fatal("attached to a closed document")
	}
}

func TestAcknowledgementsKeepTheOrderOfOperations(t *testing.T) {
	g := &gate{}
	_, from, _, a := open(t, g)
	p := newTypist(1)
	first, second := p.insert(t, "x"), p.insert(t, "y")
	a.Update(1, Author{}, first, false)
	a.Update(2, Author{}, second, false)
	// What repeats the first operation says that all before is stored too.
	g.mu.Lock()
	waiting := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	waiting[1](nil)
	a.Update(3, Author{}, first, false)
	if from.acks != 0 {
		t.Fatal("acknowledged although the first operation is not stored")
	}
	waiting[0](nil)
	if from.acks != 3 {
		t.Fatalf("%d are acknowledged", from.acks)
	}
}

func TestMalformedAndOversizedUpdatesAreRefusedAndChangeNothing(t *testing.T) {
	g := &gate{}
	d, from, other, a := open(t, g, func(o *Options) { o.MaxBytes = 100 })
	a.Update(1, Author{}, []byte("no update"), false)
	if from.rejected != Malformed {
		t.Errorf("a malformed update is %q", from.rejected)
	}
	p := newTypist(1)
	a.Update(2, Author{}, p.insert(t, strings.Repeat("x", 100)), false)
	if from.rejected != TooLarge {
		t.Errorf("an update beyond the bound is %q", from.rejected)
	}
	if other.updates != 0 || g.appends() != 0 || len(d.engine.StateVector()) != 0 {
		t.Error("the refused updates changed something")
	}
}

func TestSnapshotsHoldWhatIsStored(t *testing.T) {
	g := &gate{}
	d, _, _, a := open(t, g, func(o *Options) { o.SnapshotEvery = 3 })
	p := newTypist(1)
	for i := range 4 {
		a.Update(uint64(i), Author{}, p.insert(t, "x"), false)
	}
	if len(g.taken()) != 0 {
		t.Fatal("a snapshot before anything was stored")
	}
	g.answer(nil)
	await(t, "a snapshot", func() bool { return len(g.taken()) == 1 })
	s := g.taken()[0]
	if s.Seq < 3 || s.Time.IsZero() {
		t.Fatalf("the snapshot is of operation %d at %s", s.Seq, s.Time)
	}
	again, err := Open("acme/a", storage.Document{Snapshot: &s, Tail: g.entries[s.Seq:]}, d.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if text := again.engine.Text("text").String(); text != "xxxx" || again.seq != 4 {
		t.Fatalf("opened %q at operation %d", text, again.seq)
	}
}

func TestAnIdleDocumentIsClosedAfterItsSnapshot(t *testing.T) {
	g := &gate{}
	d, _, _, a := open(t, g)
	a.Update(1, Author{}, newTypist(1).insert(t, "x"), false)
	g.answer(nil)
	if d.CloseIfIdle() {
		t.Fatal("closed although somebody is attached")
	}
	for attachment := range d.sinks {
		attachment.Detach()
	}
	await(t, "the document to close", d.CloseIfIdle)
	if s := g.taken(); len(s) != 1 || s[0].Seq != 1 {
		t.Fatalf("snapshots: %+v", s)
	}
}

func TestOperationsWaitWhenSnapshotsCannotBeStored(t *testing.T) {
	g := &gate{refuse: errors.New("no room")}
	_, from, _, a := open(t, g, func(o *Options) { o.SnapshotEvery = 1 })
	p := newTypist(1)
	for i := range maxTail + 10 {
		a.Update(uint64(i), Author{}, p.insert(t, "x"), false)
	}
	g.answer(nil)
	if g.appends() != maxTail || from.acks != maxTail {
		t.Fatalf("%d appended, %d acknowledged", g.appends(), from.acks)
	}
	g.mu.Lock()
	g.refuse = nil
	g.mu.Unlock()
	await(t, "the rest", func() bool {
		g.answer(nil)
		return g.appends() == maxTail+10
	})
	g.answer(nil)
	if from.acks != maxTail+10 {
		t.Fatalf("%d acknowledged", from.acks)
	}
}

func TestAJoinerGetsWhatItLacks(t *testing.T) {
	g := &gate{}
	d, _, _, a := open(t, g)
	p := newTypist(1)
	a.Update(1, Author{}, p.insert(t, strings.Repeat("a", 1000)), false)
	joiner := newTypist(2)
	if err := joiner.doc.ApplyUpdate(p.last, nil); err != nil {
		t.Fatal(err)
	}
	a.Update(2, Author{}, p.insert(t, "b"), false)
	asked := &asker{}
	attachment, err := d.Attach(asked)
	if err != nil {
		t.Fatal(err)
	}
	if err := attachment.Sync(7, joiner.doc.EncodeStateVector()); err != nil {
		t.Fatal(err)
	}
	if asked.ref != 7 || len(asked.content.Update) > 100 {
		t.Fatalf("got %d bytes for %d", len(asked.content.Update), asked.ref)
	}
	if err := joiner.doc.ApplyUpdate(asked.content.Update, nil); err != nil {
		t.Fatal(err)
	}
	if got := joiner.doc.Text("text").Len(); got != 1001 {
		t.Fatalf("the joiner has %d characters", got)
	}
	if err := attachment.Sync(8, []byte{255}); err == nil {
		t.Fatal("a malformed state vector is taken")
	}
}

// asker keeps the answer to Sync.
type asker struct {
	record
	ref     uint64
	content Content
}

func (k *asker) Content(ref uint64, content Content) { k.ref, k.content = ref, content }

func TestACheckIsAnsweredWithoutIntegratingAnything(t *testing.T) {
	g := &gate{}
	_, from, other, a := open(t, g)
	p := newTypist(1)
	known := p.insert(t, "x")
	a.Update(1, Author{}, known, false)
	unknown := p.insert(t, "y")
	a.Check(2, known)
	if from.acks != 0 || from.rejected != "" {
		t.Fatalf("answered before it is stored: %+v", from)
	}
	g.answer(nil)
	if from.acks != 2 {
		t.Fatalf("%d acknowledged, want the change and the check", from.acks)
	}
	a.Check(3, unknown)
	if from.rejected != Missing || other.updates != 1 || g.appends() != 1 {
		t.Fatalf("%+v, %+v, %d appended", from, other, g.appends())
	}
}

func TestAMessageIsHandedToTheOthersAndNotKept(t *testing.T) {
	g := &gate{}
	_, from, other, a := open(t, g)
	a.Stateless([]byte("hello"))
	if len(other.messages) != 1 || other.messages[0] != "hello" || len(from.messages) != 0 || g.appends() != 0 {
		t.Fatalf("%+v, %+v, %d appended", from, other, g.appends())
	}
}

func TestParticipantsAreToldDirectlyWhileTheFeedDoesNotWork(t *testing.T) {
	g := &gate{}
	d, from, other, a := open(t, g, func(o *Options) { o.FanOut = 2 })
	p := newTypist(1)
	for following := range d.sinks {
		following.Following(true)
	}
	a.Update(1, Author{}, p.insert(t, "x"), false)
	if !from.follow || other.updates != 0 {
		t.Fatalf("the feed is not followed: %t, %d updates", from.follow, other.updates)
	}
	d.Feed(false)
	if from.follow || other.follow {
		t.Fatal("not everybody is asked to leave the feed")
	}
	a.Update(2, Author{}, p.insert(t, "y"), false)
	if other.updates != 1 || g.entries[1].Publish {
		t.Fatalf("told of %d updates, published: %t", other.updates, g.entries[1].Publish)
	}
	d.Feed(true)
	if !from.follow || !other.follow {
		t.Fatal("not everybody is asked to follow the feed again")
	}
}

func TestManyParticipantsFollowTheFeed(t *testing.T) {
	g := &gate{}
	d, from, other, a := open(t, g, func(o *Options) { o.FanOut = 3 })
	p := newTypist(1)
	a.Update(1, Author{}, p.insert(t, "x"), false)
	third := &record{}
	attachment, err := d.Attach(third)
	if err != nil {
		t.Fatal(err)
	}
	if !from.follow || !other.follow || !third.follow {
		t.Fatal("not everybody is asked to follow the feed")
	}
	// Who does not follow yet is told directly, so that nothing is missed in between.
	a.Update(2, Author{}, p.insert(t, "y"), false)
	attachment.Following(true)
	a.Update(3, Author{}, p.insert(t, "z"), false)
	if other.updates != 3 || third.updates != 1 {
		t.Fatalf("the participants were told of %d and %d updates", other.updates, third.updates)
	}
	if e := g.entries; e[0].Publish || !e[1].Publish || !e[2].Publish {
		t.Fatalf("published: %t, %t, %t", e[0].Publish, e[1].Publish, e[2].Publish)
	}
	for o := range d.sinks {
		if o != a && o != attachment {
			o.Detach()
		}
	}
	if !third.follow {
		t.Fatal("the feed is left although there are still more than half as many")
	}
	a.Detach()
	if third.follow {
		t.Fatal("the feed is not left")
	}
	attachment.Update(4, Author{}, newTypist(2).insert(t, "v"), true)
	if third.updates != 2 {
		t.Fatal("who has left the feed is not told of updates")
	}
}

func TestAFailOverOfTheDatabaseIsNotNoticed(t *testing.T) {
	const second = 50 // Operations, and snapshots ten times as often as with ten times the operations.
	for name, hang := range map[string]bool{"refused": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			g := &gate{refuse: fmt.Errorf("snapshot: %w", storage.ErrUnavailable)}
			if hang {
				g.hang = make(chan struct{})
			}
			d, from, _, a := open(t, g, func(o *Options) { o.SnapshotEvery = 10 })
			p := newTypist(1)
			id := uint64(0)
			for range 40 { // Patroni takes 20 to 30 seconds.
				for range second {
					id++
					a.Update(id, Author{}, p.insert(t, "x"), false)
				}
				g.answer(nil)
				if uint64(from.acks) != id {
					t.Fatalf("after %d operations %d are acknowledged", id, from.acks)
				}
			}
			g.mu.Lock()
			g.refuse = nil
			g.mu.Unlock()
			if hang {
				close(g.hang)
			}
			await(t, "a snapshot of all", func() bool {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.takeSnapshot()
				return d.snapshot == int64(id)
			})
		})
	}
}

func TestWhatAnOpeningReplaysIsBoundedHoweverLongTheDatabaseIsDown(t *testing.T) {
	g := &gate{refuse: storage.ErrUnavailable}
	_, from, _, a := open(t, g, func(o *Options) { o.SnapshotEvery = 1 })
	p := newTypist(1)
	for i := range maxOutage + 10 {
		a.Update(uint64(i), Author{}, p.insert(t, "x"), false)
		g.answer(nil)
	}
	if g.appends() != maxOutage || from.acks != maxOutage {
		t.Errorf("%d appended, %d acknowledged", g.appends(), from.acks)
	}
	g = &gate{refuse: storage.ErrUnavailable}
	d, from, _, a := open(t, g, func(o *Options) { o.SnapshotEvery = 1 })
	d.bytes = maxOutageBytes // As if the operations since the last snapshot were large.
	for i := range maxTail + 10 {
		a.Update(uint64(i), Author{}, p.insert(t, "x"), false)
		g.answer(nil)
	}
	if n := from.acks; n != maxTail {
		t.Errorf("%d operations of many bytes are acknowledged", n)
	}
}

// state is all that somebody has.
func (p *typist) state(t *testing.T) []byte {
	t.Helper()
	state, err := p.doc.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestAFullDocumentCanBeJoinedAndMadeSmaller(t *testing.T) {
	g := &gate{}
	now := time.Unix(1, 0)
	_, from, other, a := open(t, g, func(o *Options) {
		o.MaxBytes = 10_000
		o.Now = func() time.Time { return now }
	})
	id := uint64(0)
	send := func(update []byte) Reason {
		id++
		from.rejected = ""
		now = now.Add(measureInterval)
		a.Update(id, Author{}, update, false)
		return from.rejected
	}
	p := newTypist(1)
	text := p.doc.Text("text")
	if why := send(p.insert(t, strings.Repeat("x", 9_900))); why != "" {
		t.Fatalf("what fits is %q", why)
	}
	// Somebody who was here before joins, with nothing new or with what was deleted offline.
	joiner := newTypist(2)
	if err := joiner.doc.ApplyUpdate(p.state(t), nil); err != nil {
		t.Fatal(err)
	}
	if why := send(joiner.state(t)); why != "" {
		t.Errorf("a joiner that has nothing new is %q", why)
	}
	for range 50 {
		if err := joiner.doc.Text("text").Delete(10, 1); err != nil {
			t.Fatal(err)
		}
	}
	if why := send(joiner.state(t)); why != "" || other.updates != 2 {
		t.Errorf("a joiner that has deleted something is %q; the others were told of %d updates", why, other.updates)
	}
	stranger := newTypist(3)
	if why := send(stranger.insert(t, strings.Repeat("z", 500))); why != TooLarge {
		t.Errorf("too much is %q", why)
	}
	// What is deleted makes room.
	if err := text.Delete(0, 5_000); err != nil {
		t.Fatal(err)
	}
	if why := send(p.last); why != "" {
		t.Errorf("a deletion is %q", why)
	}
	if why := send(stranger.state(t)); why != "" {
		t.Errorf("what fits again is %q", why)
	}
	if why := send([]byte("no update, " + strings.Repeat("but large", 2_000))); why != Malformed {
		t.Errorf("a large malformed update is %q", why)
	}
	// Deletions of what is not there have to be kept.
	hoard := newTypist(4)
	hoard.insert(t, strings.Repeat("a", 20_000))
	from.acks = 0
	for i := range 6_000 {
		if err := hoard.doc.Text("text").Delete(i, 1); err != nil {
			t.Fatal(err)
		}
	}
	deletions, err := crdt.DiffUpdate(hoard.state(t), hoard.doc.EncodeStateVector())
	if err != nil {
		t.Fatal(err)
	}
	send(deletions)
	if err := hoard.doc.Text("text").Delete(7_000, 1); err != nil {
		t.Fatal(err)
	}
	if why := send(hoard.last); why != TooLarge {
		t.Errorf("ever more deletions of what is not there are %q", why)
	}
}

func TestADocumentLargerThanItMayBeCanBeJoinedAndMadeSmaller(t *testing.T) {
	p := newTypist(1)
	stored := storage.Document{Tail: []storage.Entry{{Seq: 1, Update: p.insert(t, strings.Repeat("x", 20_000))}}}
	d, err := Open("acme/a", stored, Options{Shard: &gate{}, MaxBytes: 10_000, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	from := &record{}
	a, err := d.Attach(from)
	if err != nil {
		t.Fatal(err)
	}
	a.Update(1, Author{}, p.state(t), false)
	if from.rejected != "" {
		t.Errorf("a joiner that has nothing new is %q", from.rejected)
	}
	if err := p.doc.Text("text").Delete(0, 100); err != nil {
		t.Fatal(err)
	}
	a.Update(2, Author{}, p.last, false)
	if from.rejected != "" {
		t.Errorf("a deletion is %q", from.rejected)
	}
	a.Update(3, Author{}, p.insert(t, "more"), false)
	if from.rejected != TooLarge {
		t.Errorf("more is %q", from.rejected)
	}
}

func TestTimestampsRiseAtANewOwnerWhoseClockIsBehind(t *testing.T) {
	p := newTypist(1)
	ahead := time.Unix(1000, 0).UTC()
	for name, stored := range map[string]storage.Document{
		"a snapshot":   {Snapshot: &storage.Snapshot{Seq: 7, Time: ahead, State: p.insert(t, "x")}},
		"an operation": {Tail: []storage.Entry{{Seq: 7, Time: ahead, Update: p.last}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{}
			d, err := Open("acme/a", stored, Options{
				Shard: g, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Unix(1, 0) },
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			a, err := d.Attach(&record{})
			if err != nil {
				t.Fatal(err)
			}
			last := ahead
			for i := range 3 {
				a.Update(uint64(i), Author{}, newTypist(uint64(i+2)).insert(t, "y"), false)
				if e := g.entries[i]; !e.Time.After(last) || e.Seq != int64(8+i) {
					t.Fatalf("operation %d at %v follows one at %v", e.Seq, e.Time, last)
				}
				last = g.entries[i].Time
			}
		})
	}
}
