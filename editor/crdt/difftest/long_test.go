package difftest_test

import (
	"fmt"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/yjs"
	"pgregory.net/rapid"
)

// Documents of thousands of items, in which the engine finds positions by an index and compacts contents.
func TestLongDocumentsAgreeWithYjs(t *testing.T) {
	n := node{yjs.StartForTest(t, peerScript)}
	rapid.Check(t, func(t *rapid.T) {
		rounds := rapid.IntRange(0, 8).Draw(t, "rounds")
		if rounds < 6 {
			return // A few are enough.
		}
		var peers []*peer
		for i := range 2 {
			p := &peer{id: fmt.Sprint("peer ", i), doc: crdt.NewDoc(crdt.Options{ClientID: uint64(i + 1), GUID: "guid"})}
			n.call(t, []any{"new", p.id, object("client", i+1, "gc", true, "markers", false, "observe", false, "keep", false)})
			roots(p.doc)
			p.doc.OnUpdate(func(u []byte, origin any) {
				p.emitted = append(p.emitted, []any{u, origin == "remote"})
				p.news = append(p.news, u)
			})
			p.doc.OnUpdateV2(func(u []byte, _ any) { p.emitted = append(p.emitted, []any{u, true}) })
			peers = append(peers, p)
			defer n.call(t, []any{"free", p.id})
		}
		for range rounds {
			for _, p := range peers {
				p.edit(t, n, 90) // Beyond 64 updates the engine merges them in another way.
			}
			for i, p := range peers {
				other := peers[1-i]
				merged := (&world{node: n}).merge(t, p.news, false)
				p.news = nil
				other.apply(t, n, merged, false)
				other.news = nil // All that it would tell comes from p.
			}
		}
	})
}

// edit makes many edits at random positions here and in Yjs.
func (p *peer) edit(t *rapid.T, n node, count int) {
	var edits [][]any
	text, array := p.doc.Text("text"), p.doc.Array("array")
	for range count {
		var e edit
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 4 || text.Len() == 0:
			e = edit{[]any{"text"}, "insert", rapid.IntRange(0, text.Len()).Draw(t, "at"), words.Draw(t, "text")}
		case kind < 6:
			at := rapid.IntRange(0, text.Len()-1).Draw(t, "at")
			e = edit{[]any{"text"}, "delete", at, min(rapid.IntRange(1, 9).Draw(t, "length"), text.Len()-at)}
		case kind < 9 || array.Len() == 0:
			e = edit{[]any{"array"}, "values", rapid.IntRange(0, array.Len()).Draw(t, "at"), []any{1, "x", len(edits)}}
		default:
			at := rapid.IntRange(0, array.Len()-1).Draw(t, "at")
			e = edit{[]any{"array"}, "delete", at, min(rapid.IntRange(1, 5).Draw(t, "length"), array.Len()-at)}
		}
		if err := perform(p.doc, e); err != nil {
			t.Fatal(err)
		}
		edits = append(edits, []any{"edit", p.id, []any{e}})
	}
	n.call(t, edits...)
	p.check(t, n)
}
