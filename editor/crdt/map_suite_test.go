package crdt_test

import (
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
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
