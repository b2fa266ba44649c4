package crdt_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
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

func TestArraySlicesAndValues(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	a := d.Array("array")
	ok(t, a.Insert(0, 1, 2, 3))
	for _, c := range []struct {
		from, to int
		want     string
	}{{0, 3, `[1,2,3]`}, {1, 3, `[2,3]`}, {0, 2, `[1,2]`}, {2, 2, `[]`}, {-1, 9, `[1,2,3]`}} {
		got := a.Slice(c.from, c.to)
		if got == nil {
			got = []any{}
		}
		wantJSON(t, "slice", got, c.want)
	}
	ok(t, a.Insert(0, 0))
	wantJSON(t, "across items", a.Slice(0, 2), `[0,1]`)
	nested := crdt.NewArray(0, 1, 2)
	ok(t, d.Map("map").Set("array", nested))
	wantJSON(t, "made with values", nested.Values(), `[0,1,2]`)
	for i := range 10 {
		ok(t, d.Array("maps").Push(crdt.NewMap(lib0.Member{Key: "value", Value: i})))
	}
	for i, v := range d.Array("maps").Values() {
		m, _ := v.(*crdt.Map)
		if got, _ := m.Get("value"); got != float64(i) {
			t.Errorf("value %d is %v", i, got)
		}
	}
}

// The length is that of the values after every edit, within a transaction and after it, in a document and before.
func TestArrayLengths(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	a := d.Array("array")
	check := func(errs ...error) {
		t.Helper()
		ok(t, errs...)
		if got := len(a.Values()); a.Len() != got {
			t.Errorf("length %d of %d values", a.Len(), got)
		}
	}
	check(a.Push(0, 1, 2, 3), a.Delete(0, 1), a.Insert(0, 0))
	d.Transact(nil, func(*crdt.Transaction) {
		check(a.Delete(1, 1))
		check(a.Insert(1, 1))
		check(a.Delete(2, 1))
		check(a.Insert(2, 2))
	})
	check(a.Delete(1, 1))
	check(a.Insert(1, 1))
	wantJSON(t, "array", a.JSON(), `[0,1,2,3]`)
}

// An edit that fails within a transaction leaves the positions of the next ones as they are.
func TestArrayEditsAfterAFailure(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	a := d.Array("array")
	ok(t, a.Insert(0, "group2"), a.Insert(1, "rectangle3"))
	d.Transact(nil, func(*crdt.Transaction) { ok(t, a.Delete(0, 1), a.Insert(0, "rectangle3")) })
	ok(t, a.Delete(1, 1), a.Insert(1, "ellipse4"), a.Insert(2, "ellipse3"), a.Insert(3, "ellipse2"))
	d.Transact(nil, func(*crdt.Transaction) {
		if err := a.Insert(5, "rectangle2"); !errors.Is(err, crdt.ErrOutOfBounds) {
			t.Errorf("beyond the end: %v", err)
		}
		ok(t, a.Insert(4, "rectangle2"), a.Delete(4, 1))
	})
	wantJSON(t, "array", a.JSON(), `["rectangle3","ellipse4","ellipse3","ellipse2"]`)
	ok(t, d.Check())
}

func TestArrayDeletesNothing(t *testing.T) {
	docs := connected(t, 2)
	a := docs[0].Array("array")
	ok(t, a.Delete(0, 0))
	if err := a.Delete(1, 1); !errors.Is(err, crdt.ErrOutOfBounds) {
		t.Errorf("beyond the end: %v", err)
	}
	ok(t, a.Insert(0, "A"), a.Delete(1, 0))
	agreed(t, docs...)
	wantJSON(t, "array", docs[1].Array("array").JSON(), `["A"]`)
}

