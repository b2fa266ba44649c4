package crdt_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// seed adds the updates of the fixtures to the corpus.
func seed(f *testing.F, add func(v1, v2 []byte, s scenario)) {
	f.Helper()
	for i, s := range scenarios(f) {
		if s.Kind == "exchange" && i < 24 {
			add(unhex(f, s.State), unhex(f, s.State2), s)
		}
	}
}

// checkRefusal fails the test if an error is none of those that are documented.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, crdt.ErrInvalidUpdate) {
		t.Fatalf("undocumented error: %v", err)
	}
}

// someDoc returns a document for an update to meet.
func someDoc(t *testing.T, base []byte) *crdt.Doc {
	t.Helper()
	d := crdt.NewDoc(crdt.Options{ClientID: 9})
	define(d)
	if err := d.ApplyUpdate(base, nil); err != nil {
		t.Fatal(err)
	}
	return d
}

func fuzzApply(f *testing.F, v2 bool) {
	var base []byte
	seed(f, func(one, two []byte, s scenario) {
		if base == nil {
			base = one
		}
		if v2 {
			f.Add(two, unhex(f, s.Merged2))
		} else {
			f.Add(one, unhex(f, s.Merged))
		}
		steps := s.Steps
		for len(steps) > 1 && steps[0].V == steps[1].V { // The second before the first, which it may wait for.
			if (steps[0].V == 2) == v2 {
				f.Add(unhex(f, steps[1].U), unhex(f, steps[0].U))
			}
			steps = steps[2:]
		}
	})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := someDoc(t, base)
		for _, update := range [][]byte{first, second} {
			applyHostile(t, d, update, v2)
		}
	})
}

// applyHostile applies an update that may be anything. The document must be as it was, or fit to be used on.
func applyHostile(t *testing.T, d *crdt.Doc, update []byte, v2 bool) {
	t.Helper()
	before, err := d.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	clients := len(d.StateVector())
	var memory, now runtime.MemStats
	runtime.ReadMemStats(&memory)
	if v2 {
		err = d.ApplyUpdateV2(update, nil)
	} else {
		err = d.ApplyUpdate(update, nil)
	}
	runtime.ReadMemStats(&now)
	// Format v2 may claim a million structs in a few bytes.
	if took := now.TotalAlloc - memory.TotalAlloc; took > 1<<30 || !v2 && took > 1<<16+uint64(len(update))<<11 {
		t.Fatalf("%d bytes for %d", took, len(update))
	}
	after, encodeErr := d.EncodeStateAsUpdate(nil)
	if encodeErr != nil {
		t.Fatal(encodeErr)
	}
	if err != nil {
		checkRefusal(t, err)
		if !bytes.Equal(before, after) || len(d.StateVector()) != clients {
			t.Fatal("a refused update changed the document")
		}
		return
	}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	_ = asJSON(d.JSON())
	_ = d.Text("text").Delta()
	if err := d.ApplyUpdate(after, nil); err != nil {
		t.Fatal("the document refuses its own state:", err)
	}
	fresh := crdt.NewDoc(crdt.Options{ClientID: 9})
	if err := fresh.ApplyUpdate(after, nil); err != nil {
		t.Fatal("a new document refuses the state:", err)
	}
	two, err := d.EncodeStateAsUpdateV2(nil)
	if err != nil {
		t.Fatal(err)
	}
	if fresh = crdt.NewDoc(crdt.Options{ClientID: 9}); fresh.ApplyUpdateV2(two, nil) != nil {
		t.Fatal("a new document refuses the state in format v2")
	}
	// What waits is left out if it came in another form meanwhile.
	if !maps.Equal(fresh.StateVector(), d.StateVector()) || fresh.HasPending() && !d.HasPending() {
		t.Fatal("the state tells something else")
	}
	if err := fresh.Check(); err != nil {
		t.Fatal(err)
	}
}

func FuzzApplyUpdate(f *testing.F) { fuzzApply(f, false) }

func FuzzApplyUpdateV2(f *testing.F) { fuzzApply(f, true) }

// algebra is the functions on updates in one format.
type algebra struct {
	merge    func([][]byte) ([]byte, error)
	diff     func(update, sv []byte) ([]byte, error)
	sv       func([]byte) ([]byte, error)
	meta     func([]byte) (crdt.UpdateMeta, error)
	validate func([]byte) error
}

