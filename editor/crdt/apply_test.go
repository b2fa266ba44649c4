package crdt

import "testing"

func TestApplyTellsWhetherAnUpdateIsNews(t *testing.T) {
	from := NewDoc(Options{ClientID: 1})
	var updates [][]byte
	from.OnUpdate(func(update []byte, _ any) { updates = append(updates, update) })
	text := from.Text("t")
	for _, edit := range []func() error{
		func() error { return text.Insert(0, "ab") },
		func() error { return text.Insert(2, "cd") },
		func() error { return text.Delete(1, 2) },
	} {
		if err := edit(); err != nil {
			t.Fatal(err)
		}
	}
	to := NewDoc(Options{})
	// The second and the third wait for the first, which brings all of them in.
	for _, step := range []struct {
		update int
		news   bool
	}{{1, true}, {1, false}, {2, true}, {2, false}, {0, true}, {0, false}, {1, false}, {2, false}} {
		changed, err := to.Apply(updates[step.update], nil)
		if err != nil {
			t.Fatal(err)
		}
		if changed != step.news {
			t.Errorf("update %d: news is %t", step.update, changed)
		}
	}
	if got := to.Text("t").String(); got != "ad" || to.HasPending() {
		t.Errorf("got %q", got)
	}
}

func TestKnownUpdatesTakeNoMemory(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	text := d.Text("t")
	const n = 5000
	d.Transact(nil, func(*Transaction) {
		for range n {
			if err := text.Insert(0, "x"); err != nil {
				t.Fatal(err)
			}
		}
	})
	state, err := d.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	to := NewDoc(Options{})
	if err := to.ApplyUpdate(state, nil); err != nil {
		t.Fatal(err)
	}
	before := to.MemoryBytes()
	if changed, err := to.Apply(state, nil); changed || err != nil {
		t.Fatal(changed, err)
	}
	if after := to.MemoryBytes(); after != before {
		t.Errorf("%d bytes become %d", before, after)
	}
}
