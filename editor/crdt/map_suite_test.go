package crdt_test

import (
	"cmp"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

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

func TestMapHoldsValuesOfEveryKind(t *testing.T) {
	docs := apart(3)
	m := docs[0].Map("map")
	inner, list := crdt.NewMap(), crdt.NewArray()
	ok(t, m.Set("null", nil), m.Set("number", 1), m.Set("string", "hello Y"), m.Set("undefined", lib0.Undefined{}),
		m.Set("object", attrs("key", attrs("key2", "value"))), m.Set("y-map", inner), m.Set("true", true),
		m.Set("false", false), m.Set("bytes", []byte{1, 2}), inner.Set("y-array", list), list.Insert(0, 0),
		list.Insert(0, -1))
	agreed(t, docs...)
	for _, d := range docs {
		m := d.Map("map")
		for key, want := range map[string]any{
			"null": nil, "number": 1.0, "string": "hello Y", "undefined": lib0.Undefined{}, "true": true, "false": false,
		} {
			if got, found := m.Get(key); !found || got != want {
				t.Errorf("%s is %v", key, got)
			}
		}
		if m.Len() != 9 {
			t.Errorf("%d entries", m.Len())
		}
		wantJSON(t, "map", m.JSON(), `{"null":null,"number":1,"string":"hello Y","object":{"key":{"key2":"value"}},
			"y-map":{"y-array":[-1,0]},"true":true,"false":false,"bytes":{"bytes":"0102"}}`)
		if v, _ := m.Get("y-map"); v.(crdt.Shared).Parent() != crdt.Shared(m) {
			t.Error("the inner map is elsewhere")
		}
	}
	if got, _ := m.Get("y-map"); got != any(inner) {
		t.Error("another map than the one that was set")
	}
}

func TestMapMadeWithMembers(t *testing.T) {
	docs := connected(t, 2)
	m := docs[0].Map("map")
	first := crdt.NewMap(attrs("number", 1, "string", "hello")...)
	second := crdt.NewMap(attrs("object", attrs("x", 1), "boolean", true)...)
	ok(t, m.Set("m1", first), m.Set("m2", second))
	ok(t, m.Set("m3", crdt.NewMap(append(first.Members(), second.Members()...)...)))
	wantJSON(t, "map", docs[1].Map("map").JSON(), `{"m1":{"number":1,"string":"hello"},
		"m2":{"object":{"x":1},"boolean":true},"m3":{"number":1,"string":"hello","object":{"x":1},"boolean":true}}`)
}

// Peers set, delete and clear while they do not hear of each other: the edit of the highest client counts.
func TestMapConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		rounds []func(t *testing.T, m []*crdt.Map)
		want   string
	}{
		"a value alone": {[]func(*testing.T, []*crdt.Map){func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "stuffy"))
		}}, `{"stuff":"stuffy"}`},
		"two values": {[]func(*testing.T, []*crdt.Map){func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "c0"), m[1].Set("stuff", "c1"))
		}}, `{"stuff":"c1"}`},
		"a value and a deletion": {[]func(*testing.T, []*crdt.Map){func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "c0"), m[1].Set("stuff", "c1"), m[1].Delete("stuff"))
		}}, `{}`},
		"three values": {[]func(*testing.T, []*crdt.Map){func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "c0"), m[1].Set("stuff", "c1"), m[1].Set("stuff", "c2"), m[2].Set("stuff", "c3"))
		}}, `{"stuff":"c3"}`},
		"a deletion of what three set anew": {[]func(*testing.T, []*crdt.Map){func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "c0"), m[1].Set("stuff", "c1"), m[1].Set("stuff", "c2"), m[2].Set("stuff", "c3"))
		}, func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "deleteme"), m[1].Set("stuff", "c1"), m[2].Set("stuff", "c2"),
				m[3].Set("stuff", "c3"), m[3].Delete("stuff"))
		}}, `{}`},
		"clearing": {[]func(*testing.T, []*crdt.Map){func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "c0"), m[0].Set("otherstuff", "c1"), m[0].Clear())
		}}, `{}`},
		"clearing what others set as well": {[]func(*testing.T, []*crdt.Map){func(t *testing.T, m []*crdt.Map) {
			ok(t, m[0].Set("stuff", "c0"), m[1].Set("stuff", "c1"), m[1].Set("stuff", "c2"), m[2].Set("stuff", "c3"))
		}, func(t *testing.T, m []*crdt.Map) {
			for i := range m {
				ok(t, m[i].Set("otherstuff", i))
			}
			ok(t, m[3].Clear())
		}}, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			docs := apart(4)
			maps := make([]*crdt.Map, len(docs))
			for i := range docs {
				maps[i] = docs[i].Map("map")
			}
			for _, round := range c.rounds {
				round(t, maps)
				exchange(t, docs...)
			}
			agreed(t, docs...)
			for _, m := range maps {
				wantJSON(t, "map", m.JSON(), c.want)
				if want := strings.Count(c.want, ":"); m.Len() != want {
					t.Errorf("%d entries, want %d", m.Len(), want)
				}
			}
		})
	}
}

func TestMapLength(t *testing.T) {
	m := crdt.NewDoc(crdt.Options{}).Map("map")
	ok(t, m.Set("stuff", "c0"), m.Set("otherstuff", "c1"))
	for i, key := range []string{"stuff", "otherstuff"} {
		if m.Len() != 2-i {
			t.Errorf("%d entries, want %d", m.Len(), 2-i)
		}
		ok(t, m.Delete(key))
	}
	if m.Len() != 0 {
		t.Errorf("%d entries of none", m.Len())
	}
}

