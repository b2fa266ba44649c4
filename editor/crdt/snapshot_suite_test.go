package crdt_test

import (
	"testing"

	"collab.dev/operator/editor/crdt"
)

func TestTextAtSnapshots(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
	x := d.Text("t")
	ok(t, x.Insert(0, "abcd"))
	first := d.Snapshot()
	ok(t, x.Delete(1, 2), x.Insert(1, "x"))
	second := d.Snapshot()
	ok(t, x.Delete(0, 3))
	wantJSON(t, "first", crdt.DeltaJSON(x.DeltaAt(first, nil)), `[{"insert":"abcd"}]`)
	wantJSON(t, "second", crdt.DeltaJSON(x.DeltaAt(second, nil)), `[{"insert":"axd"}]`)
	wantJSON(t, "both", crdt.DeltaJSON(x.DeltaAt(second, first)), `[{"insert":"a"},
		{"insert":"bc","attributes":{"ychange":{"type":"removed"}}},
		{"insert":"x","attributes":{"ychange":{"type":"added"}}},{"insert":"d"}]`)
	restored, err := d.DocAt(first, crdt.Options{})
	ok(t, err)
	if got := restored.Text("t").String(); got != "abcd" {
		t.Errorf("restored %q", got)
	}
}
