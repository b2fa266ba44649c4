package crdt

import (
	"bytes"
	"testing"
)

// Snapshots of a document repeat its deletions.
func TestMergingTakesMemoryForWhatDiffers(t *testing.T) {
	one := deletions(1, 0, 1000)
	for _, n := range []int{50, 2000} { // A few, and so many that they are merged in another way.
		updates := make([][]byte, n)
		for i := range updates {
			updates[i] = one
		}
		m := merger{out: structWriter{e: &encoderV1{}}}
		for _, u := range updates {
			if err := m.next(formatV1.open(u)); err != nil {
				t.Fatal(err)
			}
		}
		if cap(m.deletes) > 10_000 {
			t.Errorf("%d updates: %d deletions are held", n, cap(m.deletes))
		}
		merged, err := MergeUpdates(updates)
		if err != nil || !bytes.Equal(merged, one) {
			t.Errorf("%d updates: merged into %d bytes, %v", n, len(merged), err)
		}
	}
}