// Peers edit while they do not hear of each other.
func TestArraysConvergeAfterATimeApart(t *testing.T) {
	for name, c := range map[string]struct {
		first []any
		edit  func(t *testing.T, a []*crdt.Array)
		want  string
	}{
		"a value of every kind": {nil, func(t *testing.T, a []*crdt.Array) {
			ok(t, a[0].Insert(0, 1, true, false))
		}, `[1,true,false]`},
		"three insertions at the start": {nil, func(t *testing.T, a []*crdt.Array) {
			for i := range 3 {
				ok(t, a[i].Insert(0, i))
			}
		}, `[0,1,2]`},
		"insertions between the same neighbors": {[]any{"x", "y"}, func(t *testing.T, a []*crdt.Array) {
			for i := range 3 {
				ok(t, a[i].Insert(1, fmt.Sprint("user", i)))
			}
		}, `["x","user0","user1","user2","y"]`},
		"what others do is not there before they tell": {[]any{"x", "y"}, func(t *testing.T, a []*crdt.Array) {
			ok(t, a[0].Insert(1, "user0"), a[1].Insert(1, "user1"))
			wantJSON(t, "here", a[0].JSON(), `["x","user0","y"]`)
			wantJSON(t, "there", a[1].JSON(), `["x","user1","y"]`)
		}, `["x","user0","user1","y"]`},
		"deletions of the same": {[]any{"x", "y"}, func(t *testing.T, a []*crdt.Array) {
			ok(t, a[1].Delete(1, 1), a[0].Delete(0, 2))
		}, `[]`},
		"deletions of all": {[]any{"x", "y", "z"}, func(t *testing.T, a []*crdt.Array) {
			ok(t, a[1].Delete(0, 3))
		}, `[]`},
		"insertions next to deletions": {[]any{"x", "y", "z"}, func(t *testing.T, a []*crdt.Array) {
			ok(t, a[0].Insert(1, 0), a[1].Delete(0, 1), a[1].Delete(1, 1), a[2].Insert(1, 2))
		}, `[0,2,"y"]`},
	} {
		t.Run(name, func(t *testing.T) {
			docs := apart(3)
			arrays := make([]*crdt.Array, len(docs))
			for i := range docs {
				arrays[i] = docs[i].Array("array")
			}
			ok(t, arrays[0].Insert(0, c.first...))
			exchange(t, docs...)
			c.edit(t, arrays)
			agreed(t, docs...)
			wantJSON(t, "array", arrays[2].JSON(), c.want)
		})
	}
}

// What is deleted leaves a struct without content behind, at every peer.
func TestArrayDeletionIsCollected(t *testing.T) {
	docs := apart(3)
	ok(t, docs[0].Array("array").Insert(0, "x", "y", "z"))
	exchange(t, docs...)
	ok(t, docs[0].Array("array").Delete(0, 3))
	agreed(t, docs...)
	want := "010101000101056172726179030101010003" // Of Yjs: a deleted item of three elements.
	for _, d := range docs {
		u, err := d.EncodeStateAsUpdate(nil)
		same(t, "state", u, err, want)
	}
}

func TestArrayObserversHear(t *testing.T) {
	for name, edit := range map[string]func(t *testing.T, a, other *crdt.Array){
		"of insertions":         func(t *testing.T, a, _ *crdt.Array) { ok(t, a.Insert(0, 0, 1, 2)) },
		"of deletions":          func(t *testing.T, a, _ *crdt.Array) { ok(t, a.Delete(0, 1)) },
		"of several deletions":  func(t *testing.T, a, _ *crdt.Array) { ok(t, a.Delete(0, 2)) },
		"of types":              func(t *testing.T, a, _ *crdt.Array) { ok(t, a.Insert(0, "hi", crdt.NewMap())) },
		"of a type's deletion":  func(t *testing.T, a, _ *crdt.Array) { ok(t, a.Delete(a.Len()-1, 1)) },
		"of what others insert": func(t *testing.T, _, other *crdt.Array) { ok(t, other.Insert(0, "stuff")) },
	} {
		t.Run(name, func(t *testing.T) {
			docs := connected(t, 2)
			a, other := docs[0].Array("array"), docs[1].Array("array")
			ok(t, a.Insert(0, 0, 1, crdt.NewArray()))
			heard := 0
			docs[0].Observe(a, func(e *crdt.Event) {
				heard++
				if e.Target() != crdt.Shared(a) || !e.ListChanged() {
					t.Error("of something else")
				}
			})
			edit(t, a, other)
			if heard != 1 {
				t.Errorf("%d times", heard)
			}
		})
	}
}

