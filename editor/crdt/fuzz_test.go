package crdt_test

import (
	"bytes"
	"errors"
	"testing"

	"collab.dev/operator/editor/crdt"
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
			f.Add(two)
			f.Add(unhex(f, s.Merged2))
		} else {
			f.Add(one)
			f.Add(unhex(f, s.Merged))
			f.Add(unhex(f, s.Steps[0].U))
		}
	})
	f.Fuzz(func(t *testing.T, update []byte) {
		d := someDoc(t, base)
		before, err := d.EncodeStateAsUpdate(nil)
		if err != nil {
			t.Fatal(err)
		}
		clients := len(d.StateVector())
		if v2 {
			err = d.ApplyUpdateV2(update, nil)
		} else {
			err = d.ApplyUpdate(update, nil)
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
		if err := fresh.ApplyUpdateV2(two, nil); err != nil {
			t.Fatal("a new document refuses the state in format v2:", err)
		}
		if err := fresh.Check(); err != nil {
			t.Fatal(err)
		}
	})
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

func fuzzAlgebra(f *testing.F, al algebra) {
	f.Fuzz(func(t *testing.T, a, b, sv []byte) {
		merged, err := al.merge([][]byte{a, b})
		if err != nil {
			checkRefusal(t, err)
			return
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
		}
	})
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
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := crdt.DecodeRelativePosition(b)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		d := crdt.NewDoc(crdt.Options{})
		d.AbsolutePosition(p)
		if again, err := crdt.DecodeRelativePosition(p.Encode()); err != nil || again.Assoc != p.Assoc {
			t.Fatal("encoding changes the position:", err)
		}
	})
}
