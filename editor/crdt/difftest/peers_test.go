package difftest_test

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
	"collab.dev/operator/editor/crdt/yjs"
	"pgregory.net/rapid"
)

//go:embed peer.mjs
var peerScript string

// TestMain makes each property be checked with some 15,000 steps, unless the command line asks for others.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.steps": "100", "rapid.checks": "150"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	os.Exit(m.Run())
}

// blur makes halves of surrogate pairs and whole ones look alike. Yjs replaces both halves of one that it splits, even
// if the edit for which it does that comes to nothing, and so tells nobody.
func blur(v any) string { return strings.ReplaceAll(show(v), "😀", "\uFFFD\uFFFD") }

// node is Yjs.
type node struct{ process *yjs.Process }

// call runs commands and returns their results.
func (n node) call(t *rapid.T, commands ...[]any) []any {
	t.Helper()
	list := make([]any, len(commands))
	for i := range commands {
		list[i] = commands[i]
	}
	answer, err := n.process.Call(list)
	if err != nil {
		t.Fatal(err)
	}
	results, ok := answer.([]any)
	if !ok {
		t.Fatalf("Yjs %v\nat %s", answer, show(list))
	}
	return results
}

// agree fails the test unless both values are the same.
func agree(t *rapid.T, what string, got, want any) {
	t.Helper()
	g, w := show(got), show(want)
	if g == w {
		return
	}
	at := 0
	for at < min(len(g), len(w)) && g[at] == w[at] {
		at++
	}
	at = max(0, at-60)
	t.Fatalf("%s\n  Go %s\n Yjs %s\nfrom byte %d on\n  Go %.200s\n Yjs %.200s", what, g, w, at, g[at:], w[at:])
}

// peer is a document in Go and one in Yjs that see the same: both make the same edits, or an editor in Yjs makes them
// and both apply what it emits.
type peer struct {
	id      string
	doc     *crdt.Doc
	editor  string // The Yjs document that edits, or "".
	undo    bool
	history bool // Whether nothing is collected.
	emitted []any
	seen    []any
	news    [][]byte // What others have to get.
	inbox   [][]byte
	past    [][]byte // Snapshots.
}

func newPeer(t *rapid.T, n node, index int) *peer {
	p := &peer{id: fmt.Sprint("peer ", index)}
	// Ids of all sizes; Yjs orders concurrent insertions by them.
	client := rapid.SampledFrom([]uint64{1, 100, 70000, 1 << 31, 1 << 40}).Draw(t, "client") + uint64(index)
	gc := rapid.IntRange(0, 2).Draw(t, "gc") > 0
	observe := rapid.Bool().Draw(t, "observe")
	p.history = !gc
	var keep any = false
	if rapid.Bool().Draw(t, "edits in Yjs") {
		p.editor = p.id + " editor"
		p.undo = rapid.Bool().Draw(t, "undo")
		if p.undo {
			keep = "each"
		}
		n.call(t, []any{"new", p.editor, object("client", client, "gc", gc, "markers", true, "observe", false, "keep", keep)})
		client += 1000 // Nobody else may use the editor's id.
		keep = false
	} else if rapid.IntRange(0, 2).Draw(t, "keep") == 0 {
		keep = "all"
	}
	n.call(t, []any{"new", p.id, object("client", client, "gc", gc, "markers", false, "observe", observe, "keep", keep)})
	p.doc = crdt.NewDoc(crdt.Options{ClientID: client, KeepHistory: !gc, GUID: "guid"})
	types := roots(p.doc)
	p.doc.OnUpdate(func(u []byte, origin any) {
		p.emitted = append(p.emitted, []any{u, origin == "remote"})
		p.news = append(p.news, u)
	})
	p.doc.OnUpdateV2(func(u []byte, _ any) { p.emitted = append(p.emitted, []any{u, true}) })
	if observe {
		p.observe(types)
	}
	if keep == "all" {
		p.doc.OnTransaction(func(tx *crdt.Transaction) {
			if tx.Origin() == nil {
				tx.Keep()
			}
		})
	}
	return p
}