// An observer that edits is called again for that, but only after it returned.
func TestArrayObserversMayEdit(t *testing.T) {
	docs := connected(t, 2)
	a := docs[0].Array("array")
	var calls []int
	docs[0].Observe(a, func(*crdt.Event) {
		if a.Len() > 1 {
			calls = append(calls, 1)
			return
		}
		ok(t, a.Insert(1, 1))
		calls = append(calls, 0)
	})
	ok(t, a.Insert(0, 0))
	if !slices.Equal(calls, []int{0, 1}) {
		t.Errorf("calls %v", calls)
	}
	wantJSON(t, "array", a.JSON(), `[0,1]`)
	agreed(t, docs...)
}

// The outermost event comes first, so that the paths of the inner ones lead through what it told of.
func TestArrayDeepEventsAreOrdered(t *testing.T) {
	docs := connected(t, 2)
	a := docs[0].Array("array")
	inner := crdt.NewMap()
	ok(t, a.Insert(0, inner))
	for _, d := range docs {
		var paths []any
		stop := d.ObserveDeep(d.Array("array"), func(events []*crdt.Event) {
			for _, e := range events {
				paths = append(paths, append([]any{}, e.Path()...))
			}
		})
		docs[0].Transact(nil, func(*crdt.Transaction) { ok(t, inner.Set("a", "a"), a.Insert(0, 0)) })
		stop()
		want := `[[],[1]]`
		if d == docs[1] {
			want = `[[],[2]]`
		}
		wantJSON(t, "paths", paths, want)
	}
}

// A position in a path counts the values of an item one by one.
func TestArrayDeepEventsCountValues(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	list, inner := crdt.NewArray(), crdt.NewMap()
	ok(t, d.Map("map").Set("my-array", list), list.Push("a", "b", "c", inner))
	var path []any
	d.ObserveDeep(d.Map("map"), func(events []*crdt.Event) { path = events[0].Path() })
	ok(t, inner.Set("hello", "world"))
	wantJSON(t, "path", path, `["my-array",3]`)
}

func TestArrayChanges(t *testing.T) {
	docs := connected(t, 2)
	a := docs[0].Array("array")
	var changes []crdt.Op
	docs[0].Observe(a, func(e *crdt.Event) { changes = e.Delta() })
	inner := crdt.NewArray()
	ok(t, a.Insert(0, inner, 4, "dtrn"))
	if values, _ := changes[0].Insert.([]any); len(changes) != 1 || len(values) != 3 || values[0] != any(inner) {
		t.Errorf("changes %v", changes)
	}
	ok(t, a.Delete(0, 2))
	wantJSON(t, "changes", crdt.DeltaJSON(changes), `[{"delete":2}]`)
	ok(t, a.Insert(1, 0.1))
	wantJSON(t, "changes", crdt.DeltaJSON(changes), `[{"retain":1},{"insert":[0.1]}]`)
	agreed(t, docs...)
}

// Whoever sees a new type sees its content as well: there is no event for what is set within its transaction.
func TestArrayNewTypesHaveNoEvents(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	inner := crdt.NewMap()
	heard := false
	d.Transact(nil, func(*crdt.Transaction) {
		ok(t, d.Array("array").Insert(0, inner))
		d.Observe(inner, func(*crdt.Event) { heard = true })
		ok(t, inner.Set("tst", 42))
	})
	if heard {
		t.Error("an event")
	}
	ok(t, inner.Set("tst", 43))
	if !heard {
		t.Error("no event afterwards")
	}
}
