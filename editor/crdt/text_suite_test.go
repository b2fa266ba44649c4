package crdt_test

import (
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

func TestTextFormatting(t *testing.T) {
	bold, plain := attrs("bold", true), attrs("bold", nil)
	for _, c := range []struct {
		name string
		edit func(x *crdt.Text) error
		want string
	}{
		{"formatted from the start", func(x *crdt.Text) error {
			return x.InsertFormatted(0, "abc", bold)
		}, `[{"insert":"abc","attributes":{"bold":true}}]`},
		{"deleting the front", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "abc", bold))
			return x.Delete(0, 1)
		}, `[{"insert":"bc","attributes":{"bold":true}}]`},
		{"inserting goes on with the format", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "ab", bold))
			return x.Insert(1, "x")
		}, `[{"insert":"axb","attributes":{"bold":true}}]`},
		{"inserting without the format", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "zb", bold))
			return x.InsertFormatted(0, "y", lib0.Object{})
		}, `[{"insert":"y"},{"insert":"zb","attributes":{"bold":true}}]`},
		{"ending a format in the middle", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "abc", bold))
			return x.Format(1, 1, plain)
		}, `[{"insert":"a","attributes":{"bold":true}},{"insert":"b"},{"insert":"c","attributes":{"bold":true}}]`},
		{"formatting what is formatted", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "abc", bold))
			return x.Format(0, 3, bold)
		}, `[{"insert":"abc","attributes":{"bold":true}}]`},
		{"a format beyond the end adds newlines", func(x *crdt.Text) error {
			ok(t, x.Insert(0, "a"))
			return x.Format(0, 3, bold)
		}, `[{"insert":"a\n\n","attributes":{"bold":true}}]`},
		{"several lines", func(x *crdt.Text) error {
			ok(t, x.Insert(0, "Test\nMulti-line\nFormatting"))
			return x.ApplyDelta([]crdt.Op{
				{Retain: 4, Attributes: bold}, {Retain: 1}, {Retain: 10, Attributes: bold}, {Retain: 1},
				{Retain: 10, Attributes: bold},
			})
		}, `[{"insert":"Test","attributes":{"bold":true}},{"insert":"\n"},
			{"insert":"Multi-line","attributes":{"bold":true}},{"insert":"\n"},
			{"insert":"Formatting","attributes":{"bold":true}}]`},
		{"an embed keeps its attributes", func(x *crdt.Text) error {
			ok(t, x.Insert(0, "ab"))
			return x.InsertEmbed(1, attrs("image", "x.png"), attrs("width", 100.0))
		}, `[{"insert":"a"},{"insert":{"image":"x.png"},"attributes":{"width":100}},{"insert":"b"}]`},
		{"attributes of deleted text stay with what is inserted", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "ab", bold))
			ok(t, x.Delete(0, 2))
			return x.ApplyDelta([]crdt.Op{{Insert: "c", Attributes: attrs("italic", true)}})
		}, `[{"insert":"c","attributes":{"italic":true}}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs := connected(t, 2)
			x := docs[0].Text("t")
			other := docs[1].Text("t")
			ok(t, c.edit(x))
			for _, d := range []*crdt.Text{x, other} {
				wantJSON(t, "delta", crdt.DeltaJSON(d.Delta()), c.want)
			}
		})
	}
}

func TestTextEvents(t *testing.T) {
	docs := connected(t, 2)
	var deltas []string
	for _, d := range docs {
		d.Observe(d.Text("t"), func(e *crdt.Event) { deltas = append(deltas, asJSON(crdt.DeltaJSON(e.Delta()))) })
	}
	x := docs[0].Text("t")
	for _, step := range []struct {
		edit func() error
		want string
	}{
		{func() error { return x.Insert(0, "abc") }, `[{"insert":"abc"}]`},
		{func() error { return x.Delete(1, 1) }, `[{"retain":1},{"delete":1}]`},
		{func() error { return x.Format(0, 1, attrs("b", true)) }, `[{"retain":1,"attributes":{"b":true}}]`},
		// As in Yjs, the change covers what had no such format, too.
		{func() error { return x.Format(0, 1, attrs("b", nil)) }, `[{"retain":2,"attributes":{"b":null}}]`},
		{func() error { return x.InsertFormatted(1, "z", attrs("b", true)) },
			`[{"retain":1},{"insert":"z","attributes":{"b":true}}]`},
	} {
		deltas = nil
		ok(t, step.edit())
		want := canonical(t, step.want)
		if len(deltas) != 2 || deltas[0] != want || deltas[1] != want {
			t.Errorf("here and there: %q, want %s", deltas, want)
		}
	}
}

func TestTextSplitsSurrogatePairsAsYjsDoes(t *testing.T) {
	for at, want := range map[int]string{1: "\uFFFDhi\uFFFD", 2: "👾hi"} {
		docs := connected(t, 2)
		ok(t, docs[0].Text("t").Insert(0, "👾"), docs[0].Text("t").Insert(at, "hi"))
		for _, d := range docs {
			if got := d.Text("t").String(); got != want {
				t.Errorf("at %d: %q, want %q", at, got, want)
			}
		}
	}
}
