package awareness_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"collab.dev/operator/editor/crdt/awareness"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func entry(client, clock uint64, state string) awareness.Entry {
	e := awareness.Entry{Client: client, Clock: clock}
	if state != "" {
		e.State = []byte(state)
	}
	return e
}

func TestStatesAreOrderedByTheirClocks(t *testing.T) {
	s := awareness.New((&clock{}).Now, awareness.Limits{})
	for i, step := range []struct {
		entry                            awareness.Entry
		added, changed, renewed, removed bool
	}{
		{entry: entry(1, 0, `{}`)}, // A client that nobody knows counts as having said 0.
		{entry: entry(1, 1, `{"a":1}`), added: true},
		{entry: entry(1, 1, `{"a":2}`)},
		{entry: entry(1, 2, `{"a":1}`), renewed: true},
		{entry: entry(1, 4, `{"a":2}`), renewed: true, changed: true},
		{entry: entry(1, 3, `{"a":3}`)},
		{entry: entry(1, 3, "")},
		{entry: entry(1, 4, ""), removed: true}, // That somebody is gone needs no higher clock.
		{entry: entry(1, 4, "")},
		{entry: entry(1, 4, `{"a":2}`)},
		{entry: entry(1, 5, `{"a":2}`), renewed: true, changed: true},
		{entry: entry(2, 7, "")},
	} {
		got, err := s.Apply(awareness.Encode([]awareness.Entry{step.entry}))
		if err != nil {
			t.Fatal(err)
		}
		is := func(list []uint64) bool { return slices.Contains(list, step.entry.Client) }
		if is(got.Added) != step.added || is(got.Changed) != step.changed || is(got.Updated) != step.renewed ||
			is(got.Removed) != step.removed {
			t.Errorf("step %d: %+v", i, got)
		}
	}
	if state, clock := s.Get(1); string(state) != `{"a":2}` || clock != 5 || s.Len() != 1 {
		t.Errorf("%s at %d, %d present", state, clock, s.Len())
	}
}

func TestStatesExpireAndAreForgotten(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	s := awareness.New(c.Now, awareness.Limits{})
	apply := func(e ...awareness.Entry) {
		t.Helper()
		if _, err := s.Apply(awareness.Encode(e)); err != nil {
			t.Fatal(err)
		}
	}
	apply(entry(1, 1, `{}`), entry(2, 1, `{}`))
	c.now = c.now.Add(awareness.Timeout - time.Second)
	if change, update := s.Expire(); !change.Empty() || update != nil {
		t.Fatalf("too early: %+v", change)
	}
	apply(entry(2, 2, `{}`))
	c.now = c.now.Add(time.Second)
	change, update := s.Expire()
	if !slices.Equal(change.Removed, []uint64{1}) || !slices.Equal(s.Clients(), []uint64{2}) {
		t.Fatalf("%+v, present %v", change, s.Clients())
	}
	entries, err := awareness.Decode(update)
	if err != nil || len(entries) != 1 || entries[0].State != nil || entries[0].Clock != 1 {
		t.Fatalf("others are told %+v: %v", entries, err)
	}
	apply(entry(1, 1, `{}`)) // An old state does not come back,
	if s.Len() != 1 {
		t.Fatal("a state that expired came back")
	}
	c.now = c.now.Add(awareness.Timeout)
	s.Expire()
	apply(entry(1, 1, `{}`)) // until its client is forgotten.
	if _, clock := s.Get(1); clock != 1 || !slices.Equal(s.Clients(), []uint64{1}) {
		t.Fatalf("present %v", s.Clients())
	}
}

func TestLimitsKeepPeersFromFillingTheMemory(t *testing.T) {
	s := awareness.New((&clock{}).Now, awareness.Limits{Clients: 2, StateBytes: 10})
	if _, err := s.ApplyEntries([]awareness.Entry{entry(1, 1, `{}`), entry(2, 1, `{}`)}); err != nil {
		t.Fatal(err)
	}
	_, err := s.ApplyEntries([]awareness.Entry{entry(1, 2, `{"a":1}`), entry(3, 1, `{}`)})
	if !errors.Is(err, awareness.ErrTooMany) {
		t.Errorf("a third client: %v", err)
	}
	_, err = s.ApplyEntries([]awareness.Entry{entry(1, 2, `{"a":1}`), entry(2, 2, `{"long":12}`)})
	if !errors.Is(err, awareness.ErrInvalid) {
		t.Errorf("a long state: %v", err)
	}
	if state, clock := s.Get(1); clock != 1 || string(state) != `{}` {
		t.Errorf("a refused update changed the state to %s at %d", state, clock)
	}
}

func TestMalformedUpdatesChangeNothing(t *testing.T) {
	s := awareness.New((&clock{}).Now, awareness.Limits{})
	good := awareness.Encode([]awareness.Entry{entry(1, 1, `{}`), entry(2, 1, `{"a":[1,2]}`)})
	for n := range good {
		if _, err := s.Apply(good[:n]); !errors.Is(err, awareness.ErrInvalid) {
			t.Errorf("%d bytes of %d: %v", n, len(good), err)
		}
	}
	for _, text := range []string{"", "{", "nul", `{"a":}`, "\xff"} {
		update := awareness.Encode([]awareness.Entry{{Client: 1, Clock: 1, State: []byte(text)}})
		if _, err := s.Apply(update); !errors.Is(err, awareness.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if s.Len() != 0 {
		t.Error("something was applied")
	}
}

func FuzzApply(f *testing.F) {
	f.Add(awareness.Encode([]awareness.Entry{entry(1, 1, `{"user":{"name":"x"}}`), entry(2, 3, "")}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1, 0})
	f.Fuzz(func(t *testing.T, update []byte) {
		s := awareness.New((&clock{}).Now, awareness.Limits{Clients: 100})
		if _, err := s.Apply(update); err != nil {
			if !errors.Is(err, awareness.ErrInvalid) && !errors.Is(err, awareness.ErrTooMany) {
				t.Fatalf("undocumented error: %v", err)
			}
			if s.Len() != 0 {
				t.Fatal("a refused update was applied")
			}
			return
		}
		told := s.Encode(nil)
		other := awareness.New((&clock{}).Now, awareness.Limits{})
		if _, err := other.Apply(told); err != nil {
			t.Fatal(err)
		}
		if again := other.Encode(nil); !bytes.Equal(told, again) {
			t.Fatalf("%x became %x", told, again)
		}
	})
}