func (p *peer) observe(types []crdt.Shared) {
	for _, s := range types {
		p.doc.ObserveDeep(s, func(events []*crdt.Event) {
			out := []any{}
			for _, e := range events {
				changes := []any{}
				d := delta(e.Delta())
				for _, k := range e.Keys() {
					old := k.Old
					if k.Action == "add" {
						old = lib0.Undefined{}
					}
					changes = append(changes, []any{k.Key, k.Action, plain(old)})
				}
				path := e.Path()
				if path == nil {
					path = []any{}
				}
				out = append(out, []any{path, d, changes})
			}
			p.seen = append(p.seen, out)
		})
	}
	names := func(list []*crdt.Subdoc) []any {
		out := []any{}
		for _, s := range list {
			out = append(out, s.GUID())
		}
		return out
	}
	p.doc.OnSubdocs(func(c crdt.SubdocChange) {
		p.seen = append(p.seen, []any{names(c.Added), names(c.Removed), names(c.Loaded)})
	})
}

// check compares both documents.
func (p *peer) check(t *rapid.T, n node) {
	t.Helper()
	r := n.call(t, []any{"emitted", p.id}, []any{"seen", p.id}, []any{"state", p.id}, []any{"content", p.id})
	agree(t, p.id+": emitted updates", p.emitted, r[0])
	agree(t, p.id+": events", p.seen, r[1])
	p.emitted, p.seen = []any{}, []any{}
	v1, err := p.doc.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	v2, err := p.doc.EncodeStateAsUpdateV2(nil)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, p.id+": content", content(p.doc), r[3])
	agree(t, p.id+": state", []any{p.doc.EncodeStateVector(), v1, v2}, r[2])
	if err := p.doc.Check(); err != nil {
		t.Fatal(p.id, err)
	}
}

// apply gives an update to all documents of the peer.
func (p *peer) apply(t *rapid.T, n node, update []byte, v2 bool) {
	t.Helper()
	commands := [][]any{{"apply", p.id, update, v2}}
	if p.editor != "" {
		commands = append(commands, []any{"apply", p.editor, update, v2})
	}
	n.call(t, commands...)
	var err error
	if v2 {
		err = p.doc.ApplyUpdateV2(update, "remote")
	} else {
		err = p.doc.ApplyUpdate(update, "remote")
	}
	if err != nil {
		t.Fatal(err)
	}
	p.collect(t, n)
	p.check(t, n)
}

// collect gives to the peer's documents what its editor emitted on its own.
func (p *peer) collect(t *rapid.T, n node) {
	if p.editor == "" {
		return
	}
	for {
		emitted, _ := n.call(t, []any{"emitted", p.editor})[0].([]any)
		if len(emitted) == 0 {
			return
		}
		for _, e := range emitted {
			pair, _ := e.([]any)
			if u, ok := pair[0].([]byte); ok && pair[1] == false { // Format v1, and not from another peer.
				n.call(t, []any{"apply", p.id, u, false})
				if err := p.doc.ApplyUpdate(u, "remote"); err != nil {
					t.Fatal(err)
				}
				p.news = append(p.news, u)
			}
		}
	}
}

// world is the peers and what they have to tell each other.
type world struct {
	node
	peers []*peer
	log   [][]byte // All updates.
}

func newWorld(t *rapid.T, n node) *world {
	w := &world{node: n}
	for i := range rapid.IntRange(2, 5).Draw(t, "peers") {
		w.peers = append(w.peers, newPeer(t, n, i))
	}
	return w
}

func (w *world) close(t *rapid.T) {
	for _, p := range w.peers {
		w.call(t, []any{"free", p.id})
		if p.editor != "" {
			w.call(t, []any{"free", p.editor})
		}
	}
}

