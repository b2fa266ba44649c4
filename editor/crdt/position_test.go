package crdt

import (
	"encoding/json"
	"fmt"
	"testing"
)

// A position may name whatever peers inserted, also the value of a map entry.
func TestPositionsOfMapEntriesAreFound(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	m := d.Map("m")
	for i := range 100 {
		for _, v := range []any{"a", "b", NewMap()} {
			if err := m.Set(fmt.Sprint(i), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	for clock := range uint64(300) {
		for assoc, want := range map[int]int{0: 0, -1: 0} {
			if assoc < 0 && clock%3 == 2 {
				want = 1 // Behind the present value.
			}
			p, ok := d.AbsolutePosition(RelativePosition{Item: &ID{1, clock}, Assoc: assoc})
			if !ok || p.Type != m || p.Index != want {
				t.Errorf("clock %d, assoc %d: %+v %t", clock, assoc, p, ok)
			}
		}
	}
}

func TestPositionsInLongListsAreFoundByTheIndex(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	text := d.Text("t")
	const n = 1000
	for range n {
		if err := text.Insert(0, "x"); err != nil {
			t.Fatal(err)
		}
	}
	fresh := NewDoc(Options{})
	text = fresh.Text("t")
	update, err := d.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.ApplyUpdate(update, nil); err != nil {
		t.Fatal(err)
	}
	for clock := range uint64(n) {
		p, ok := fresh.AbsolutePosition(RelativePosition{Item: &ID{1, clock}})
		if !ok || p.Index != n-1-int(clock) {
			t.Fatalf("%d: %+v", clock, p)
		}
	}
	if !fresh.node(text.node).indexed {
		t.Error("the list was searched one by one")
	}
}

// Bindings of editors tell where cursors are in this form.
func TestPositionsAreJSONAsInYjs(t *testing.T) {
	for text, want := range map[string]RelativePosition{
		`{"tname":"t","item":{"client":5,"clock":7},"assoc":-1}`: {Root: "t", Item: &ID{5, 7}, Assoc: -1},
		`{"type":{"client":5,"clock":7},"assoc":0}`:              {Type: &ID{5, 7}},
	} {
		got, err := json.Marshal(want)
		if err != nil || string(got) != text {
			t.Errorf("got %s, %v, want %s", got, err, text)
		}
		var p RelativePosition
		if err := json.Unmarshal([]byte(text), &p); err != nil || string(p.Encode()) != string(want.Encode()) {
			t.Errorf("%s becomes %+v, %v", text, p, err)
		}
	}
	var p RelativePosition
	if err := json.Unmarshal([]byte(`{"type":null,"tname":"t","item":null,"assoc":null}`), &p); err != nil || p.Root != "t" {
		t.Errorf("%+v %v", p, err)
	}
}
