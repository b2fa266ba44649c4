package crdt_test

import (
	"bytes"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// Updates can arrive in any order and shape: one by one, all merged, in parts merged, as differences.
func TestUpdatesMerge(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	var v1, v2 [][]byte
	d.OnUpdate(func(u []byte, _ any) { v1 = append(v1, u) })
	d.OnUpdateV2(func(u []byte, _ any) { v2 = append(v2, u) })
	a := d.Array("a")
	ok(t, a.Insert(0, 1, 2), a.Insert(0, "x"), a.Delete(1, 1), d.Text("t").InsertFormatted(0, "abc", attrs("bold", true)),
		d.Text("t").Delete(1, 1), a.Push(crdt.NewMap(lib0.Member{Key: "k", Value: "v"})))
	merge := func(list [][]byte) []byte {
		m, err := crdt.MergeUpdates(list)
		ok(t, err)
		return m
	}
	n := len(v1)
	shapes := map[string][][]byte{
		"one by one":       v1,
		"backwards":        {v1[5], v1[4], v1[3], v1[2], v1[1], v1[0]},
		"merged":           {merge(v1)},
		"halves":           {merge(v1[n/2:]), merge(v1[:n/2])},
		"gaps":             {merge([][]byte{v1[0], v1[2], v1[5]}), merge([][]byte{v1[1], v1[3], v1[4]})},
		"merged backwards": {merge([][]byte{v1[4], v1[5], v1[1], v1[3]}), merge([][]byte{v1[2], v1[0]})},
		"again and again":  append(append([][]byte{}, v1...), merge(v1), v1[0]),
	}
	want, err := d.EncodeStateAsUpdate(nil)
	ok(t, err)
	for name, updates := range shapes {
		to := crdt.NewDoc(crdt.Options{ClientID: 2})
		to.Text("t")
		for _, u := range updates {
			ok(t, to.ApplyUpdate(u, nil))
		}
		if got, err := to.EncodeStateAsUpdate(nil); err != nil || !bytes.Equal(got, want) || to.HasPending() {
			t.Errorf("%s: another document (%v)", name, err)
		}
	}
	to := crdt.NewDoc(crdt.Options{ClientID: 2})
	merged, err := crdt.MergeUpdatesV2(v2)
	ok(t, err, to.ApplyUpdateV2(merged, nil))
	if got, err := to.EncodeStateAsUpdate(nil); err != nil || !bytes.Equal(got, want) {
		t.Error("in format v2: another document")
	}
	sv, err := crdt.EncodeStateVectorFromUpdate(merge(v1))
	ok(t, err)
	if !bytes.Equal(sv, d.EncodeStateVector()) {
		t.Error("another state vector")
	}
}

// What waits for its causes is part of what a document tells, and so reaches others.
func TestPendingUpdatesAreEncoded(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	var updates [][]byte
	d.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
	for _, s := range []string{"a", "b", "c"} {
		ok(t, d.Text("t").Insert(d.Text("t").Len(), s))
	}
	ok(t, d.Text("t").Delete(0, 1))
	relay := crdt.NewDoc(crdt.Options{ClientID: 2})
	ok(t, relay.ApplyUpdate(updates[2], nil), relay.ApplyUpdate(updates[3], nil), relay.ApplyUpdate(updates[1], nil))
	if !relay.HasPending() || relay.Text("t").Len() != 0 {
		t.Fatal("nothing waits")
	}
	state, err := relay.EncodeStateAsUpdateV2(nil)
	ok(t, err)
	to := crdt.NewDoc(crdt.Options{ClientID: 3})
	ok(t, to.ApplyUpdateV2(state, nil), to.ApplyUpdate(updates[0], nil))
	if got := to.Text("t").String(); got != "bc" || to.HasPending() {
		t.Errorf("%q, waiting %t", got, to.HasPending())
	}
}