// spread puts the news of all peers into the inboxes of the others.
func (w *world) spread() {
	for _, p := range w.peers {
		for _, u := range p.news {
			w.log = append(w.log, u)
			for _, o := range w.peers {
				if o != p {
					o.inbox = append(o.inbox, u)
				}
			}
		}
		p.news = nil
	}
}

func (w *world) draw(t *rapid.T) *peer {
	return w.peers[rapid.IntRange(0, len(w.peers)-1).Draw(t, "peer")]
}

func (w *world) edit(t *rapid.T) {
	p := w.draw(t)
	count := 1
	if rapid.IntRange(0, 3).Draw(t, "more") == 0 {
		count = rapid.IntRange(2, 4).Draw(t, "edits")
	}
	if p.editor != "" {
		var e []any
		for range count {
			// Only the first is sure to be possible: the others edit at other places.
			if e = append(e, drawEdit(t, p.doc)); count > 1 {
				if d, _ := e[len(e)-1].([]any); !independent(d) {
					e = e[:len(e)-1]
				}
			}
		}
		w.call(t, []any{"edit", p.editor, e})
		p.collect(t, w.node)
	} else {
		var e []any
		p.doc.Transact(nil, func(*crdt.Transaction) {
			for range count {
				one := drawEdit(t, p.doc)
				e = append(e, one)
				if err := perform(p.doc, one); err != nil {
					t.Fatalf("%s: %v", show(one), err)
				}
			}
		})
		w.call(t, []any{"edit", p.id, e})
	}
	p.check(t, w.node)
	w.spread()
}

// independent reports whether an edit is possible whatever others do before it in the same transaction.
func independent(e edit) bool {
	path, _ := e[0].([]any)
	if len(path) > 1 {
		return false
	}
	return e[1] == "push" || e[1] == "set" || e[1] == "unset" || e[1] == "attribute" ||
		e[1] == "insertf" && e[2] == 0 || e[1] == "insert" && e[2] == 0
}

func (w *world) undo(t *rapid.T) {
	p := w.draw(t)
	if !p.undo {
		return
	}
	w.call(t, []any{rapid.SampledFrom([]string{"undo", "undo", "redo"}).Draw(t, "which"), p.editor})
	p.collect(t, w.node)
	p.check(t, w.node)
	w.spread()
}

// take removes some updates from a peer's inbox.
func take(t *rapid.T, p *peer, n int) [][]byte {
	var out [][]byte
	for range min(n, len(p.inbox)) {
		i := rapid.IntRange(0, len(p.inbox)-1).Draw(t, "update")
		out = append(out, p.inbox[i])
		p.inbox = slices.Delete(p.inbox, i, i+1)
	}
	return out
}

// deliver applies one or several updates at a peer, one by one or merged, in either format, new or known.
func (w *world) deliver(t *rapid.T) {
	p := w.draw(t)
	var updates [][]byte
	switch rapid.IntRange(0, 3).Draw(t, "delivery") {
	case 0:
		updates = take(t, p, rapid.IntRange(2, 6).Draw(t, "updates"))
	case 1:
		updates = take(t, p, 1)
		if len(w.log) > 0 {
			updates = append(updates, rapid.SampledFrom(w.log).Draw(t, "again"))
		}
	default:
		updates = take(t, p, 1)
	}
	if len(updates) == 0 {
		return
	}
	v2 := rapid.Bool().Draw(t, "v2")
	for i := range updates {
		if v2 {
			updates[i] = w.toV2(t, updates[i])
		}
	}
	if rapid.Bool().Draw(t, "merged") {
		updates = [][]byte{w.merge(t, updates, v2)}
	}
	for _, u := range updates {
		p.apply(t, w.node, u, v2)
		w.spread()
	}
}

func (w *world) toV2(t *rapid.T, u []byte) []byte {
	v2, err := crdt.ConvertUpdateV1ToV2(u)
	if err != nil {
		t.Fatal(err)
	}
	return v2
}

