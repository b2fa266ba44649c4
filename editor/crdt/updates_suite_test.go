package crdt_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
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

// handling is a way to merge updates and to take differences of them.
type handling struct {
	merge       func(t *testing.T, updates ...[]byte) []byte
	diff        func(t *testing.T, update, stateVector []byte) []byte
	meta        func(update []byte) (crdt.UpdateMeta, error)
	stateVector func(update []byte) ([]byte, error)
	apply       func(d *crdt.Doc, update []byte) error
	listen      func(d *crdt.Doc, f func(update []byte, origin any)) (stop func())
}

func handlings() map[string]handling {
	must := func(t *testing.T, b []byte, err error) []byte { t.Helper(); ok(t, err); return b }
	document := func(t *testing.T, updates ...[]byte) *crdt.Doc {
		t.Helper()
		d := crdt.NewDoc(crdt.Options{KeepHistory: true})
		for _, u := range updates {
			ok(t, d.ApplyUpdateV2(u, nil))
		}
		return d
	}
	v1 := handling{
		func(t *testing.T, updates ...[]byte) []byte {
			b, err := crdt.MergeUpdates(updates)
			return must(t, b, err)
		},
		func(t *testing.T, u, sv []byte) []byte { b, err := crdt.DiffUpdate(u, sv); return must(t, b, err) },
		crdt.ParseUpdateMeta, crdt.EncodeStateVectorFromUpdate,
		func(d *crdt.Doc, u []byte) error { return d.ApplyUpdate(u, nil) }, (*crdt.Doc).OnUpdate,
	}
	v2 := handling{
		func(t *testing.T, updates ...[]byte) []byte {
			b, err := crdt.MergeUpdatesV2(updates)
			return must(t, b, err)
		},
		func(t *testing.T, u, sv []byte) []byte { b, err := crdt.DiffUpdateV2(u, sv); return must(t, b, err) },
		crdt.ParseUpdateMetaV2, crdt.EncodeStateVectorFromUpdateV2,
		func(d *crdt.Doc, u []byte) error { return d.ApplyUpdateV2(u, nil) }, (*crdt.Doc).OnUpdateV2,
	}
	byDocument := v2
	byDocument.merge = func(t *testing.T, updates ...[]byte) []byte {
		b, err := document(t, updates...).EncodeStateAsUpdateV2(nil)
		return must(t, b, err)
	}
	byDocument.diff = func(t *testing.T, u, sv []byte) []byte {
		b, err := document(t, u).EncodeStateAsUpdateV2(sv)
		return must(t, b, err)
	}
	return map[string]handling{"v1": v1, "v2": v2, "by a document": byDocument}
}

// Whatever way updates are merged, the result tells the same, and so does what is left of it for one who has a part.
func TestUpdatesMergeInEveryWay(t *testing.T) {
	for name, edit := range map[string]func(t *testing.T, a *crdt.Array){
		"insertions": func(t *testing.T, a *crdt.Array) {
			ok(t, a.Insert(0, 1), a.Insert(0, 2), a.Insert(0, 3), a.Insert(0, 4))
		},
		"insertions and deletions": func(t *testing.T, a *crdt.Array) {
			ok(t, a.Insert(0, 1, 2), a.Delete(1, 1), a.Insert(0, 3, 4), a.Delete(1, 2))
		},
	} {
		for how, way := range handlings() {
			t.Run(name+" "+how, func(t *testing.T) {
				d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
				var u [][]byte
				way.listen(d, func(update []byte, _ any) { u = append(u, update) })
				edit(t, d.Array("array"))
				merge := func(updates ...[]byte) []byte { return way.merge(t, updates...) }
				cases := [][]byte{
					merge(u...),
					merge(merge(u[2:]...), merge(u[:2]...)),
					merge(merge(u[2:]...), merge(u[1:3]...), u[0]),
					merge(merge(u[0], u[2]), merge(u[1], u[3]), merge(u[4:]...)),
				}
				cases = append(cases, merge(cases...))
				for i, merged := range cases {
					to := crdt.NewDoc(crdt.Options{KeepHistory: true})
					ok(t, way.apply(to, merged))
					wantJSON(t, fmt.Sprint("case ", i), to.Array("array").JSON(), asJSON(d.Array("array").JSON()))
					sv, err := way.stateVector(merged)
					same(t, fmt.Sprintf("case %d: state vector", i), sv, err, hex.EncodeToString(to.EncodeStateVector()))
					meta, err := way.meta(merged)
					if ok(t, err); meta.From[1] != 0 || !maps.Equal(meta.To, d.StateVector()) {
						t.Errorf("case %d: meta %v", i, meta)
					}
					for j := 1; j < len(u); j++ {
						had, err := way.stateVector(merge(u[:j]...))
						ok(t, err)
						part, rest := merge(u[j:]...), way.diff(t, merged, had)
						of, err := way.meta(part)
						ok(t, err)
						left, err := way.meta(rest)
						ok(t, err)
						if !maps.Equal(of.From, left.From) || !maps.Equal(of.To, left.To) {
							t.Errorf("case %d: the rest from %d on is of %v, want %v", i, j, left, of)
						}
						if how == "by a document" && name != "insertions" {
							continue // A document cuts items in other places.
						}
						// The rest has all deletions, the part just its own.
						deletions := way.diff(t, rest, d.EncodeStateVector())
						if !bytes.Equal(rest, merge(deletions, part)) {
							t.Errorf("case %d: the rest from %d on is another update", i, j)
						}
					}
				}
			})
		}
	}
}

