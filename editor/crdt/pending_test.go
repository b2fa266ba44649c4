package crdt

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// deletions returns an update that deletes n clocks of a client, every other one from a clock on.
func deletions(client, from uint64, n int) []byte {
	e := &encoderV1{}
	e.varUint(0)
	set := make(deleteSet, n)
	for i := range set {
		set[i] = deleteRange{client, uint32(from) + 2*uint32(i), 1}
	}
	set.write(e)
	return e.finish()
}

func TestWhatWaitsDoesNotSlowDownTheRest(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	apply := func(update []byte) {
		t.Helper()
		if changed, err := d.Apply(update, nil); err != nil || !changed {
			t.Fatal(changed, err)
		}
	}
	const n = 10_000
	apply(deletions(2, 0, n))
	for i := range uint64(n) { // Every other clock of a client, the last ones first.
		apply(garbage(&encoderV1{}, 3, 2*(n-i), 1))
	}
	typed := NewDoc(Options{ClientID: 4})
	var update []byte
	typed.OnUpdate(func(u []byte, _ any) { update = u })
	next := uint64(0)
	for name, f := range map[string]func(){
		"something else": func() {
			if err := typed.Text("t").Insert(0, "x"); err != nil {
				t.Fatal(err)
			}
			apply(update)
		},
		"more that waits":  func() { apply(garbage(&encoderV1{}, 5, 7+2*next, 1)) },
		"more to delete":   func() { apply(deletions(6, 2*next, 1)) },
		"a part of a gap":  func() { apply(garbage(&encoderV1{}, 3, 2*next, 2)) },
		"a part to delete": func() { apply(garbage(&encoderV1{}, 2, 2*next, 2)) },
		"what waits already": func() {
			if changed, err := d.Apply(garbage(&encoderV1{}, 3, 2*n, 1), nil); changed || err != nil {
				t.Fatal(changed, err)
			}
		},
	} {
		const times = 100
		next = 0
		got := allocated(func() {
			for range times {
				f()
				next++
			}
		})
		if got > times<<13 {
			t.Errorf("%s: %d bytes each", name, got/times)
		}
	}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
}

// Updates arrive in any order, repeatedly and in parts that overlap, and are encoded in between.
func TestUpdatesOutOfOrderComeTogether(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Log("seed", seed)
	var updates [][]byte
	docs := []*Doc{NewDoc(Options{ClientID: 1}), NewDoc(Options{ClientID: 2}), NewDoc(Options{ClientID: 3})}
	for _, d := range docs {
		d.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
	}
	for range 300 {
		d := docs[random.IntN(len(docs))]
		text := d.Text("t")
		var err error
		switch {
		case random.IntN(4) > 0 || text.Len() == 0:
			err = text.Insert(random.IntN(text.Len()+1), "abc")
		default:
			err = text.Delete(random.IntN(text.Len()), 1)
		}
		if err == nil && random.IntN(3) == 0 {
			var part []byte
			sv := docs[random.IntN(len(docs))].EncodeStateVector()
			if part, err = d.EncodeStateAsUpdate(sv); err == nil {
				updates = append(updates, part)
				err = docs[random.IntN(len(docs))].ApplyUpdate(part, nil)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := MergeUpdates(updates)
	if err != nil {
		t.Fatal(err)
	}
	want := NewDoc(Options{})
	if err := want.ApplyUpdate(all, nil); err != nil {
		t.Fatal(err)
	}
	state, err := want.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		d := NewDoc(Options{})
		var parts [][]byte
		for _, i := range random.Perm(len(updates)) {
			if err := d.ApplyUpdate(updates[i], nil); err != nil {
				t.Fatal(err)
			}
			if random.IntN(20) == 0 { // What waits can be handed on, in either format.
				part, err := d.EncodeStateAsUpdate(nil)
				if err != nil {
					t.Fatal(err)
				}
				two, err := d.EncodeStateAsUpdateV2(nil)
				if err != nil {
					t.Fatal(err)
				}
				if converted, err := ConvertUpdateV2ToV1(two); err != nil || !bytes.Equal(part, converted) {
					t.Fatal("the formats differ", err)
				}
				parts = append(parts, part)
				if random.IntN(4) == 0 {
					d = NewDoc(Options{})
					if err := d.ApplyUpdate(part, nil); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, d := range []*Doc{d, NewDoc(Options{})} {
			for _, part := range parts {
				if err := d.ApplyUpdate(part, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.ApplyUpdate(all, nil); err != nil {
				t.Fatal(err)
			}
			got, err := d.EncodeStateAsUpdate(nil)
			if err != nil || d.HasPending() || d.pending.bytes != 0 || !bytes.Equal(got, state) {
				t.Fatal("the documents differ", err, d.HasPending(), d.pending.bytes)
			}
			if err := d.Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
