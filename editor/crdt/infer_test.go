package crdt

import (
	"testing"

	"collab.dev/operator/editor/crdt/lib0"
)

func TestARootThatNobodyDefinedIsWhatItsContentSuggests(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(d *Doc) error
		want TypeKind
	}{
		"a text":             {func(d *Doc) error { return d.Text("r").Insert(0, "hello") }, KindText},
		"a text of an image": {func(d *Doc) error { return d.Text("r").InsertEmbed(0, "image", lib0.Object{}) }, KindText},
		"a deleted text": {func(d *Doc) error {
			if err := d.Text("r").Insert(0, "hello"); err != nil {
				return err
			}
			return d.Text("r").Delete(0, 5)
		}, KindUndefined}, // Its content is collected.
		"elements":          {func(d *Doc) error { return d.XmlFragment("r").Push(NewXmlElement("p")) }, KindXmlFragment},
		"texts of elements": {func(d *Doc) error { return d.XmlFragment("r").Push(NewXmlText("x")) }, KindXmlFragment},
		"an array":          {func(d *Doc) error { return d.Array("r").Push("text", 1) }, KindArray},
		"an array of maps":  {func(d *Doc) error { return d.Array("r").Push(NewMap()) }, KindArray},
		"a map":             {func(d *Doc) error { return d.Map("r").Set("key", "value") }, KindMap},
		"nothing":           {func(*Doc) error { return nil }, KindUndefined},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := NewDoc(Options{}), NewDoc(Options{})
			if err := c.edit(from); err != nil {
				t.Fatal(err)
			}
			update, err := from.EncodeStateAsUpdate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := to.ApplyUpdate(update, nil); err != nil {
				t.Fatal(err)
			}
			root, ok := to.Root("r")
			if ok != (c.want != KindUndefined) {
				t.Fatalf("found: %t", ok)
			}
			if ok && root.Kind() != c.want {
				t.Errorf("it is %v, want %v", root.Kind(), c.want)
			}
		})
	}
}
