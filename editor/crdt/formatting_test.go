package crdt

import (
	"testing"

	"collab.dev/operator/editor/crdt/lib0"
)

// Looking at the gap anew for each of its items would take minutes.
func TestALongGapIsCleanedOnce(t *testing.T) {
	const n = 100_000
	from := NewDoc(Options{ClientID: 1})
	text := from.Text("t")
	from.Transact(nil, func(*Transaction) {
		for range n { // In front of each other, so that each is an item.
			if err := text.Insert(0, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if err := text.InsertFormatted(n, "y", lib0.Object{{Key: "bold", Value: true}}); err != nil {
			t.Fatal(err)
		}
	})
	to := NewDoc(Options{ClientID: 2})
	to.Text("t")
	state, err := from.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.ApplyUpdate(state, nil); err != nil {
		t.Fatal(err)
	}
	var update []byte
	from.OnUpdate(func(u []byte, _ any) { update = u })
	if err := text.Delete(0, n); err != nil {
		t.Fatal(err)
	}
	var deleted []ref
	to.OnTransaction(func(tx *Transaction) {
		for r := to.node(to.Text("t").node).start; r != 0; r = to.item(r).right {
			if tx.removes(to.item(r)) {
				deleted = append(deleted, r)
			}
		}
		if all, gaps := len(deleted), to.onePerGap(deleted); len(gaps) != 1 {
			t.Errorf("%d gaps among %d items", len(gaps), all)
		}
	})
	if err := to.ApplyUpdate(update, nil); err != nil {
		t.Fatal(err)
	}
	if len(deleted) < n {
		t.Errorf("%d deleted items", len(deleted))
	}
	if err := to.Check(); err != nil {
		t.Fatal(err)
	}
}