// Documents of several peers, merged without any of them.
func TestUpdatesOfSeveralPeersMerge(t *testing.T) {
	docs := apart(3)
	ok(t, docs[0].Array("array").Insert(0, 1), docs[1].Array("array").Insert(0, 2))
	agreed(t, docs...)
	for how, way := range handlings() {
		var states [][]byte
		for _, d := range docs {
			u, err := d.EncodeStateAsUpdate(nil)
			if how != "v1" {
				u, err = d.EncodeStateAsUpdateV2(nil)
			}
			ok(t, err)
			states = append(states, u)
		}
		to := crdt.NewDoc(crdt.Options{})
		ok(t, way.apply(to, way.merge(t, states...)))
		wantJSON(t, how, to.Array("array").JSON(), `[1,2]`)
	}
}

// Format v2 could name a key that was written before by its number; like Yjs, we write it again.
func TestUpdatesRepeatKeys(t *testing.T) {
	docs, italic := apart(2), attrs("italic", true)
	x, y := docs[0].Text("text"), docs[1].Text("text")
	ok(t, x.InsertFormatted(0, "a", italic), x.Insert(0, "b"), x.InsertFormatted(0, "c", italic))
	u, err := docs[0].EncodeStateAsUpdateV2(nil)
	ok(t, err, docs[1].ApplyUpdateV2(u, nil))
	wantJSON(t, "delta", crdt.DeltaJSON(y.Delta()), `[{"insert":"c","attributes":{"italic":true}},{"insert":"b"},
		{"insert":"a","attributes":{"italic":true}}]`)
	same(t, "update", u, nil, "0003000301024107040002060204000601000d06008400860044004600c400c6281f746578746974616c6963"+
		"616974616c6963626974616c6963636974616c6963040601060106010601010000010700787e787e00")
	agreed(t, docs...)
}

// Servers that hand on states and updates out of order, each with what it has, in the end have everything.
func TestUpdatesPassThroughServers(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	var updates [][]byte
	d.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
	for _, s := range []string{"r", "o", "n", "e", "n"} {
		ok(t, d.Text("text").ApplyDelta([]crdt.Op{{Insert: s}}))
	}
	var state []byte
	for i, at := range []int{0, 1, 3, 2, 4} {
		server := crdt.NewDoc(crdt.Options{})
		if i > 0 {
			ok(t, server.ApplyUpdate(state, nil))
		}
		ok(t, server.ApplyUpdate(updates[at], nil))
		if waits := at == 3; server.HasPending() != waits {
			t.Errorf("server %d waits: %t", i, !waits)
		}
		var err error
		state, err = server.EncodeStateAsUpdate(nil)
		ok(t, err)
		if want := []string{"r", "or", "or", "enor", "nenor"}[i]; server.Text("text").String() != want {
			t.Errorf("server %d has %q, want %q", i, server.Text("text"), want)
		}
	}
}

// An update tells nothing of the state of one who lacks what is before it.
func TestUpdatesWithoutTheirStartHaveNoState(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	var updates [][]byte
	d.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
	ok(t, d.Text("text").Insert(0, "a"), d.Text("text").Insert(0, "b"), d.Text("text").Insert(0, "c"))
	sv, err := crdt.EncodeStateVectorFromUpdate(updates[1])
	same(t, "of what comes later", sv, err, "00")
	gap, err := crdt.MergeUpdates([][]byte{updates[0], updates[2]})
	ok(t, err)
	sv, err = crdt.EncodeStateVectorFromUpdate(gap)
	same(t, "up to a gap", sv, err, "010101")
}

// Every kind of content has its number in the update format.
func TestUpdatesNumberContents(t *testing.T) {
	text := func(s string) []byte { return lib0.AppendVarString(nil, s) }
	object := lib0.AppendAny(nil, attrs("k", 1))
	for number, c := range map[byte]struct {
		content []byte
		want    string // The array afterwards.
	}{
		1: {[]byte{3}, `[]`},
		2: {append([]byte{2}, append(text("1"), text(`{"k":2}`)...)...), `[1,{"k":2}]`},
		3: {[]byte{2, 0xab, 0xcd}, `[{"bytes":"abcd"}]`},
		4: {text("ab"), `["a","b"]`},
		5: {text(`{"k":1}`), `[{"k":1}]`},
		6: {append(text("bold"), text("true")...), `[]`},
		7: {[]byte{0}, `[[]]`},
		8: {append([]byte{1}, object...), `[{"k":1}]`},
		9: {append(text("guid"), object...), `[{}]`},
	} {
		update := append([]byte{1, 1, 5, 0, number, 1}, text("array")...)
		update = append(append(update, c.content...), 0)
		d := crdt.NewDoc(crdt.Options{})
		ok(t, d.ApplyUpdate(update, nil), d.Check())
		wantJSON(t, fmt.Sprint("content ", number), d.Array("array").JSON(), c.want)
		v2, err := crdt.ConvertUpdateV1ToV2(update)
		ok(t, err)
		again, err := crdt.ConvertUpdateV2ToV1(v2)
		same(t, fmt.Sprintf("content %d there and back", number), again, err, hex.EncodeToString(update))
	}
	gc := []byte{1, 1, 5, 0, 0, 3, 0}
	d := crdt.NewDoc(crdt.Options{})
	if ok(t, d.ApplyUpdate(gc, nil)); d.StateVector()[5] != 3 {
		t.Error("collected structs do not count")
	}
	skip := []byte{1, 2, 5, 0, 10, 3, 0, 2, 0}
	if ok(t, d.ApplyUpdate(skip, nil)); d.StateVector()[5] != 5 {
		t.Error("what is skipped counts")
	}
	for number := byte(11); number < 32; number++ {
		if err := crdt.ValidateUpdate([]byte{1, 1, 5, 0, number, 1, 0, 1, 0, 0}); !errors.Is(err, crdt.ErrInvalidUpdate) {
			t.Errorf("content %d: %v", number, err)
		}
	}
}
