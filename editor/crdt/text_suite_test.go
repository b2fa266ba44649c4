package crdt_test

import (
	"bytes"
	"fmt"
	"strings"
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
		{"formats of empty lines stay apart", func(x *crdt.Text) error {
			return x.ApplyDelta([]crdt.Op{
				{Insert: "Text"}, {Insert: "\n", Attributes: attrs("title", true)}, {Insert: "\nText"},
				{Insert: "\n", Attributes: attrs("title", true)},
			})
		}, `[{"insert":"Text"},{"insert":"\n","attributes":{"title":true}},{"insert":"\nText"},
			{"insert":"\n","attributes":{"title":true}}]`},
		{"a newline takes over the format of a deleted one", func(x *crdt.Text) error {
			ok(t, x.ApplyDelta([]crdt.Op{
				{Insert: "Text"}, {Insert: "\n", Attributes: attrs("title", true)}, {Insert: "\n"},
			}))
			return x.ApplyDelta([]crdt.Op{{Retain: 4}, {Delete: 1}, {Retain: 1, Attributes: attrs("title", true)}})
		}, `[{"insert":"Text"},{"insert":"\n","attributes":{"title":true}}]`},
		{"an embed alone", func(x *crdt.Text) error {
			return x.ApplyDelta([]crdt.Op{{Insert: attrs("linebreak", "s")}})
		}, `[{"insert":{"linebreak":"s"}}]`},
		{"an embed without attributes within formatted text", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "ab", bold))
			return x.InsertEmbed(1, attrs("image", "x.png"), nil)
		}, `[{"insert":"a","attributes":{"bold":true}},{"insert":{"image":"x.png"}},
			{"insert":"b","attributes":{"bold":true}}]`},
		{"an embed with attributes within formatted text", func(x *crdt.Text) error {
			ok(t, x.InsertFormatted(0, "ab", bold))
			return x.InsertEmbed(1, attrs("image", "x.png"), attrs("width", 100))
		}, `[{"insert":"a","attributes":{"bold":true}},{"insert":{"image":"x.png"},"attributes":{"width":100}},
			{"insert":"b","attributes":{"bold":true}}]`},
		{"a type as an embed", func(x *crdt.Text) error {
			return x.ApplyDelta([]crdt.Op{{Insert: crdt.NewMap(lib0.Member{Key: "key", Value: "val"})}})
		}, `[{"insert":{"key":"val"}}]`},
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

