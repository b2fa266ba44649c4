package crdt_test

import (
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
)

func TestArraysConverge(t *testing.T) {
	docs := connected(t, 1) // On their own until they exchange.
	for i := range 2 {
		docs = append(docs, crdt.NewDoc(crdt.Options{ClientID: uint64(i + 2)}))
	}
	list := func(i int) *crdt.Array { return docs[i].Array("a") }
	ok(t, list(0).Insert(0, "x", "y", "z"))
	exchange(t, docs...)
	ok(t, list(0).Insert(1, 0), list(1).Delete(0, 1), list(1).Delete(1, 1), list(2).Insert(1, 2))
	exchange(t, docs...)
	for i := range docs {
		wantJSON(t, "array", list(i).JSON(), `[0,2,"y"]`)
		if list(i).Len() != 3 {
			t.Errorf("length %d", list(i).Len())
		}
	}
	wantJSON(t, "slice", list(0).Slice(1, 9), `[2,"y"]`)
	for _, err := range []error{list(0).Insert(4, 1), list(0).Delete(2, 2), list(0).Insert(-1, 1)} {
		if err == nil {
			t.Error("out of bounds, and no error")
		}
	}
}

func TestArrayEvents(t *testing.T) {
	docs := connected(t, 2)
	var paths, deltas []string
	docs[1].ObserveDeep(docs[1].Array("a"), func(events []*crdt.Event) {
		for _, e := range events {
			path := e.Path()
			if path == nil {
				path = []any{}
			}
			paths = append(paths, asJSON(path))
			deltas = append(deltas, asJSON(crdt.DeltaJSON(e.Delta())))
		}
	})
	a := docs[0].Array("a")
	inner := crdt.NewMap()
	docs[0].Transact(nil, func(*crdt.Transaction) {
		ok(t, a.Insert(0, 1, inner), inner.Set("k", crdt.NewArray(5)))
	})
	nested, _ := inner.Get("k")
	list, _ := nested.(*crdt.Array)
	ok(t, list.Push(6), a.Delete(0, 1))
	docs[0].Transact(nil, func(*crdt.Transaction) { ok(t, a.Push("new"), a.Delete(a.Len()-1, 1)) })
	if got := strings.Join(paths, " "); got != `[] [1,"k"] [] []` {
		t.Errorf("paths %s", got)
	}
	want := []string{`[{"insert":[1,{"k":[5]}]}]`, `[{"insert":[6],"retain":1}]`, `[{"delete":1}]`, `[]`}
	for i, d := range deltas {
		if i == 1 {
			continue // Two steps.
		}
		if d != canonical(t, want[i]) {
			t.Errorf("event %d: %s, want %s", i, d, want[i])
		}
	}
}
