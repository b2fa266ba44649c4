package lib0_test

import (
	"bytes"
	"testing"

	"collab.dev/operator/editor/crdt/lib0"
)

func FuzzAny(f *testing.F) {
	for _, v := range samples {
		f.Add(lib0.AppendAny(nil, v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := lib0.NewDecoder(b)
		v := d.Any()
		skip := lib0.NewDecoder(b)
		canonical := skip.SkipAny()
		if (d.Err() == nil) != (skip.Err() == nil) {
			t.Fatalf("reading says %v, skipping says %v", d.Err(), skip.Err())
		}
		if d.Err() != nil {
			return
		}
		if d.Pos() != skip.Pos() {
			t.Fatalf("reading ends at %d, skipping at %d", d.Pos(), skip.Pos())
		}
		encoded := lib0.AppendAny(nil, v)
		if canonical && !bytes.Equal(encoded, b[:d.Pos()]) {
			t.Fatalf("%x is not canonical, it is %x", b[:d.Pos()], encoded)
		}
		again := lib0.NewDecoder(encoded)
		if got := lib0.AppendAny(nil, again.Any()); again.Err() != nil || !bytes.Equal(got, encoded) {
			t.Fatalf("%x becomes %x", encoded, got)
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, v := range samples {
		f.Add(lib0.AppendJSON(nil, v))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := lib0.ParseJSON(b)
		if err != nil {
			return
		}
		text := lib0.AppendJSON(nil, v)
		again, err := lib0.ParseJSON(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := lib0.AppendJSON(nil, again); !bytes.Equal(got, text) {
			t.Fatalf("%s becomes %s", text, got)
		}
	})
}

func FuzzRunLengths(f *testing.F) {
	var u lib0.UintOptRleEncoder
	var i lib0.IntDiffOptRleEncoder
	var r lib0.RleEncoder
	var s lib0.StringEncoder
	for _, n := range []uint64{0, 0, 1, 1, 1, 7, 300, 2} {
		u.Write(n)
		i.Write(int64(n))
		r.Write(byte(n))
		s.WriteString("ü😀x"[:n%3])
	}
	f.Add(u.Bytes())
	f.Add(i.Bytes())
	f.Add(r.Bytes())
	f.Add(s.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		u, i := lib0.NewUintOptRleDecoder(b), lib0.NewIntDiffOptRleDecoder(b)
		r, s := lib0.NewRleDecoder(b), lib0.NewStringDecoder(b)
		total := 0
		for range 1000 {
			u.Read()
			i.Read()
			r.Read()
			total += len(s.Read())
		}
		if s.Err() == nil && total > 3*len(b) {
			t.Fatalf("%d bytes hold %d bytes of strings", len(b), total)
		}
	})
}