// What is inserted, deleted and formatted step by step, what is there then, and what observers hear of it.
func TestTextStories(t *testing.T) {
	bold := attrs("bold", true)
	type step struct {
		edit        func(x *crdt.Text) error
		want, event string
	}
	insert := func(at int, s string, attributes lib0.Object) func(x *crdt.Text) error {
		return func(x *crdt.Text) error {
			if attributes == nil {
				return x.Insert(at, s)
			}
			return x.InsertFormatted(at, s, attributes)
		}
	}
	remove := func(at, n int) func(x *crdt.Text) error {
		return func(x *crdt.Text) error { return x.Delete(at, n) }
	}
	format := func(at, n int, attributes lib0.Object) func(x *crdt.Text) error {
		return func(x *crdt.Text) error { return x.Format(at, n, attributes) }
	}
	for name, story := range map[string][]step{
		"plain": {
			{remove(0, 0), `[]`, ``},
			{insert(0, "abc", nil), `[{"insert":"abc"}]`, `[{"insert":"abc"}]`},
			{remove(0, 1), `[{"insert":"bc"}]`, `[{"delete":1}]`},
			{remove(1, 1), `[{"insert":"b"}]`, `[{"retain":1},{"delete":1}]`},
			{func(x *crdt.Text) (err error) {
				x.Doc().Transact(nil, func(*crdt.Transaction) { ok(t, x.Insert(0, "1"), x.Delete(0, 1)) })
				return nil
			}, `[{"insert":"b"}]`, `[]`},
		},
		"bold": {
			{insert(0, "abc", bold), `[{"insert":"abc","attributes":{"bold":true}}]`,
				`[{"insert":"abc","attributes":{"bold":true}}]`},
			{remove(0, 1), `[{"insert":"bc","attributes":{"bold":true}}]`, `[{"delete":1}]`},
			{remove(1, 1), `[{"insert":"b","attributes":{"bold":true}}]`, `[{"retain":1},{"delete":1}]`},
			{insert(0, "z", bold), `[{"insert":"zb","attributes":{"bold":true}}]`,
				`[{"insert":"z","attributes":{"bold":true}}]`},
			{insert(0, "y", lib0.Object{}), `[{"insert":"y"},{"insert":"zb","attributes":{"bold":true}}]`,
				`[{"insert":"y"}]`},
			{format(0, 2, attrs("bold", nil)), `[{"insert":"yz"},{"insert":"b","attributes":{"bold":true}}]`,
				`[{"retain":1},{"retain":1,"attributes":{"bold":null}}]`},
		},
		"a format that is false": {
			{insert(0, "abcde", attrs("falsy", false)), `[{"insert":"abcde","attributes":{"falsy":false}}]`,
				`[{"insert":"abcde","attributes":{"falsy":false}}]`},
			{format(1, 3, attrs("falsy", true)), `[{"insert":"a","attributes":{"falsy":false}},
				{"insert":"bcd","attributes":{"falsy":true}},{"insert":"e","attributes":{"falsy":false}}]`,
				`[{"retain":1},{"retain":3,"attributes":{"falsy":true}}]`},
			{format(2, 1, attrs("falsy", false)), `[{"insert":"a","attributes":{"falsy":false}},
				{"insert":"b","attributes":{"falsy":true}},{"insert":"c","attributes":{"falsy":false}},
				{"insert":"d","attributes":{"falsy":true}},{"insert":"e","attributes":{"falsy":false}}]`,
				`[{"retain":2},{"retain":1,"attributes":{"falsy":false}}]`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			docs := connected(t, 2)
			x, there := docs[0].Text("text"), docs[1].Text("text")
			event := ""
			docs[0].Observe(x, func(e *crdt.Event) { event = asJSON(crdt.DeltaJSON(e.Delta())) })
			for i, s := range story {
				event = ""
				ok(t, s.edit(x))
				wantJSON(t, fmt.Sprint("content after step ", i), crdt.DeltaJSON(x.Delta()), s.want)
				wantJSON(t, fmt.Sprint("the other's after step ", i), crdt.DeltaJSON(there.Delta()), s.want)
				want := s.event
				if want != "" {
					want = canonical(t, want)
				}
				if event != want {
					t.Errorf("step %d: heard %s, want %s", i, event, want)
				}
			}
			agreed(t, docs...)
		})
	}
}

// Deltas of editors that once came out wrong.
func TestTextDeltasOfReportedIssues(t *testing.T) {
	deltas := readFixtures(t).Deltas
	if len(deltas) != 2 {
		t.Fatal(len(deltas), "fixtures")
	}
	for name, fixture := range deltas {
		t.Run(name, func(t *testing.T) {
			d := crdt.NewDoc(crdt.Options{ClientID: 1})
			for _, step := range fixture.Steps {
				v, err := lib0.ParseJSON(step)
				ok(t, err, perform(d, []any{"text", "delta", v}))
			}
			ok(t, d.Check())
			got := crdt.DeltaJSON(d.Text("text").Delta())
			if fixture.At > 0 { // Just this step counts.
				wantJSON(t, "delta", got[fixture.At], string(fixture.Want))
				return
			}
			wantJSON(t, "delta", got, string(fixture.Want))
		})
	}
}

// Formats that two set at the same time: those without effect are cleaned away, and what is told of it leads an editor
// to the right content.
func TestTextConcurrentFormatting(t *testing.T) {
	docs := apart(2)
	x, y := docs[0].Text("text"), docs[1].Text("text")
	ok(t, x.Insert(0, "abcde"))
	exchange(t, docs...)
	ok(t, x.Format(0, 3, attrs("bold", true)), y.Format(2, 2, attrs("bold", true)))
	var deltas []any
	docs[1].Observe(y, func(e *crdt.Event) {
		if d := e.Delta(); len(d) > 0 {
			deltas = append(deltas, crdt.DeltaJSON(d))
		}
	})
	exchange(t, docs...)
	wantJSON(t, "events", deltas,
		`[[{"retain":3,"attributes":{"bold":true}},{"retain":2,"attributes":{"bold":null}}]]`)
	agreed(t, docs...)
}

