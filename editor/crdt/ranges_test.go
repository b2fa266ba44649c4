package crdt

import (
	"errors"
	"slices"
	"testing"
)

type ofClient struct{ client, from, to uint64 }

func TestRangesAreWhatAnUpdateHasOfEachClient(t *testing.T) {
	typed := typing(t, 5000) // Every thousandth goes elsewhere, so that structs do not merge.
	merge := func(updates ...[]byte) []byte {
		merged, err := MergeUpdates(updates)
		if err != nil {
			t.Fatal(err)
		}
		return merged
	}
	other := crowd(t, 3)
	for name, test := range map[string]struct {
		update []byte
		want   []ofClient
	}{
		"nothing":             {[]byte{0, 0}, nil},
		"a character":         {typed[41], []ofClient{{7, 41, 42}}},
		"many structs":        {merge(typed...), []ofClient{{7, 0, 5000}}},
		"a gap":               {merge(typed[1], typed[2], typed[10]), []ofClient{{7, 1, 3}, {7, 10, 11}}},
		"a gap from the next": {merge(typed[1], typed[3]), []ofClient{{7, 1, 2}, {7, 3, 4}}},
		"several clients":     {merge(typed[0], other), []ofClient{{7, 0, 1}, {3, 0, 1}, {2, 0, 1}, {1, 0, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []ofClient
			err := EachRange(test.update, func(client, from, to uint64) { got = append(got, ofClient{client, from, to}) })
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v (%v), want %v", got, err, test.want)
			}
		})
	}
	if err := EachRange(typed[41][:5], func(uint64, uint64, uint64) {}); !errors.Is(err, ErrInvalidUpdate) {
		t.Errorf("an update that is cut off: %v", err)
	}
}

func TestWhatAServerDoesForEveryUpdateAllocatesLittle(t *testing.T) {
	typed := typing(t, 8)
	turn := make([][]byte, 0, 8)
	for i := range 8 { // As many people type one character each.
		d := NewDoc(Options{ClientID: uint64(1000 + i)})
		d.OnUpdate(func(u []byte, _ any) { turn = append(turn, u) })
		if err := d.Text("text").Insert(0, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		most float64
		do   func() error
	}{
		"checking it":            {0, func() error { return ValidateUpdate(typed[5]) }},
		"looking what it has":    {0, func() error { return EachRange(typed[5], func(uint64, uint64, uint64) {}) }},
		"joining it with others": {8, func() error { _, err := MergeUpdates(turn); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			most := test.most
			if poolsForget {
				most += 30
			}
			if n := testing.AllocsPerRun(1000, func() {
				if err := test.do(); err != nil {
					t.Fatal(err)
				}
			}); n > most {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
