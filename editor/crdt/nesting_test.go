package crdt

import (
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt/lib0"
)

// nested returns an update with n types, each within the one before.
func nested(n int, kind TypeKind, sub string) []byte {
	e := &encoderV1{}
	e.varUint(1)
	e.varUint(uint64(n))
	e.varUint(1)
	e.varUint(0)
	for i := range n {
		info := byte(kindType)
		if sub != "" {
			info |= 0x20
		}
		e.info(info)
		e.parentIsRoot(i == 0)
		if i == 0 {
			e.str([]byte("root"))
		} else {
			e.leftID(1, uint64(i-1))
		}
		if sub != "" {
			e.str([]byte(sub))
		}
		e.typeRef(uint64(kind))
		if kind == KindXmlElement {
			e.key([]byte("p"))
		}
	}
	e.varUint(0)
	return e.finish()
}

// Peers can nest types as deeply as they like. Nothing may take stack in proportion.
func TestDeeplyNestedTypesAreHandledFlat(t *testing.T) {
	const n = 200_000
	for _, c := range []struct {
		name, sub string
		kind      TypeKind
		root      func(d *Doc) Shared
		remove    func(d *Doc) error
	}{
		{"arrays", "", KindArray, func(d *Doc) Shared { return d.Array("root") },
			func(d *Doc) error { return d.Array("root").Delete(0, 1) }},
		{"maps", "k", KindMap, func(d *Doc) Shared { return d.Map("root") },
			func(d *Doc) error { return d.Map("root").Delete("k") }},
		{"elements", "", KindXmlElement, func(d *Doc) Shared { return d.XmlFragment("root") },
			func(d *Doc) error { return d.XmlFragment("root").Delete(0, 1) }},
		{"fragments", "", KindXmlFragment, func(d *Doc) Shared { return d.XmlFragment("root") },
			func(d *Doc) error { return d.XmlFragment("root").Delete(0, 1) }},
		{"attributes", "a", KindXmlElement, func(d *Doc) Shared { return d.XmlElement("root") },
			func(d *Doc) error { return d.XmlElement("root").RemoveAttribute("a") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDoc(Options{ClientID: 2})
			root := c.root(d)
			if err := d.ApplyUpdate(nested(n, c.kind, c.sub), nil); err != nil {
				t.Fatal(err)
			}
			shown := lib0.AppendJSON(nil, root.JSON())
			if len(shown) > 100*MaxNesting || c.kind != KindXmlFragment && len(shown) < MaxNesting {
				t.Errorf("shown in %d bytes", len(shown))
			}
			if err := c.remove(d); err != nil {
				t.Fatal(err)
			}
			if err := d.Check(); err != nil {
				t.Fatal(err)
			}
			if s := d.Stats(); s.Structs > 3 {
				t.Errorf("%d structs are left of what was deleted", s.Structs)
			}
		})
	}
}

// What has no text of its own shows in XML as JavaScript shows objects.
func TestXMLShowsAnyTypeWithin(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	x := d.XmlFragment("x")
	if err := x.Push(NewArray(1), NewMap(), NewText("t"), "s", 1.5); err != nil {
		t.Fatal(err)
	}
	if got, want := x.String(), "[object Object][object Object]ts1.5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := d.XmlText("y").InsertEmbed(0, NewArray(), nil); err != nil {
		t.Fatal(err)
	}
	if got := d.XmlText("y").String(); !strings.Contains(got, "[object Object]") {
		t.Errorf("got %s", got)
	}
}