// ends returns, for each client of an update, the clock behind its structs, not counting gaps that nothing follows.
func ends(t *testing.T, al algebra, update []byte) crdt.StateVector {
	t.Helper()
	empty, err := al.merge(nil)
	if err != nil {
		t.Fatal(err)
	}
	if update, err = al.merge([][]byte{update, empty}); err != nil {
		t.Fatal(err)
	}
	meta, err := al.meta(update)
	if err != nil {
		t.Fatal(err)
	}
	return meta.To
}

func latest(a, b crdt.StateVector) crdt.StateVector {
	for client, clock := range b {
		a[client] = max(a[client], clock)
	}
	return a
}

func fuzzAlgebra(f *testing.F, al algebra) {
	f.Fuzz(func(t *testing.T, a, b, sv []byte) {
		merged, err := al.merge([][]byte{a, b})
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if !maps.Equal(ends(t, al, merged), latest(ends(t, al, a), ends(t, al, b))) {
			t.Fatal("the merged update tells of other structs")
		}
		if err := al.validate(merged); err != nil {
			t.Fatal("the merged update is invalid:", err)
		}
		if _, err := al.sv(merged); err != nil {
			t.Fatal(err)
		}
		if _, err := al.meta(merged); err != nil {
			t.Fatal(err)
		}
		diff, err := al.diff(merged, sv)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if err := al.validate(diff); err != nil {
			t.Fatal("the difference is invalid:", err)
		}
		long := make([][]byte, 70)
		for i := range long {
			long[i] = [][]byte{a, b}[i%2]
		}
		if merged, err = al.merge(long); err != nil {
			t.Fatal(err)
		}
		if err := al.validate(merged); err != nil {
			t.Fatal("the update of many is invalid:", err)
		}
	})
}

func FuzzMergeUpdates(f *testing.F) {
	seed(f, func(one, _ []byte, s scenario) {
		f.Add(one, unhex(f, s.Merged), unhex(f, s.Partial))
		f.Add(unhex(f, s.Diff), one, unhex(f, s.SV))
	})
	fuzzAlgebra(f, algebra{
		crdt.MergeUpdates, crdt.DiffUpdate, crdt.EncodeStateVectorFromUpdate, crdt.ParseUpdateMeta, crdt.ValidateUpdate,
	})
}

func FuzzMergeUpdatesV2(f *testing.F) {
	seed(f, func(_, two []byte, s scenario) {
		f.Add(two, unhex(f, s.Merged2), unhex(f, s.Partial))
		f.Add(unhex(f, s.Diff2), two, unhex(f, s.SV))
	})
	fuzzAlgebra(f, algebra{
		crdt.MergeUpdatesV2, crdt.DiffUpdateV2, crdt.EncodeStateVectorFromUpdateV2, crdt.ParseUpdateMetaV2,
		crdt.ValidateUpdateV2,
	})
}

