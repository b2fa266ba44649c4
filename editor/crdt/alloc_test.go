package crdt

import (
	"fmt"
	"runtime"
	"testing"
)

// typing returns the updates of somebody who types n characters, with a pause to move the cursor now and then.
func typing(t *testing.T, n int) [][]byte {
	t.Helper()
	d := NewDoc(Options{ClientID: 7})
	var updates [][]byte
	d.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
	text := d.Text("text")
	for i := range n {
		at := text.Len()
		if i%1000 == 0 {
			at /= 2
		}
		if err := text.Insert(at, "x"); err != nil {
			t.Fatal(err)
		}
	}
	return updates
}

func TestATypedCharacterIsIntegratedWithoutAllocating(t *testing.T) {
	updates := typing(t, 5000)
	d := NewDoc(Options{ClientID: 1})
	d.Text("text")
	next := 0
	apply := func() {
		if changed, err := d.Apply(updates[next], nil); err != nil || !changed {
			t.Fatal(changed, err)
		}
		next++
	}
	for range 1500 { // The text grows by doubling, which is as good as never.
		apply()
	}
	most := 0.0
	if poolsForget {
		most = 2
	}
	if allocs := testing.AllocsPerRun(3000, apply); allocs > most {
		t.Errorf("%v allocations for a character", allocs)
	}
	if got := d.Text("text").Len(); got != next {
		t.Errorf("%d characters of %d", got, next)
	}
}

// An update that has its documents' structs run-length encoded, or that lies about how many there are, must not make
// the decoder reserve memory out of proportion.
func TestLyingUpdatesAllocateLittle(t *testing.T) {
	many := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f} // Nearly 2^49.
	updates := map[string][]byte{
		"structs":   append(append([]byte{1}, many...), 1, 0, 0),
		"clients":   append([]byte(nil), many...),
		"string":    append([]byte{1, 1, 1, 0, 4, 1, 1, 't'}, many...),
		"values":    append([]byte{1, 1, 1, 0, 8, 1, 1, 't'}, many...),
		"texts":     append([]byte{1, 1, 1, 0, 2, 1, 1, 't'}, many...),
		"deletions": append([]byte{0, 1, 1}, many...),
		"deleters":  append([]byte{0}, many...),
		"length":    append([]byte{1, 1, 1, 0, 0}, many...),
	}
	for name, update := range updates {
		for format, apply := range map[string]func(*Doc, []byte) error{
			"v1": func(d *Doc, u []byte) error { return d.ApplyUpdate(u, nil) },
			"v2": func(d *Doc, u []byte) error { return d.ApplyUpdateV2(u, nil) },
			"merge": func(_ *Doc, u []byte) error {
				_, err := MergeUpdates([][]byte{u, u})
				return err
			},
			"snapshot":     func(_ *Doc, u []byte) error { _, err := DecodeSnapshot(u[1:]); return err },
			"state vector": func(_ *Doc, u []byte) error { _, err := DecodeStateVector(u); return err },
		} {
			t.Run(fmt.Sprint(name, " ", format), func(t *testing.T) {
				d := NewDoc(Options{ClientID: 1})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := apply(d, update)
				runtime.ReadMemStats(&after)
				if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10 {
					t.Errorf("%d bytes for %d", got, len(update))
				}
				if err == nil && len(d.StateVector()) == 0 && d.HasPending() {
					t.Error("something waits")
				}
			})
		}
	}
}

// crowd returns an update of n clients who made one edit each.
func crowd(t *testing.T, n int) []byte {
	t.Helper()
	updates := make([][]byte, n)
	for i := range n {
		d := NewDoc(Options{ClientID: uint64(i + 1)})
		d.OnUpdate(func(u []byte, _ any) { updates[i] = u })
		if err := d.Map("m").Set("k", i); err != nil {
			t.Fatal(err)
		}
	}
	merged, err := MergeUpdates(updates)
	if err != nil {
		t.Fatal(err)
	}
	return merged
}

func TestMemoryIsWhatTheDocumentTakes(t *testing.T) {
	typed, err := MergeUpdates(typing(t, 20000))
	if err != nil {
		t.Fatal(err)
	}
	for name, update := range map[string][]byte{"one typed": typed, "many clients": crowd(t, 2000), "empty": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			docs := make([]*Doc, 50)
			runtime.GC()
			runtime.ReadMemStats(&before)
			for i := range docs {
				docs[i] = NewDoc(Options{})
				docs[i].Map("m")
				if err := docs[i].ApplyUpdate(update, nil); err != nil {
					t.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			took := float64(after.HeapAlloc-before.HeapAlloc) / float64(len(docs))
			told := float64(docs[0].MemoryBytes())
			if told < took*0.6 || told > took*1.6 {
				t.Errorf("a document takes %.0f bytes and says %.0f", took, told)
			}
			runtime.KeepAlive(docs)
		})
	}
}
