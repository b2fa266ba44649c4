package crdt_test

import (
	"errors"
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

// What a restored document holds, and that the document itself stays as it is.
func TestSnapshotsRestore(t *testing.T) {
	array := func(d *crdt.Doc) *crdt.Array { return d.Array("array") }
	for name, c := range map[string]struct {
		before, after func(t *testing.T, d *crdt.Doc)
		then, now     string
	}{
		"a text": {
			func(t *testing.T, d *crdt.Doc) { ok(t, d.Text("text").Insert(0, "world!")) },
			func(t *testing.T, d *crdt.Doc) { ok(t, d.Text("text").Insert(0, "hello ")) },
			`{"text":"world!"}`, `{"text":"hello world!"}`,
		},
		"without what came later": {
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, "hello")) },
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(1, "world")) },
			`{"array":["hello"]}`, `{"array":["hello","world"]}`,
		},
		"nothing": {
			func(*testing.T, *crdt.Doc) {},
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, "world")) },
			`{}`, `{"array":["world"]}`,
		},
		"everything": {
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, "world")) },
			func(*testing.T, *crdt.Doc) {},
			`{"array":["world"]}`, `{"array":["world"]}`,
		},
		"a type within": {
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, crdt.NewMap(attrs("key1", "value1")...))) },
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Get(0).(*crdt.Map).Set("key2", "value2")) },
			`{"array":[{"key1":"value1"}]}`, `{"array":[{"key1":"value1","key2":"value2"}]}`,
		},
		"what was deleted later": {
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, "item1", "item2")) },
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Delete(0, 1)) },
			`{"array":["item1","item2"]}`, `{"array":["item2"]}`,
		},
		"what is right of something that came later": {
			func(t *testing.T, d *crdt.Doc) {
				ok(t, array(d).Insert(0, "item1"), d.Map("map").Set("test", 1), array(d).Insert(0, "item0"))
			},
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Delete(1, 1)) },
			`{"array":["item0","item1"],"map":{"test":1}}`, `{"array":["item0"],"map":{"test":1}}`,
		},
		"what was deleted before": {
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, "item1"), array(d).Delete(0, 1)) },
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, "item0")) },
			`{"array":[]}`, `{"array":["item0"]}`,
		},
		"what was deleted within an item before": {
			func(t *testing.T, d *crdt.Doc) {
				ok(t, array(d).Insert(0, "item1", "item2", "item3"), array(d).Delete(1, 1))
			},
			func(t *testing.T, d *crdt.Doc) { ok(t, array(d).Insert(0, "item0")) },
			`{"array":["item1","item3"]}`, `{"array":["item0","item1","item3"]}`,
		},
		"an attribute's value": {
			func(t *testing.T, d *crdt.Doc) { ok(t, d.XmlElement("xml").SetAttribute("a", "1")) },
			func(t *testing.T, d *crdt.Doc) { ok(t, d.XmlElement("xml").SetAttribute("a", "2")) },
			`{"xml":"<undefined a=\"1\"></undefined>"}`, `{"xml":"<undefined a=\"2\"></undefined>"}`,
		},
		"no attribute": {
			func(_ *testing.T, d *crdt.Doc) { d.XmlElement("xml") },
			func(t *testing.T, d *crdt.Doc) { ok(t, d.XmlElement("xml").SetAttribute("a", "1")) },
			`{"xml":"<undefined></undefined>"}`, `{"xml":"<undefined a=\"1\"></undefined>"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
			c.before(t, d)
			decoded, err := crdt.DecodeSnapshot(d.Snapshot().Encode())
			ok(t, err)
			c.after(t, d)
			restored, err := d.DocAt(decoded, crdt.Options{})
			ok(t, err, restored.Check(), d.Check())
			for _, root := range d.Roots() {
				switch root.Kind {
				case crdt.KindText:
					restored.Text(root.Name)
				case crdt.KindArray:
					restored.Array(root.Name)
				case crdt.KindMap:
					restored.Map(root.Name)
				case crdt.KindXmlElement:
					restored.XmlElement(root.Name)
				}
			}
			then := c.then
			if then == `{}` {
				then = `{"array":[]}` // Defined, for looking at it.
			}
			wantJSON(t, "then", restored.JSON(), then)
			wantJSON(t, "now", d.JSON(), c.now)
		})
	}
}

// A snapshot may name a client that had done nothing yet, and never one that did more than the document knows.
func TestSnapshotsOfOtherClients(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
	none, err := crdt.DecodeSnapshot([]byte{0, 1, 99, 0})
	ok(t, err, d.Array("array").Insert(0, "world"))
	restored, err := d.DocAt(none, crdt.Options{})
	ok(t, err)
	wantJSON(t, "then", restored.Array("array").JSON(), `[]`)
	unknown, err := crdt.DecodeSnapshot([]byte{0, 1, 99, 1})
	ok(t, err)
	if _, err := d.DocAt(unknown, crdt.Options{}); !errors.Is(err, crdt.ErrOutOfBounds) {
		t.Errorf("a snapshot of what is unknown: %v", err)
	}
}

// Peers that build upon each other's edits: the snapshot of one restores at the other as well.
func TestSnapshotsOfDependentChanges(t *testing.T) {
	docs := []*crdt.Doc{
		crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true}), crdt.NewDoc(crdt.Options{ClientID: 2, KeepHistory: true}),
	}
	var then *crdt.Snapshot
	for i, s := range []string{"user1item1", "user2item1", "user1item2", "user2item2"} {
		if i == 2 {
			then = docs[0].Snapshot()
		}
		ok(t, docs[i%2].Array("array").Insert(i, s))
		exchange(t, docs...)
	}
	for _, d := range docs {
		restored, err := d.DocAt(then, crdt.Options{})
		ok(t, err)
		wantJSON(t, "then", restored.Array("array").JSON(), `["user1item1","user2item1"]`)
		wantJSON(t, "now", d.Array("array").JSON(), `["user1item1","user2item1","user1item2","user2item2"]`)
	}
	agreed(t, docs...)
}

func TestSnapshotsContainUpdates(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	var updates, updates2 [][]byte
	d.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
	d.OnUpdateV2(func(u []byte, _ any) { updates2 = append(updates2, u) })
	snapshots := []*crdt.Snapshot{d.Snapshot()}
	ok(t, d.Array("array").Insert(0, 1))
	snapshots = append(snapshots, d.Snapshot())
	ok(t, d.Array("array").Delete(0, 1))
	snapshots = append(snapshots, d.Snapshot())
	for i, s := range snapshots {
		for j := range updates {
			got, err := s.ContainsUpdate(updates[j])
			ok(t, err)
			got2, err := s.ContainsUpdateV2(updates2[j])
			ok(t, err)
			if want := i > j; got != want || got2 != want {
				t.Errorf("snapshot %d has update %d: %t and %t, want %t", i, j, got, got2, want)
			}
		}
	}
}

// A snapshot with a part of what is deleted has not the update with all of it.
func TestSnapshotsLackLaterDeletions(t *testing.T) {
	local, remote := crdt.NewDoc(crdt.Options{ClientID: 1}), crdt.NewDoc(crdt.Options{ClientID: 2})
	x := local.Text("text")
	ok(t, x.Insert(0, "abcdefghij"), x.Delete(0, 3))
	u, err := local.EncodeStateAsUpdate(nil)
	ok(t, err, remote.ApplyUpdate(u, nil))
	s := remote.Snapshot()
	if has, err := s.ContainsUpdate(u); err != nil || !has {
		t.Error("what it was made of is missing", err)
	}
	ok(t, x.Delete(0, 3))
	u, err = local.EncodeStateAsUpdate(nil)
	ok(t, err)
	if has, err := s.ContainsUpdate(u); err != nil || has {
		t.Error("what was deleted later is contained", err)
	}
}

// A text at a snapshot, also where items have to be split for it.
func TestTextAtSnapshotsOfDeltas(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
	x := d.Text("text")
	ok(t, x.ApplyDelta([]crdt.Op{{Insert: "abcd"}}))
	first := d.Snapshot()
	ok(t, x.ApplyDelta([]crdt.Op{{Retain: 1}, {Insert: "x"}, {Delete: 1}}))
	second := d.Snapshot()
	ok(t, x.ApplyDelta([]crdt.Op{{Retain: 2}, {Delete: 3}, {Insert: "x"}, {Delete: 1}}))
	wantJSON(t, "first", crdt.DeltaJSON(x.DeltaAt(first, nil)), `[{"insert":"abcd"}]`)
	wantJSON(t, "second", crdt.DeltaJSON(x.DeltaAt(second, nil)), `[{"insert":"axcd"}]`)
	wantJSON(t, "both", crdt.DeltaJSON(x.DeltaAt(second, first)), `[{"insert":"a"},
		{"insert":"x","attributes":{"ychange":{"type":"added"}}},
		{"insert":"b","attributes":{"ychange":{"type":"removed"}}},{"insert":"cd"}]`)
	// What is appended to an item later is no part of it then.
	typed := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
	x = typed.Text("text")
	ok(t, x.Insert(0, "abcd"))
	first = typed.Snapshot()
	ok(t, x.ApplyDelta([]crdt.Op{{Retain: 4}, {Insert: "e"}}))
	wantJSON(t, "before more was typed", crdt.DeltaJSON(x.DeltaAt(first, nil)), `[{"insert":"abcd"}]`)
}