// merge merges updates here and in Yjs.
func (w *world) merge(t *rapid.T, updates [][]byte, v2 bool) []byte {
	merge := crdt.MergeUpdates
	if v2 {
		merge = crdt.MergeUpdatesV2
	}
	merged, err := merge(updates)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]any, len(updates))
	for i := range updates {
		list[i] = updates[i]
	}
	agree(t, "merged updates "+show(list), merged, w.call(t, []any{"merge", list, v2})[0])
	return merged
}

// synchronize brings a peer what another one has, as a difference to its state vector.
func (w *world) synchronize(t *rapid.T) {
	from, to := w.draw(t), w.draw(t)
	sv := to.doc.EncodeStateVector()
	v1, err := from.doc.EncodeStateAsUpdate(sv)
	if err != nil {
		t.Fatal(err)
	}
	v2, err := from.doc.EncodeStateAsUpdateV2(sv)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "difference", []any{v1, v2}, w.call(t, []any{"diff", from.id, sv})[0])
	if rapid.Bool().Draw(t, "v2") {
		to.apply(t, w.node, v2, true)
	} else {
		to.apply(t, w.node, v1, false)
	}
	w.spread()
}

// drawStateVector returns a state vector that cuts what a document has somewhere.
func drawStateVector(t *rapid.T, d *crdt.Doc) []byte {
	sv := crdt.StateVector{}
	have := d.StateVector()
	clients := make([]uint64, 0, len(have))
	for c := range have {
		clients = append(clients, c)
	}
	slices.Sort(clients)
	for _, c := range clients {
		if n := rapid.Uint64Range(0, have[c]+1).Draw(t, "clock"); n > 0 {
			sv[c] = n
		}
	}
	return sv.Encode()
}

// algebra compares what can be done with updates without a document.
func (w *world) algebra(t *rapid.T) {
	p := w.draw(t)
	if len(w.log) == 0 {
		return
	}
	var updates, updates2 [][]byte
	for range rapid.IntRange(1, 8).Draw(t, "updates") {
		u := rapid.SampledFrom(w.log).Draw(t, "update")
		if rapid.IntRange(0, 9).Draw(t, "whole") == 0 {
			u, _ = p.doc.EncodeStateAsUpdate(drawStateVector(t, p.doc))
		}
		updates, updates2 = append(updates, u), append(updates2, w.toV2(t, u))
	}
	u, u2 := w.merge(t, updates, false), w.merge(t, updates2, true)
	sv := drawStateVector(t, p.doc)
	var got []any
	add := func(b []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b)
	}
	add(crdt.DiffUpdate(u, sv))
	add(crdt.DiffUpdateV2(u2, sv))
	add(crdt.EncodeStateVectorFromUpdate(u))
	add(crdt.EncodeStateVectorFromUpdateV2(u2))
	meta, err := crdt.ParseUpdateMeta(u)
	add(meta.From.Encode(), err)
	add(meta.To.Encode(), nil)
	meta, err = crdt.ParseUpdateMetaV2(u2)
	add(meta.From.Encode(), err)
	add(meta.To.Encode(), nil)
	add(crdt.ConvertUpdateV1ToV2(u))
	add(crdt.ConvertUpdateV2ToV1(u2))
	agree(t, "algebra", got, w.call(t, []any{"algebra", u, u2, sv})[0])
}

