package crdt_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// The tests below are the counterparts of the suites that Yjs itself is tested with: y-text, y-array, y-map, y-xml,
// updates, encoding and compatibility. Random editing is in package difftest.

func ok(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func wantJSON(t *testing.T, what string, got any, want string) {
	t.Helper()
	if g, w := asJSON(got), canonical(t, want); g != w {
		t.Errorf("%s\n got %s\nwant %s", what, g, w)
	}
}

func attrs(members ...any) lib0.Object {
	var o lib0.Object
	for i := 0; i < len(members); i += 2 {
		key, _ := members[i].(string)
		o = append(o, lib0.Member{Key: key, Value: members[i+1]})
	}
	return o
}

// connected returns documents that hear of each other at once.
func connected(t *testing.T, n int) []*crdt.Doc {
	t.Helper()
	docs := make([]*crdt.Doc, n)
	for i := range docs {
		docs[i] = crdt.NewDoc(crdt.Options{ClientID: uint64(i + 1)})
	}
	for i, d := range docs {
		d.OnUpdate(func(u []byte, origin any) {
			if origin == "peer" {
				return
			}
			for j, other := range docs {
				if i != j {
					ok(t, other.ApplyUpdate(u, "peer"))
				}
			}
		})
	}
	return docs
}

// exchange brings all documents to the same state.
func exchange(t *testing.T, docs ...*crdt.Doc) {
	t.Helper()
	for _, to := range docs {
		for _, from := range docs {
			u, err := from.EncodeStateAsUpdate(to.EncodeStateVector())
			ok(t, err, to.ApplyUpdate(u, "peer"))
		}
	}
}

func TestTextFormatting(t *testing.T) {
	bold, plain := attrs("bold", true), attrs("bold", nil)
	for _, c := range []struct {
		name string
		edit func(x *crdt.Text) error
		want string
	}{
		{"formatted from the start", func(x *crdt.Text) error {
			return x.InsertFormatted(0, "abc", bold)
		}, `[{"insert":"abc","attributes":{"bold":true}}]`},
		{"deleting the front", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "abc", bold))
			return x.Delete(0, 1)
		}, `[{"insert":"bc","attributes":{"bold":true}}]`},
		{"inserting goes on with the format", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "ab", bold))
			return x.Insert(1, "x")
		}, `[{"insert":"axb","attributes":{"bold":true}}]`},
		{"inserting without the format", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "zb", bold))
			return x.InsertFormatted(0, "y", lib0.Object{})
		}, `[{"insert":"y"},{"insert":"zb","attributes":{"bold":true}}]`},
		{"ending a format in the middle", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "abc", bold))
			return x.Format(1, 1, plain)
		}, `[{"insert":"a","attributes":{"bold":true}},{"insert":"b"},{"insert":"c","attributes":{"bold":true}}]`},
		{"formatting what is formatted", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "abc", bold))
			return x.Format(0, 3, bold)
		}, `[{"insert":"abc","attributes":{"bold":true}}]`},
		{"a format beyond the end adds newlines", func(x *crdt.Text) error {
			ok(t, x.Insert(0, "a"))
			return x.Format(0, 3, bold)
		}, `[{"insert":"a\n\n","attributes":{"bold":true}}]`},
		{"several lines", func(x *crdt.Text) error {
			ok(t, x.Insert(0, "Test\nMulti-line\nFormatting"))
			return x.ApplyDelta([]crdt.Op{
				{Retain: 4, Attributes: bold}, {Retain: 1}, {Retain: 10, Attributes: bold}, {Retain: 1},
				{Retain: 10, Attributes: bold},
			})
		}, `[{"insert":"Test","attributes":{"bold":true}},{"insert":"\n"},
			{"insert":"Multi-line","attributes":{"bold":true}},{"insert":"\n"},
			{"insert":"Formatting","attributes":{"bold":true}}]`},
		{"an embed keeps its attributes", func(x *crdt.Text) error {
			ok(t, x.Insert(0, "ab"))
			return x.InsertEmbed(1, attrs("image", "x.png"), attrs("width", 100.0))
		}, `[{"insert":"a"},{"insert":{"image":"x.png"},"attributes":{"width":100}},{"insert":"b"}]`},
		{"attributes of deleted text stay with what is inserted", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "ab", bold))
			ok(t, x.Delete(0, 2))
			return x.ApplyDelta([]crdt.Op{{Insert: "c", Attributes: attrs("italic", true)}})
		}, `[{"insert":"c","attributes":{"italic":true}}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs := connected(t, 2)
			x := docs[0].Text("t")
			other := docs[1].Text("t")
			ok(t, c.edit(x))
			for _, d := range []*crdt.Text{x, other} {
				wantJSON(t, "delta", crdt.DeltaJSON(d.Delta()), c.want)
			}
		})
	}
}

func TestTextEvents(t *testing.T) {
	docs := connected(t, 2)
	var deltas []string
	for _, d := range docs {
		d.Observe(d.Text("t"), func(e *crdt.Event) { deltas = append(deltas, asJSON(crdt.DeltaJSON(e.Delta()))) })
	}
	x := docs[0].Text("t")
	for _, step := range []struct {
		edit func() error
		want string
	}{
		{func() error { return x.Insert(0, "abc") }, `[{"insert":"abc"}]`},
		{func() error { return x.Delete(1, 1) }, `[{"retain":1},{"delete":1}]`},
		{func() error { return x.Format(0, 1, attrs("b", true)) }, `[{"retain":1,"attributes":{"b":true}}]`},
		// As in Yjs, the change covers what had no such format, too.
		{func() error { return x.Format(0, 1, attrs("b", nil)) }, `[{"retain":2,"attributes":{"b":null}}]`},
		{func() error { return x.InsertFormatted(1, "z", attrs("b", true)) },
			`[{"retain":1},{"insert":"z","attributes":{"b":true}}]`},
	} {
		deltas = nil
		ok(t, step.edit())
		want := canonical(t, step.want)
		if len(deltas) != 2 || deltas[0] != want || deltas[1] != want {
			t.Errorf("here and there: %q, want %s", deltas, want)
		}
	}
}

func TestTextSplitsSurrogatePairsAsYjsDoes(t *testing.T) {
	for at, want := range map[int]string{1: "\uFFFDhi\uFFFD", 2: "👾hi"} {
		docs := connected(t, 2)
		ok(t, docs[0].Text("t").Insert(0, "👾"), docs[0].Text("t").Insert(at, "hi"))
		for _, d := range docs {
			if got := d.Text("t").String(); got != want {
				t.Errorf("at %d: %q, want %q", at, got, want)
			}
		}
	}
}

func TestTextAtSnapshots(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
	x := d.Text("t")
	ok(t, x.Insert(0, "abcd"))
	first := d.Snapshot()
	ok(t, x.Delete(1, 2), x.Insert(1, "x"))
	second := d.Snapshot()
	ok(t, x.Delete(0, 3))
	wantJSON(t, "first", crdt.DeltaJSON(x.DeltaAt(first, nil)), `[{"insert":"abcd"}]`)
	wantJSON(t, "second", crdt.DeltaJSON(x.DeltaAt(second, nil)), `[{"insert":"axd"}]`)
	wantJSON(t, "both", crdt.DeltaJSON(x.DeltaAt(second, first)), `[{"insert":"a"},
		{"insert":"bc","attributes":{"ychange":{"type":"removed"}}},
		{"insert":"x","attributes":{"ychange":{"type":"added"}}},{"insert":"d"}]`)
	restored, err := d.DocAt(first, crdt.Options{})
	ok(t, err)
	if got := restored.Text("t").String(); got != "abcd" {
		t.Errorf("restored %q", got)
	}
}

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

func TestMapsConverge(t *testing.T) {
	docs := []*crdt.Doc{
		crdt.NewDoc(crdt.Options{ClientID: 1}),
		crdt.NewDoc(crdt.Options{ClientID: 2}),
		crdt.NewDoc(crdt.Options{ClientID: 3}),
	}
	for i, d := range docs {
		ok(t, d.Map("m").Set("k", i), d.Map("m").Set("own"+string(rune('0'+i)), []byte{byte(i)}))
	}
	exchange(t, docs...)
	for _, d := range docs {
		wantJSON(t, "the highest client wins", d.Map("m").JSON(),
			`{"k":2,"own0":{"bytes":"00"},"own1":{"bytes":"01"},"own2":{"bytes":"02"}}`)
	}
	ok(t, docs[0].Map("m").Clear(), docs[1].Map("m").Set("k", "later"))
	exchange(t, docs...)
	for _, d := range docs {
		wantJSON(t, "what is set while others clear stays", d.Map("m").JSON(), `{"k":"later"}`)
		if m := d.Map("m"); m.Len() != 1 || !m.Has("k") || m.Has("own0") {
			t.Error("the number of entries, or which there are")
		}
	}
}

func TestMapEvents(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	m := d.Map("m")
	var events []string
	d.Observe(m, func(e *crdt.Event) {
		for _, k := range e.Keys() {
			events = append(events, asJSON([]any{k.Key, k.Action, k.Old}))
		}
	})
	ok(t, m.Set("a", 1), m.Set("a", 2), m.Delete("a"), m.Set("b", 1))
	d.Transact(nil, func(*crdt.Transaction) { ok(t, m.Set("b", 2), m.Set("b", 3), m.Set("c", 1), m.Delete("c")) })
	want := `["a","add",null] ["a","update",1] ["a","delete",2] ["b","add",null] ["b","update",1]`
	if got := strings.Join(events, " "); got != want {
		t.Errorf("events\n got %s\nwant %s", got, want)
	}
}

func TestXML(t *testing.T) {
	docs := connected(t, 2)
	root := docs[0].XmlFragment("x")
	p := crdt.NewXmlElement("P", crdt.NewXmlText("hi"))
	ok(t, root.Push(p, crdt.NewXmlHook("widget")))
	ok(t, p.SetAttribute("height", "10"), p.SetAttribute("a", "1"), p.SetAttribute("gone", "x"), p.RemoveAttribute("gone"))
	text, _ := p.Get(0).(*crdt.XmlText)
	ok(t, text.Format(0, 1, attrs("em", attrs("class", "c"))))
	for _, d := range docs {
		want := `<p a="1" height="10"><em class="c">h</em>i</p>[object Object]`
		if got := d.XmlFragment("x").String(); got != want {
			t.Errorf("XML\n got %s\nwant %s", got, want)
		}
	}
	if v, found := p.Attribute("height"); !found || v != "10" {
		t.Errorf("attribute %v", v)
	}
	if _, found := p.Attribute("gone"); found {
		t.Error("a removed attribute")
	}
}

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

// Yjs up to 13.0 stored values as JSON texts.
func TestJSONContentOfOldDocuments(t *testing.T) {
	update := []byte{1, 1, 1, 0, 2, 1, 1, 'a', 3}
	for _, text := range []string{`{"k":[1,null]}`, "undefined", `"s"`} {
		update = lib0.AppendVarString(update, text)
	}
	update = append(update, 0)
	d := crdt.NewDoc(crdt.Options{})
	a := d.Array("a")
	ok(t, d.ApplyUpdate(update, nil))
	wantJSON(t, "array", a.JSON(), `[{"k":[1,null]},null,"s"]`)
	if got, err := d.EncodeStateAsUpdate(nil); err != nil || !bytes.Equal(got, update) {
		t.Errorf("encoded as %x, want %x", got, update)
	}
	ok(t, a.Insert(2, 0), d.Check())
	wantJSON(t, "array", a.JSON(), `[{"k":[1,null]},null,0,"s"]`)
}

func TestDocumentsOfYjs13_2(t *testing.T) {
	f, err := os.Open("testdata/old.jsonl.gz")
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err)
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<24)
	count := 0
	for ; lines.Scan(); count++ {
		var s struct{ Update, Delta, Array, Map, XML string }
		ok(t, json.Unmarshal(lines.Bytes(), &s))
		d := crdt.NewDoc(crdt.Options{ClientID: 9})
		define(d)
		ok(t, d.ApplyUpdate(unhex(t, s.Update), nil), d.Check())
		wantJSON(t, "delta", crdt.DeltaJSON(d.Text("text").Delta()), s.Delta)
		wantJSON(t, "array", d.Array("array").JSON(), s.Array)
		wantJSON(t, "map", d.Map("map").JSON(), s.Map)
		if got := d.XmlFragment("xml").String(); got != s.XML {
			t.Errorf("XML\n got %s\nwant %s", got, s.XML)
		}
	}
	if err := lines.Err(); err != nil || count == 0 {
		t.Fatal(count, err)
	}
}