// Only the attribute that changes is told of, not the others of the same text.
func TestTextEventsNameNoUnchangedAttribute(t *testing.T) {
	docs := apart(2)
	x, y := docs[0].Text("text"), docs[1].Text("text")
	ok(t, x.InsertFormatted(0, "\n", attrs("PARAGRAPH_STYLES", "normal", "LIST_STYLES", "bullet")),
		x.InsertFormatted(1, "abc", attrs("PARAGRAPH_STYLES", "normal")))
	exchange(t, docs...)
	var deltas []any
	for _, d := range docs {
		d.Observe(d.Text("text"), func(e *crdt.Event) {
			if ops := e.Delta(); len(ops) > 0 {
				deltas = append(deltas, crdt.DeltaJSON(ops))
			}
		})
	}
	ok(t, y.Format(0, 1, attrs("LIST_STYLES", "number")))
	exchange(t, docs...)
	one := `[{"retain":1,"attributes":{"LIST_STYLES":"number"}}]`
	wantJSON(t, "events", deltas, "["+one+","+one+"]")
	agreed(t, docs...)
}

// Formats around text that is deleted go with it.
func TestTextDeletionLeavesNoFormats(t *testing.T) {
	bold := attrs("bold", true)
	for name, c := range map[string]struct {
		edit    func(x *crdt.Text)
		want    string
		structs int
	}{
		"all": {func(x *crdt.Text) { ok(t, x.InsertFormatted(0, "ab", bold), x.Delete(0, 2)) }, "", 1},
		"in the middle": {func(x *crdt.Text) {
			ok(t, x.Insert(0, "1234"), x.InsertFormatted(2, "ab", bold), x.Delete(2, 2))
		}, "1234", 3},
	} {
		d := crdt.NewDoc(crdt.Options{ClientID: 1})
		x := d.Text("text")
		c.edit(x)
		if got := d.Stats().Structs; got != c.structs || x.String() != c.want {
			t.Errorf("%s: %d structs and %q, want %d and %q", name, got, x, c.structs, c.want)
		}
	}
}

// A format beyond the end of an empty document meets the content later.
func TestTextFormatsMeetFormats(t *testing.T) {
	site, docs := func(s string) lib0.Object { return attrs("url", "http://"+s) }, apart(2)
	x, y := docs[0].Text("text"), docs[1].Text("text")
	ok(t, x.Insert(0, "\n\n\n"), x.Format(0, 3, site("example.com")), x.Format(1, 1, site("docs.yjs.dev")),
		y.Format(1, 1, site("docs.yjs.dev")))
	u, err := docs[0].EncodeStateAsUpdate(nil)
	ok(t, err, docs[1].ApplyUpdate(u, nil))
	for _, d := range []*crdt.Text{x, y} {
		wantJSON(t, "delta", crdt.DeltaJSON(d.Delta()), `[{"insert":"\n","attributes":{"url":"http://example.com"}},
			{"insert":"\n","attributes":{"url":"http://docs.yjs.dev"}},
			{"insert":"\n","attributes":{"url":"http://example.com"}}]`)
	}
}

// A format that ends within another one leaves nothing over, at the peer that hears of it either.
func TestTextFormatsEnd(t *testing.T) {
	docs := apart(2)
	x, y := docs[0].Text("text"), docs[1].Text("text")
	tell := func() {
		u, err := docs[0].EncodeStateAsUpdate(nil)
		ok(t, err, docs[1].ApplyUpdate(u, nil), docs[1].Check())
	}
	ok(t, x.Insert(0, "Attack ships on fire off the shoulder of Orion."))
	tell()
	ok(t, x.Format(13, 7, attrs("bold", true)))
	tell()
	for _, d := range []*crdt.Text{x, y} {
		wantJSON(t, "delta", crdt.DeltaJSON(d.Delta()), `[{"insert":"Attack ships "},
			{"insert":"on fire","attributes":{"bold":true}},{"insert":" off the shoulder of Orion."}]`)
	}
	ok(t, x.Format(16, 4, attrs("bold", nil)))
	tell()
	for _, d := range []*crdt.Text{x, y} {
		wantJSON(t, "delta", crdt.DeltaJSON(d.Delta()), `[{"insert":"Attack ships "},
			{"insert":"on ","attributes":{"bold":true}},{"insert":"fire off the shoulder of Orion."}]`)
	}
	agreed(t, docs...)
}

