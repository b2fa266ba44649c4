package crdt_test

import (
	"testing"

	"collab.dev/operator/editor/crdt"
)

// Every position of a text is found again, to whichever side it belongs.
func TestPositionsAreFoundAgain(t *testing.T) {
	for name, insertions := range map[string][]string{
		"nothing":                  {},
		"a character":              {"1"},
		"an item":                  {"abc"},
		"two items":                {"2", "1"},
		"items of several lengths": {"abc", "1", "xyz"},
		"single characters":        {"1", "abc", "z", "y", "x"},
	} {
		d := crdt.NewDoc(crdt.Options{ClientID: 1})
		x := d.Text("text")
		for _, s := range insertions {
			ok(t, x.Insert(0, s))
		}
		for at := 0; at <= x.Len(); at++ {
			for assoc := -1; assoc < 2; assoc++ {
				p, err := d.RelativePosition(x, at, assoc)
				ok(t, err)
				decoded, err := crdt.DecodeRelativePosition(p.Encode())
				ok(t, err)
				got, found := d.AbsolutePosition(decoded)
				if !found || got.Index != at || got.Assoc != assoc || got.Type != crdt.Shared(x) {
					t.Errorf("%s: position %d with %d is %+v", name, at, assoc, got)
				}
			}
		}
	}
}

// What is inserted at a position is on the one side or the other.
func TestPositionsStayWithTheirSide(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	x := d.Text("text")
	ok(t, x.Insert(0, "2"), x.Insert(0, "1"))
	right, err := d.RelativePosition(x, 1, 0)
	ok(t, err)
	left, err := d.RelativePosition(x, 1, -1)
	ok(t, err, x.Insert(1, "x"))
	for want, p := range map[int]crdt.RelativePosition{2: right, 1: left} {
		if got, found := d.AbsolutePosition(p); !found || got.Index != want {
			t.Errorf("position %+v, want %d", got, want)
		}
	}
}

// A position in deleted text is where that was. An undo manager of Yjs brings the text back as new items: for a peer,
// which does not know that, the position stays behind them.
func TestPositionsInDeletedText(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	x := d.Text("text")
	ok(t, x.Insert(0, "hello world"))
	p, err := d.RelativePosition(x, 1, 0)
	same(t, "position", p.Encode(), err, "00010100")
	ok(t, x.Delete(0, 6))
	if got, found := d.AbsolutePosition(p); !found || got.Index != 0 {
		t.Errorf("position %+v, want 0", got)
	}
	// The state of a document in which Yjs did the same and undid the deletion.
	undone := crdt.NewDoc(crdt.Options{})
	x = undone.Text("text")
	state := "01030100040104746578740668656c6c6f2084010505776f726c644401000668656c6c6f200101010006"
	ok(t, undone.ApplyUpdate(unhex(t, state), nil))
	if got, found := undone.AbsolutePosition(p); !found || got.Index != 6 || x.String() != "hello world" {
		t.Errorf("position %+v in %q, want 6", got, x)
	}
}
