package lib0

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// Skipping must agree with reading about where a value ends, and about whether its bytes are those that we would write.
func TestSkippingIsReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		buf := rapid.SliceOfN(rapid.OneOf(rapid.ByteRange(114, 127), rapid.Byte()), 1, 40).Draw(t, "bytes")
		read, skipped, checked := NewDecoder(buf), NewDecoder(buf), NewDecoder(buf)
		v := read.Any()
		canonical := skipped.SkipAny()
		if (read.Err() == nil) != (skipped.Err() == nil) {
			t.Fatalf("%x: reading %v, skipping %v", buf, read.Err(), skipped.Err())
		}
		if read.Err() != nil {
			return
		}
		checked.SkipCheckedAny()
		if read.Pos() != skipped.Pos() || read.Pos() != checked.Pos() {
			t.Fatalf("%x: ends at %d, %d and %d", buf, read.Pos(), skipped.Pos(), checked.Pos())
		}
		if canonical && !bytes.Equal(AppendAny(nil, v), buf[:read.Pos()]) {
			t.Fatalf("%x is not what is written for %v", buf[:read.Pos()], v)
		}
	})
}

func TestSkippingIntegersOfAllLengths(t *testing.T) {
	for _, f := range []float64{0, 1, 63, 64, -64, 8191, 8192, 1 << 27, 1<<27 - 1, 1<<31 - 1, -(1<<31 - 1), 1 << 31} {
		b := AppendAny(nil, f)
		d := NewDecoder(b)
		if !d.SkipAny() || d.Pos() != len(b) || d.Err() != nil {
			t.Errorf("%v: %d of %d bytes, %v", f, d.Pos(), len(b), d.Err())
		}
	}
	for _, b := range [][]byte{
		{tagInteger, 0x81, 0}, {tagInteger, 0xff, 0xff, 0xff, 0xff, 0x10}, {tagInteger, 0xff, 0xff, 0xff, 0xff, 0x8f, 0},
	} {
		d := NewDecoder(b)
		if d.SkipAny() {
			t.Errorf("%x counts as canonical", b)
		}
	}
}