func TestTextTypesAsEmbedsAreToldOf(t *testing.T) {
	docs := connected(t, 2)
	heard := ""
	docs[1].Observe(docs[1].Text("text"), func(e *crdt.Event) { heard += asJSON(crdt.DeltaJSON(e.Delta())) })
	ok(t, docs[0].Text("text").InsertEmbed(0, crdt.NewMap(lib0.Member{Key: "key", Value: "val"}), nil))
	if want := `[{"insert":{"key":"val"}}]`; heard != want {
		t.Errorf("heard %s, want %s", heard, want)
	}
}

// Splitting pairs makes no document that cannot be encoded.
func TestTextOfSplitSurrogatePairsIsEncoded(t *testing.T) {
	for name, edit := range map[string]func(x *crdt.Text){
		"inserting":  func(x *crdt.Text) { ok(t, x.Insert(0, "👾"), x.Insert(1, "hi!")) },
		"deleting":   func(x *crdt.Text) { ok(t, x.Insert(0, "👾👾"), x.Delete(1, 2)) },
		"formatting": func(x *crdt.Text) { ok(t, x.Insert(0, "👾👾"), x.Format(1, 2, attrs("bold", true))) },
	} {
		t.Run(name, func(t *testing.T) {
			docs := apart(2)
			edit(docs[0].Text("text"))
			agreed(t, docs...)
		})
	}
}

// Two documents that give each other every update, and apply their own again, while edits follow deletions closely.
func TestTextEditsBetweenEchoes(t *testing.T) {
	docs := apart(2)
	docs[0].OnUpdate(func(u []byte, _ any) { ok(t, docs[0].ApplyUpdate(u, nil), docs[1].ApplyUpdate(u, nil)) })
	docs[1].OnUpdate(func(u []byte, _ any) { ok(t, docs[0].ApplyUpdate(u, nil)) })
	x, y := docs[0].Text("text"), docs[1].Text("text")
	ok(t, x.Insert(0, "a_a"), x.Insert(2, "s"), y.Insert(3, "d"), x.Delete(0, 5), x.Insert(0, "a_a"), x.Insert(2, "s"),
		y.Insert(3, "d"))
	if x.String() != "a_sda" || y.String() != "a_sda" {
		t.Errorf("%q and %q", x, y)
	}
	agreed(t, docs...)
}

// A hundred thousand items, each in front of the one before.
func TestTextOfManyFragments(t *testing.T) {
	const n = 100_000
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	x := d.Text("text")
	d.Transact(nil, func(*crdt.Transaction) {
		for i := range n {
			ok(t, x.Insert(0, string(rune('0'+i%10))))
		}
	})
	if got := d.Stats().Structs; got != n {
		t.Fatalf("%d structs", got)
	}
	u, err := d.EncodeStateAsUpdateV2(nil)
	ok(t, err)
	other := crdt.NewDoc(crdt.Options{ClientID: 2})
	ok(t, other.ApplyUpdateV2(u, nil), other.Check())
	if got := other.Text("text").String(); got != strings.Repeat("9876543210", n/10) {
		t.Errorf("%d code units, or others", len(got))
	}
	if got, err := other.EncodeStateAsUpdateV2(nil); err != nil || !bytes.Equal(got, u) {
		t.Error("encoded in another way")
	}
}

// Typing at the end is one item, however long it takes.
func TestTextOfAppendedCharacters(t *testing.T) {
	const n = 10_000
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	x := d.Text("text")
	for range n {
		ok(t, x.Insert(x.Len(), "a"))
	}
	if x.Len() != n || d.Stats().Structs != 1 {
		t.Errorf("%d code units in %d structs", x.Len(), d.Stats().Structs)
	}
	wantJSON(t, "JSON", x.JSON(), `"`+strings.Repeat("a", n)+`"`)
}
