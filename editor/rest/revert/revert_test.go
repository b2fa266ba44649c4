package revert

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// copyOf returns what somebody else has after reading the document.
func copyOf(t rapid.TB, doc *crdt.Doc) *crdt.Doc {
	t.Helper()
	update, err := doc.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	out := crdt.NewDoc(crdt.Options{})
	if err := out.ApplyUpdate(update, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

// content is all that a document says.
func content(doc *crdt.Doc) string {
	var out strings.Builder
	for _, name := range []string{"text", "map", "array", "xml"} {
		if root, ok := doc.Root(name); ok {
			fmt.Fprintf(&out, "%s: %s\n", name, identity(root))
		}
	}
	return strings.NewReplacer(
		`text: Text ""{;}`+"\n", "", `map: Map ""{;}`+"\n", "", `array: Array ""{}`+"\n", "", `xml: XmlFragment ""{}`+"\n", "",
	).Replace(out.String())
}

// value draws something that can be put into a map or array. Texts have no surrogate pairs, within which edits would
// fall: Yjs itself does not agree about the halves.
func value(t *rapid.T) any {
	switch rapid.IntRange(0, 7).Draw(t, "kind of value") {
	case 0:
		return nil
	case 1:
		return []byte{1, 2}
	case 2:
		return lib0.Object{{Key: "a", Value: []any{1.0, "x", lib0.Undefined{}}}}
	case 3:
		return crdt.NewText("nested ☺")
	case 4:
		return crdt.NewMap(lib0.Member{Key: "inner", Value: "value"})
	case 5:
		return crdt.NewArray("inner", 1.0)
	default:
		return float64(rapid.IntRange(0, 3).Draw(t, "number"))
	}
}

// edit makes a random change somewhere within a shared type.
func edit(t *rapid.T, s crdt.Shared) error {
	at := func(n int) int { return rapid.IntRange(0, n).Draw(t, "at") }
	switch s := s.(type) {
	case *crdt.XmlText:
		return edit(t, &s.Text)
	case *crdt.Text:
		n := s.Len()
		from := at(n)
		length := rapid.IntRange(0, n-from).Draw(t, "length")
		color := lib0.Object{{Key: "color", Value: rapid.SampledFrom([]any{"red", "blue", nil}).Draw(t, "color")}}
		switch rapid.IntRange(0, 5).Draw(t, "text") {
		case 0:
			return s.Delete(from, length)
		case 1:
			return s.Format(from, length, color)
		case 2:
			return s.InsertFormatted(from, "bold", lib0.Object{{Key: "bold", Value: true}})
		case 3:
			return s.InsertEmbed(from, lib0.Object{{Key: "image", Value: "x.png"}}, lib0.Object{})
		default:
			return s.Insert(from, rapid.SampledFrom([]string{"a", "bc", "é☺", "line\n"}).Draw(t, "insert"))
		}
	case *crdt.Map:
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
		if inner, ok := s.Get(key); ok {
			if shared, ok := inner.(crdt.Shared); ok && rapid.Bool().Draw(t, "within") {
				return edit(t, shared)
			}
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				return s.Delete(key)
			}
		}
		return s.Set(key, value(t))
	case *crdt.Array:
		if n := s.Len(); n > 0 {
			i := at(n - 1)
			if shared, ok := s.Get(i).(crdt.Shared); ok && rapid.Bool().Draw(t, "within") {
				return edit(t, shared)
			}
			if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
				return s.Delete(i, 1)
			}
		}
		return s.Insert(at(s.Len()), value(t))
	case *crdt.XmlElement:
		if rapid.IntRange(0, 3).Draw(t, "attribute") == 0 {
			if rapid.IntRange(0, 3).Draw(t, "shared") == 0 {
				return s.SetAttribute("class", crdt.NewMap(lib0.Member{Key: "inner", Value: "value"}))
			}
			return s.SetAttribute("class", rapid.SampledFrom([]string{"x", "y"}).Draw(t, "class"))
		}
		return edit(t, &s.XmlFragment)
	case *crdt.XmlFragment:
		if n := s.Len(); n > 0 {
			i := at(n - 1)
			if shared, ok := s.Get(i).(crdt.Shared); ok && rapid.Bool().Draw(t, "within") {
				return edit(t, shared)
			}
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				return s.Delete(i, 1)
			}
		}
		child := rapid.SampledFrom([]any{"p", "h1", nil}).Draw(t, "child")
		if child == nil {
			return s.Insert(at(s.Len()), crdt.NewXmlText("text"))
		}
		return s.Insert(at(s.Len()), crdt.NewXmlElement(fmt.Sprint(child)))
	default:
		return fmt.Errorf("nobody edits a %T", s)
	}
}

