package difftest_test

import (
	"fmt"
	"testing"
	"time"

	"collab.dev/operator/editor/crdt/awareness"
	"collab.dev/operator/editor/crdt/lib0"
	"pgregory.net/rapid"
)

func ids(list []uint64) []any {
	out := []any{}
	for _, id := range list {
		out = append(out, float64(id))
	}
	return out
}

// changes returns a change as the events that y-protocols emits.
func changes(c awareness.Change) []any {
	out := []any{}
	if len(c.Added)+len(c.Changed)+len(c.Removed) > 0 {
		out = append(out, []any{"change", ids(c.Added), ids(c.Changed), ids(c.Removed)})
	}
	if !c.Empty() {
		out = append(out, []any{"update", ids(c.Added), ids(c.Updated), ids(c.Removed)})
	}
	return out
}

func present(t *rapid.T, s *awareness.States) []any {
	out := []any{}
	for _, id := range s.Clients() {
		state, _ := s.Get(id)
		v, err := lib0.ParseJSON(state)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, []any{float64(id), v})
	}
	return out
}

// Clients of y-protocols tell about themselves; what they say reaches States and an observer of y-protocols in any
// order, repeated, and mixed with removals.
func TestAwarenessAgreesWithYProtocols(t *testing.T) {
	n := startNode(t)
	states := rapid.SampledFrom([]any{
		object("user", object("name", "Zoë 😀", "color", "#fff")), object("cursor", []any{1, 2.5, nil}), object(),
		object("2", "b", "1", "a", "x", object()), object("user", object("color", "#fff", "name", "Zoë 😀")), nil,
	})
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 4).Draw(t, "clients")
		for i := range count {
			n.call(t, []any{"awareness", fmt.Sprint("client ", i), i + 1})
		}
		n.call(t, []any{"awareness", "observer", 999})
		s := awareness.New(func() time.Time { return time.Unix(0, 0) }, awareness.Limits{})
		var updates [][]byte
		all := []any{}
		var everybody []uint64
		for i := range count {
			all = append(all, i+1)
			everybody = append(everybody, uint64(i+1))
		}
		compare := func(change awareness.Change) {
			r := n.call(t, []any{"awarenessChanges", "observer"}, []any{"awarenessStates", "observer"},
				[]any{"awarenessEncode", "observer", all})
			agree(t, "changes", changes(change), r[0])
			agree(t, "states", present(t, s), r[1])
			agree(t, "update", s.Encode(everybody), r[2])
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				i := rapid.IntRange(1, count).Draw(t, "client")
				id := fmt.Sprint("client ", i-1)
				r := n.call(t, []any{"awarenessLocal", id, states.Draw(t, "state")}, []any{"awarenessEncode", id, []any{i}})
				u, _ := r[1].([]byte)
				updates = append(updates, u)
			},
			"apply": func(t *rapid.T) {
				if len(updates) == 0 {
					return
				}
				u := rapid.SampledFrom(updates).Draw(t, "update")
				n.call(t, []any{"awarenessApply", "observer", u})
				change, err := s.Apply(u)
				if err != nil {
					t.Fatal(err)
				}
				compare(change)
			},
			"remove": func(t *rapid.T) {
				gone := rapid.SliceOfDistinct(rapid.IntRange(1, count+1), rapid.ID[int]).Draw(t, "gone")
				var clients []uint64
				list := []any{}
				for _, id := range gone {
					clients = append(clients, uint64(id))
					list = append(list, id)
				}
				n.call(t, []any{"awarenessRemove", "observer", list})
				change, update := s.Remove(clients)
				if (update == nil) != change.Empty() {
					t.Fatal("an update without a change, or a change without one")
				}
				if update != nil {
					updates = append(updates, update) // Others hear of it.
				}
				compare(change)
			},
		})
	})
}
