package difftest_test

import (
	"fmt"
	"testing"

	"collab.dev/operator/editor/crdt"
	"pgregory.net/rapid"
)

// Documents of up to thousands of items, in which the engine finds positions by an index and compacts contents.
func TestLongDocumentsAgreeWithYjs(t *testing.T) {
	n := startNode(t)
	rapid.Check(t, func(t *rapid.T) {
		w := &world{node: n}
		defer w.close(t)
		for i := range 2 {
			p := &peer{id: fmt.Sprint("peer ", i), doc: crdt.NewDoc(crdt.Options{ClientID: uint64(i + 1), GUID: "guid"})}
			n.ask(t, nil, "new", p.id,
				object("client", i+1, "gc", true, "markers", false, "observe", false, "keep", false))
			roots(p.doc)
			p.doc.OnUpdate(func(u []byte, origin any) {
				p.emitted = append(p.emitted, []any{u, origin == "remote"})
				if origin != "remote" {
					p.news = append(p.news, u)
				}
			})
			p.doc.OnUpdateV2(func(u []byte, _ any) { p.emitted = append(p.emitted, []any{u, true}) })
			w.peers = append(w.peers, p)
		}
		w.peers[0].begin(t, n, rapid.SampledFrom([]int{0, 100, 1000, 3000}).Draw(t, "items"))
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for _, p := range w.peers {
				p.edit(t, n, 90) // Beyond 64 updates the engine merges them in another way.
			}
			for i, p := range w.peers {
				merged := w.merge(t, p.news, false)
				p.news = nil
				w.peers[1-i].receive(t, n, false, merged)
			}
		}
		n.flush(t)
	})
}

// begin makes a document of that many items, each in front of the one before.
func (p *peer) begin(t *rapid.T, n *node, count int) {
	var edits []any
	for i := range count {
		e := edit{[]any{"text"}, "insert", 0, string(rune('a' + i%26))}
		if i%3 == 0 {
			e = edit{[]any{"array"}, "values", 0, []any{i}}
		}
		edits = append(edits, e)
	}
	p.doc.Transact(nil, func(*crdt.Transaction) {
		for _, e := range edits {
			if err := perform(p.doc, e.(edit)); err != nil {
				t.Fatal(err)
			}
		}
	})
	n.ask(t, nil, "edit", p.id, edits)
	p.check(t, n)
}

// edit makes many edits at random positions here and in Yjs.
func (p *peer) edit(t *rapid.T, n *node, count int) {
	text, array := p.doc.Text("text"), p.doc.Array("array")
	for i := range count {
		var e edit
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 4 || text.Len() == 0:
			e = edit{[]any{"text"}, "insert", rapid.IntRange(0, text.Len()).Draw(t, "at"), words.Draw(t, "text")}
		case kind < 6:
			at := rapid.IntRange(0, text.Len()-1).Draw(t, "at")
			e = edit{[]any{"text"}, "delete", at, min(rapid.IntRange(1, 9).Draw(t, "length"), text.Len()-at)}
		case kind < 9 || array.Len() == 0:
			e = edit{[]any{"array"}, "values", rapid.IntRange(0, array.Len()).Draw(t, "at"), []any{1, "x", i}}
		default:
			at := rapid.IntRange(0, array.Len()-1).Draw(t, "at")
			e = edit{[]any{"array"}, "delete", at, min(rapid.IntRange(1, 5).Draw(t, "length"), array.Len()-at)}
		}
		if err := perform(p.doc, e); err != nil {
			t.Fatal(err)
		}
		n.ask(t, nil, "edit", p.id, []any{e})
	}
	p.check(t, n)
}