// paths collects the paths of deep events, one list per call.
func paths(d *crdt.Doc, s crdt.Shared) *[]any {
	var out []any
	d.ObserveDeep(s, func(events []*crdt.Event) {
		call := []any{}
		for _, e := range events {
			call = append(call, append([]any{}, e.Path()...))
		}
		out = append(out, call)
	})
	return &out
}

func TestMapDeepEvents(t *testing.T) {
	docs := connected(t, 2)
	m := docs[0].Map("map")
	here, there := paths(docs[0], m), paths(docs[1], docs[1].Map("map"))
	inner, list := crdt.NewMap(), crdt.NewArray()
	ok(t, m.Set("map", inner), inner.Set("array", list), list.Insert(0, "content"))
	for _, got := range []*[]any{here, there} {
		wantJSON(t, "paths", *got, `[[[]],[["map"]],[["map","array"]]]`)
	}
}

// A type that changed and a sibling that is new: the event of the one that holds both is first.
func TestMapDeepEventsOfSiblings(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	m, inner, text := d.Map("map"), crdt.NewMap(), crdt.NewText("initial")
	ok(t, m.Set("map", inner), inner.Set("text1", text))
	got := paths(d, m)
	d.Transact(nil, func(*crdt.Transaction) {
		ok(t, text.Insert(0, "post-"), inner.Set("text2", crdt.NewText("new")))
	})
	wantJSON(t, "paths", *got, `[[["map"],["map","text1"]]]`)
}

// Two peers set the same key to a new type, and observers name the one that stays.
func TestMapDeepEventsOfConflicts(t *testing.T) {
	docs := apart(3)
	ok(t, docs[0].Map("map").Set("map", crdt.NewMap()))
	exchange(t, docs...)
	inner := func(d *crdt.Doc) *crdt.Map {
		v, _ := d.Map("map").Get("map")
		m, _ := v.(*crdt.Map)
		return m
	}
	heard := 0
	docs[0].ObserveDeep(docs[0].Map("map"), func(events []*crdt.Event) {
		for _, e := range events {
			heard++
			wantJSON(t, "path", e.Path(), `["map"]`)
			if e.Target() != crdt.Shared(inner(docs[0])) || len(e.Keys()) != 1 || e.Keys()[0].Key != "deepmap" {
				t.Error("an event of something else")
			}
		}
	})
	ok(t, inner(docs[2]).Set("deepmap", crdt.NewMap(attrs("from", 2)...)))
	ok(t, inner(docs[1]).Set("deepmap", crdt.NewMap(attrs("from", 1)...)))
	agreed(t, docs...)
	if heard == 0 {
		t.Error("no event")
	}
	for _, d := range docs {
		wantJSON(t, "map", inner(d).JSON(), `{"deepmap":{"from":2}}`)
	}
}

// What happened to which keys, as observers of the peer and of another one see it.
func TestMapChanges(t *testing.T) {
	docs := connected(t, 2)
	m := docs[0].Map("map")
	heard := make([]string, 2)
	for i, d := range docs {
		d.Observe(d.Map("map"), func(e *crdt.Event) {
			if e.Target() != crdt.Shared(d.Map("map")) || e.ListChanged() {
				t.Error("an event of something else")
			}
			for _, k := range e.Keys() {
				now, _ := e.Target().(*crdt.Map).Get(k.Key)
				list := []any{k.Key, k.Action, k.Old, now}
				for i, v := range list {
					if s, shared := v.(crdt.Shared); shared {
						list[i] = s.JSON()
					}
				}
				heard[i] += asJSON(list)
			}
		})
	}
	for step, c := range []struct {
		edit func() error
		want string
	}{
		{func() error { return m.Set("stuff", 4) }, `["stuff","add",null,4]`},
		{func() error { return m.Set("stuff", crdt.NewArray(1)) }, `["stuff","update",4,[1]]`},
		{func() error { return m.Set("stuff", 5) }, `["stuff","update",[],5]`},
		{func() error { return m.Set("otherstuff", 6) }, `["otherstuff","add",null,6]`},
		{m.Clear, `["stuff","delete",5,null]["otherstuff","delete",6,null]`},
		{func() error { return m.Set("a", 1) }, `["a","add",null,1]`},
		{func() error { return m.Set("a", 2) }, `["a","update",1,2]`},
	} {
		heard[0], heard[1] = "", ""
		ok(t, c.edit())
		for i, got := range heard {
			if got != c.want {
				t.Errorf("step %d, peer %d: heard %s, want %s", step, i, got, c.want)
			}
		}
	}
	for _, c := range []struct {
		edit func() error
		want string
	}{
		{func() error { return cmp.Or(m.Set("a", 3), m.Set("a", 4)) }, `["a","update",2,4]`},
		{func() error { return cmp.Or(m.Set("b", 1), m.Set("b", 2)) }, `["b","add",null,2]`},
		{func() error { return cmp.Or(m.Set("c", 1), m.Delete("c")) }, ``},
	} {
		heard[0], heard[1] = "", ""
		docs[0].Transact(nil, func(*crdt.Transaction) { ok(t, c.edit()) })
		if heard[0] != c.want || heard[1] != c.want {
			t.Errorf("heard %q, want %s", heard, c.want)
		}
	}
}