func FuzzConvertUpdate(f *testing.F) {
	seed(f, func(one, two []byte, _ scenario) {
		f.Add(one, two)
	})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		if converted, err := crdt.ConvertUpdateV1ToV2(one); err != nil {
			checkRefusal(t, err)
		} else if back, err := crdt.ConvertUpdateV2ToV1(converted); err != nil {
			t.Fatal(err)
		} else if again, err := crdt.ConvertUpdateV1ToV2(back); err != nil || !bytes.Equal(again, converted) {
			t.Fatal("converting back and forth changes the update:", err)
		}
		if converted, err := crdt.ConvertUpdateV2ToV1(two); err != nil {
			checkRefusal(t, err)
		} else if err := crdt.ValidateUpdate(converted); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	seed(f, func(_, _ []byte, s scenario) {
		f.Add(unhex(f, s.Snapshot))
		f.Add(unhex(f, s.Snapshot2))
	})
	updates, kept := historic(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, decode := range []func([]byte) (*crdt.Snapshot, error){crdt.DecodeSnapshot, crdt.DecodeSnapshotV2} {
			s, err := decode(b)
			if err != nil {
				checkRefusal(t, err)
				continue
			}
			again, err := crdt.DecodeSnapshot(s.Encode())
			if err != nil || !again.Equal(s) {
				t.Fatal("encoding changes the snapshot:", err)
			}
			if _, err := s.ContainsUpdate(updates); err != nil {
				t.Fatal(err)
			}
			d := crdt.NewDoc(crdt.Options{ClientID: 9, KeepHistory: true})
			if err := d.ApplyUpdate(updates, nil); err != nil {
				t.Fatal(err)
			}
			if at, err := d.DocAt(s, crdt.Options{}); err == nil {
				if err := at.Check(); err != nil {
					t.Fatal(err)
				}
			} else if !errors.Is(err, crdt.ErrOutOfBounds) {
				t.Fatal(err)
			}
			d.Text("text").DeltaAt(s, kept)
			d.Text("text").DeltaAt(kept, s)
			if err := d.Check(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// historic returns the state of a document that keeps its history, and a moment of that.
func historic(f *testing.F) ([]byte, *crdt.Snapshot) {
	f.Helper()
	d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
	text := d.Text("text")
	for i := range 20 {
		if err := errors.Join(text.Insert(i, "abc"), text.Delete(i/2, 1)); err != nil {
			f.Fatal(err)
		}
	}
	s := d.Snapshot()
	f.Add(s.Encode())
	f.Add(s.EncodeV2())
	if err := errors.Join(text.Format(3, 9, lib0.Object{{Key: "b", Value: true}}), text.Delete(1, 5)); err != nil {
		f.Fatal(err)
	}
	f.Add(d.Snapshot().Encode())
	update, err := d.EncodeStateAsUpdate(nil)
	if err != nil {
		f.Fatal(err)
	}
	return update, s
}

func FuzzStateVector(f *testing.F) {
	seed(f, func(_, _ []byte, s scenario) { f.Add(unhex(f, s.SV)) })
	f.Fuzz(func(t *testing.T, b []byte) {
		sv, err := crdt.DecodeStateVector(b)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		again, err := crdt.DecodeStateVector(sv.Encode())
		if err != nil || len(again) != len(sv) {
			t.Fatal("encoding changes the state vector:", err)
		}
		d := crdt.NewDoc(crdt.Options{})
		if _, err := d.EncodeStateAsUpdate(b); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzRelativePosition(f *testing.F) {
	f.Add(crdt.RelativePosition{Item: &crdt.ID{Client: 1, Clock: 2}, Assoc: -1}.Encode())
	f.Add(crdt.RelativePosition{Type: &crdt.ID{Client: 1, Clock: 2}}.Encode())
	f.Add(crdt.RelativePosition{Root: "text"}.Encode())
	for clock := range uint64(60) {
		f.Add(crdt.RelativePosition{Item: &crdt.ID{Client: 1, Clock: clock}}.Encode())
		f.Add(crdt.RelativePosition{Type: &crdt.ID{Client: 1, Clock: clock}, Assoc: -1}.Encode())
	}
	docs := []*crdt.Doc{crdt.NewDoc(crdt.Options{}), varied(f)}
	seed(f, func(one, _ []byte, _ scenario) {
		d := crdt.NewDoc(crdt.Options{})
		if err := d.ApplyUpdate(one, nil); err != nil {
			f.Fatal(err)
		}
		docs = append(docs, d)
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := crdt.DecodeRelativePosition(b)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		for _, d := range docs {
			if at, ok := d.AbsolutePosition(p); ok && at.Index < 0 {
				t.Fatalf("%+v", at)
			}
		}
		if again, err := crdt.DecodeRelativePosition(p.Encode()); err != nil || again.Assoc != p.Assoc {
			t.Fatal("encoding changes the position:", err)
		}
	})
}

// varied returns a document with maps, lists and texts, all of client 1.
func varied(f *testing.F) *crdt.Doc {
	f.Helper()
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	m, a, x := d.Map("m"), d.Array("a"), d.Text("t")
	for i := range 20 {
		err := errors.Join(
			m.Set(fmt.Sprint(i), "old"), m.Set(fmt.Sprint(i), crdt.NewText("text")), a.Insert(i/2, i, crdt.NewMap()),
			x.InsertFormatted(i/2, "word", lib0.Object{{Key: "b", Value: i}}), x.Delete(i, 1), a.Delete(i/3, 1),
			m.Delete(fmt.Sprint(i/2)),
		)
		if err != nil {
			f.Fatal(err)
		}
	}
	return d
}