// editSome makes random changes.
func editSome(t *rapid.T, doc *crdt.Doc) {
	for range rapid.IntRange(0, 12).Draw(t, "edits") {
		root := rapid.SampledFrom([]func() crdt.Shared{
			func() crdt.Shared { return doc.Text("text") }, func() crdt.Shared { return doc.Map("map") },
			func() crdt.Shared { return doc.Array("array") }, func() crdt.Shared { return doc.XmlFragment("xml") },
		}).Draw(t, "root")
		if err := edit(t, root()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADocumentSaysAgainWhatItSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := crdt.NewDoc(crdt.Options{})
		editSome(t, doc)
		old := copyOf(t, doc)
		want := content(copyOf(t, old))
		editSome(t, doc)
		peer := copyOf(t, doc)

		update, err := Update(copyOf(t, doc), copyOf(t, old))
		if err != nil {
			t.Fatal(err)
		}
		if len(update) > 0 {
			if err := doc.ApplyUpdate(update, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := content(copyOf(t, doc)); got != want {
			t.Fatalf("it says\n%sinstead of\n%s", got, want)
		}
		// It is an edit like any other: what others write meanwhile merges.
		editSome(t, peer)
		for _, pair := range [][2]*crdt.Doc{{doc, peer}, {peer, doc}} {
			if err := pair[1].ApplyUpdate(must(t, pair[0].EncodeStateAsUpdate), nil); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(must(t, doc.EncodeStateAsUpdate), must(t, peer.EncodeStateAsUpdate)) {
			if content(copyOf(t, doc)) != content(copyOf(t, peer)) {
				t.Fatalf("the peers do not agree:\n%s\n%s", content(copyOf(t, doc)), content(copyOf(t, peer)))
			}
		}
		// To do it again where nothing was changed does nothing.
		again, err := Update(copyOf(t, old), copyOf(t, old))
		if err != nil || len(again) != 0 {
			t.Fatalf("an update of %d bytes for no change, %v", len(again), err)
		}
	})
}

func must(t *rapid.T, encode func([]byte) ([]byte, error)) []byte {
	out, err := encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatHasNotChangedIsLeftAlone(t *testing.T) {
	doc := crdt.NewDoc(crdt.Options{})
	text := doc.Text("text")
	if err := text.Insert(0, "one two three"); err != nil {
		t.Fatal(err)
	}
	old := copyOf(t, doc)
	if err := errors.Join(text.Delete(4, 3), text.Insert(4, "2")); err != nil {
		t.Fatal(err)
	}
	cursor, err := doc.RelativePosition(text, 8, 0) // Within "three".
	if err != nil {
		t.Fatal(err)
	}
	update, err := Update(copyOf(t, doc), old)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.ApplyUpdate(update, nil); err != nil {
		t.Fatal(err)
	}
	if at, ok := doc.AbsolutePosition(cursor); text.String() != "one two three" || !ok || at.Index != 10 {
		t.Errorf("%q, and the cursor is at %+v", text, at)
	}
}

func TestSurrogatePairsStayWhole(t *testing.T) {
	doc := crdt.NewDoc(crdt.Options{})
	text := doc.Text("text")
	if err := text.Insert(0, "🙂 one 🙃"); err != nil {
		t.Fatal(err)
	}
	old := copyOf(t, doc)
	if err := errors.Join(text.Delete(0, 2), text.Insert(0, "🙁"), text.Delete(text.Len()-2, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := Update(doc, old); err != nil || text.String() != "🙂 one 🙃" {
		t.Fatalf("%q, %v", text, err)
	}
}

func TestATypeOfAnotherKindIsNotMixedUp(t *testing.T) {
	old, doc := crdt.NewDoc(crdt.Options{}), crdt.NewDoc(crdt.Options{})
	if err := errors.Join(old.Text("r").Insert(0, "text"), doc.Array("r").Push("array")); err != nil {
		t.Fatal(err)
	}
	if _, err := Update(doc, old); !errors.Is(err, ErrKind) {
		t.Fatal(err)
	}
}

func TestALongTextIsRevertedInTime(t *testing.T) {
	doc := crdt.NewDoc(crdt.Options{})
	text := doc.Text("text")
	if err := text.Insert(0, strings.Repeat("The quick brown fox jumps over the lazy dog.\n", 2500)); err != nil {
		t.Fatal(err)
	}
	old := copyOf(t, doc)
	for i := range 1000 {
		if err := errors.Join(text.Delete(i*100, 3), text.Insert(i*90, "changed")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Update(doc, old); err != nil {
		t.Fatal(err)
	}
	if text.String() != old.Text("text").String() {
		t.Error("the text differs")
	}
}

func TestSharedTypesInAttributesComeBack(t *testing.T) {
	doc := crdt.NewDoc(crdt.Options{})
	element := crdt.NewXmlElement("p")
	if err := errors.Join(doc.XmlFragment("xml").Push(element), element.SetAttribute("note", crdt.NewText("mind")),
		element.SetAttribute("list", crdt.NewArray("a", "b"))); err != nil {
		t.Fatal(err)
	}
	old := copyOf(t, doc)
	list, _ := element.Attribute("list")
	if err := errors.Join(element.RemoveAttribute("note"), list.(*crdt.Array).Delete(0, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Update(doc, old); err != nil {
		t.Fatal(err)
	}
	if got, want := content(doc), content(copyOf(t, old)); got != want {
		t.Errorf("it says\n%sinstead of\n%s", got, want)
	}
	if now, _ := element.Attribute("list"); now != list {
		t.Error("the list was replaced instead of edited")
	}
}

func TestWhatIsNestedTooDeeplyIsRefused(t *testing.T) {
	doc := crdt.NewDoc(crdt.Options{})
	innermost := doc.Array("array")
	for range maxDepth + 5 {
		next := crdt.NewArray()
		if err := innermost.Push(next); err != nil {
			t.Fatal(err)
		}
		innermost = next
	}
	old := copyOf(t, doc)
	if err := innermost.Push("changed"); err != nil {
		t.Fatal(err)
	}
	if _, err := Update(doc, old); !errors.Is(err, ErrDepth) {
		t.Errorf("the change is not undone, and the error is %v", err)
	}
}

func TestManyChangesOfALongTextLeaveTheRestAlone(t *testing.T) {
	for name, marker := range map[string]string{"with embeds": "", "with letters for private use": "\U0010fffd"} {
		t.Run(name, func(t *testing.T) {
			doc := crdt.NewDoc(crdt.Options{})
			text := doc.Text("text")
			var long strings.Builder
			for i := range 2500 {
				fmt.Fprintf(&long, "%d: the quick brown fox jumps over the lazy dog.\n", i)
			}
			image := func(name string) lib0.Object { return lib0.Object{{Key: "image", Value: name}} }
			if err := errors.Join(text.Insert(0, marker+long.String()), text.InsertEmbed(60_000, image("a"), nil)); err != nil {
				t.Fatal(err)
			}
			old := copyOf(t, doc)
			if err := errors.Join(text.Delete(60_000, 1), text.InsertEmbed(60_000, image("b"), nil)); err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				if err := errors.Join(text.Delete(i*500+10, 5), text.Insert(i*500+10, "other words")); err != nil {
					t.Fatal(err)
				}
			}
			update, err := Update(doc, old)
			if err != nil {
				t.Fatal(err)
			}
			if content(doc) != content(copyOf(t, old)) {
				t.Error("the text differs")
			}
			if marker == "" && len(update) > 20_000 {
				t.Errorf("200 small changes are undone by %d bytes", len(update))
			}
		})
	}
}
