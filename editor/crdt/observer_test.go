package crdt

import (
	"errors"
	"testing"
)

// Types that are gone take no memory, also where the program looked at them.
func TestTypesThatAreGoneAreForgotten(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	a := d.Array("a")
	var gone []*Map
	for i := range 100 {
		within := NewMap()
		gone = append(gone, within)
		calls := 0
		if err := a.Push(within); err != nil {
			t.Fatal(err)
		}
		stop := d.Observe(within, func(*Event) { calls++ })
		if err := within.Set("k", NewText("t")); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			defer stop()
		} else {
			stop()
		}
		if err := a.Delete(0, 1); err != nil {
			t.Fatal(err)
		}
		if calls != 1 {
			t.Fatalf("%d calls for %d", calls, i)
		}
	}
	if n := len(d.handles); n > 1 || len(d.listeners.types) > 0 || d.nodes.live() > 1 {
		t.Errorf("%d types, %d observed and %d nodes are kept", n, len(d.listeners.types), d.nodes.live())
	}
	for _, m := range gone {
		if !m.Deleted() || m.Len() != 0 || m.Parent() != nil || !errors.Is(m.Set("k", 1), ErrDetached) || m.Doc() != d {
			t.Fatal("a type that is gone can be used")
		}
	}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
}