func (w *world) snapshot(t *rapid.T) {
	p := w.draw(t)
	s := p.doc.Snapshot()
	agree(t, "snapshot", []any{s.Encode(), s.EncodeV2()}, w.call(t, []any{"snapshot", p.id})[0])
	if len(w.log) > 0 {
		u := rapid.SampledFrom(w.log).Draw(t, "update")
		contains, err := s.ContainsUpdate(u)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, "snapshot contains", contains, w.call(t, []any{"contains", s.Encode(), u})[0])
	}
	if !p.history || p.doc.HasPending() {
		return
	}
	p.past = append(p.past, s.Encode())
	at := rapid.SampledFrom(p.past).Draw(t, "snapshot")
	before := rapid.SampledFrom(p.past).Draw(t, "previous")
	then, err := crdt.DecodeSnapshot(at)
	if err != nil {
		t.Fatal(err)
	}
	previous, err := crdt.DecodeSnapshot(before)
	if err != nil {
		t.Fatal(err)
	}
	old, err := p.doc.DocAt(then, crdt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	roots(old)
	state, err := old.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	was := content(old)
	marked := delta(p.doc.Text("text").DeltaAt(then, previous))
	agree(t, "the past", []any{state, was, marked}, w.call(t, []any{"past", p.id, at, before})[0])
	p.check(t, w.node)
	w.spread()
}

func (w *world) position(t *rapid.T) {
	p, other := w.draw(t), w.draw(t)
	s := drawRoot(t, roots(p.doc))
	path := []any{rootName(s)}
	if within := steps(s); len(within) > 0 && rapid.Bool().Draw(t, "nested") {
		step := rapid.SampledFrom(within).Draw(t, "step")
		s = children(s)[show(step)]
		path = append(path, step)
	}
	length := 0
	if list, ok := s.(interface{ Len() int }); ok {
		length = list.Len()
	}
	at := rapid.IntRange(0, length).Draw(t, "at")
	assoc := rapid.IntRange(-1, 0).Draw(t, "assoc")
	relative, err := p.doc.RelativePosition(s, at, assoc)
	if err != nil {
		t.Fatal(err)
	}
	encoded := relative.Encode()
	r := w.call(t, []any{"position", p.id, path, at, assoc}, []any{"whereis", other.id, encoded})
	agree(t, "relative position", encoded, r[0])
	decoded, err := crdt.DecodeRelativePosition(encoded)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if found, ok := other.doc.AbsolutePosition(decoded); ok {
		got = []any{describe(found.Type), found.Index, found.Assoc}
	}
	agree(t, fmt.Sprintf("absolute position of %+v", decoded), got, r[1])
}

// finish gives everything to everybody and compares all peers.
func (w *world) finish(t *rapid.T) {
	for busy := true; busy; {
		busy = false
		for _, p := range w.peers {
			for len(p.inbox) > 0 {
				busy = true
				u := p.inbox[0]
				p.inbox = p.inbox[1:]
				p.apply(t, w.node, u, false)
				w.spread()
			}
		}
	}
	for _, p := range w.peers {
		if p.doc.HasPending() {
			t.Fatal(p.id, "still waits for updates")
		}
		agree(t, p.id+" and the first", p.doc.EncodeStateVector(), w.peers[0].doc.EncodeStateVector())
		agree(t, p.id+" and the first", blur(unordered(content(p.doc))), blur(unordered(content(w.peers[0].doc))))
		if p.editor != "" {
			r := w.call(t, []any{"content", p.editor}, []any{"state", p.editor})
			agree(t, p.id+" and its editor", blur(unordered(content(p.doc))), blur(unordered(r[0])))
			state, _ := r[1].([]any)
			agree(t, p.id+" and its editor", p.doc.EncodeStateVector(), state[0])
		}
	}
}

func TestPeersAgreeWithYjs(t *testing.T) {
	n := node{yjs.StartForTest(t, peerScript)}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, n)
		defer w.close(t)
		t.Repeat(map[string]func(*rapid.T){
			"edit":        w.edit,
			"edit 2":      w.edit,
			"edit 3":      w.edit,
			"undo":        w.undo,
			"deliver":     w.deliver,
			"deliver 2":   w.deliver,
			"synchronize": w.synchronize,
			"algebra":     w.algebra,
			"snapshot":    w.snapshot,
			"position":    w.position,
		})
		w.finish(t)
	})
}
