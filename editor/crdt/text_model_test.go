package crdt_test

import (
	"math/rand/v2"
	"testing"
	"unicode/utf16"

	"collab.dev/operator/editor/crdt"
	"pgregory.net/rapid"
)

// editLikeModel edits a text and a slice of code units alike.
func editLikeModel(t *testing.T, d *crdt.Doc, model []uint16, r *rand.Rand, edits int) []uint16 {
	t.Helper()
	text := d.Text("text")
	for range edits {
		at := r.IntN(len(model) + 1)
		if r.IntN(3) == 0 && at < len(model) {
			n := min(1+r.IntN(5), len(model)-at)
			if err := text.Delete(at, n); err != nil {
				t.Fatal(err)
			}
			model = append(model[:at:at], model[at+n:]...)
			continue
		}
		s := string(rune('a'+r.IntN(26))) + "é"[:2*r.IntN(2)]
		if err := text.Insert(at, s); err != nil {
			t.Fatal(err)
		}
		u := utf16.Encode([]rune(s))
		model = append(model[:at:at], append(u, model[at:]...)...)
	}
	return model
}

func TestALongTextIsWhatAModelSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d, other := crdt.NewDoc(crdt.Options{ClientID: 1}), crdt.NewDoc(crdt.Options{ClientID: 2})
	d.OnUpdate(func(u []byte, _ any) {
		if err := other.ApplyUpdate(u, nil); err != nil {
			t.Fatal(err)
		}
	})
	other.Text("text").Len()
	var model []uint16
	for round := range 40 {
		model = editLikeModel(t, d, model, r, 500)
		if round%4 == 0 { // The peer looks for positions too, and so keeps an index while updates arrive.
			if _, err := other.RelativePosition(other.Text("text"), len(model)/2, 0); err != nil {
				t.Fatal(err)
			}
		}
		want := string(utf16.Decode(model))
		for _, doc := range []*crdt.Doc{d, other} {
			if err := doc.Check(); err != nil {
				t.Fatal(err)
			}
			if got := doc.Text("text").String(); got != want {
				t.Fatalf("round %d: text differs, %d and %d bytes", round, len(got), len(want))
			}
		}
	}
}

func TestPeersConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(t, "peers")
		peers := make([]*crdt.Doc, n)
		inbox := make([][][]byte, n)
		for i := range peers {
			keep := rapid.Bool().Draw(t, "keep history")
			peers[i] = crdt.NewDoc(crdt.Options{ClientID: uint64(i + 1), KeepHistory: keep})
			peers[i].Text("text")
			peers[i].OnUpdate(func(u []byte, origin any) {
				if origin == nil {
					for j := range peers {
						if i != j {
							inbox[j] = append(inbox[j], u)
						}
					}
				}
			})
		}
		receive := func(i, k int) {
			u := inbox[i][k]
			inbox[i] = append(inbox[i][:k], inbox[i][k+1:]...)
			if err := peers[i].ApplyUpdate(u, "peer"); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, n-1).Draw(t, "peer")
			text, list := peers[i].Text("text"), peers[i].Array("list")
			switch rapid.IntRange(0, 6).Draw(t, "action") {
			case 0, 1:
				at := rapid.IntRange(0, text.Len()).Draw(t, "at")
				_ = text.Insert(at, rapid.SampledFrom([]string{"a", "bc", "😀", "d😀e"}).Draw(t, "text"))
			case 2:
				if text.Len() > 0 {
					_ = text.Delete(rapid.IntRange(0, text.Len()-1).Draw(t, "at"), rapid.IntRange(1, 3).Draw(t, "n"))
				}
			case 3:
				at := rapid.IntRange(0, list.Len()).Draw(t, "at")
				_ = list.Insert(at, at, crdt.NewText("x"), "y")
			case 4:
				if list.Len() > 0 {
					_ = list.Delete(rapid.IntRange(0, list.Len()-1).Draw(t, "at"), 1)
				}
			case 5:
				_ = peers[i].Map("map").Set(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), i)
			default:
				if k := len(inbox[i]); k > 0 {
					receive(i, rapid.IntRange(0, k-1).Draw(t, "update"))
				}
			}
		}
		for i := range peers {
			for len(inbox[i]) > 0 {
				receive(i, rapid.IntRange(0, len(inbox[i])-1).Draw(t, "update"))
			}
		}
		for i, p := range peers {
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			if p.HasPending() {
				t.Fatalf("peer %d still waits for updates", i)
			}
			p.Map("map")
			if i == 0 {
				continue
			}
			if got, want := p.Text("text").String(), peers[0].Text("text").String(); got != want {
				t.Fatalf("peer %d has the text %q and not %q", i, got, want)
			}
			if got, want := asJSON(p.Array("list").JSON()), asJSON(peers[0].Array("list").JSON()); got != want {
				t.Fatalf("peer %d has the list %s and not %s", i, got, want)
			}
			if got, want := asJSON(p.Map("map").JSON()), asJSON(peers[0].Map("map").JSON()); got != want {
				t.Fatalf("peer %d has the map %s and not %s", i, got, want)
			}
		}
	})
}
