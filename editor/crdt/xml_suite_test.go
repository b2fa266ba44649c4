package crdt_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

func TestXML(t *testing.T) {
	docs := connected(t, 2)
	root := docs[0].XmlFragment("x")
	p := crdt.NewXmlElement("P", crdt.NewXmlText("hi"))
	ok(t, root.Push(p, crdt.NewXmlHook("widget")))
	ok(t, p.SetAttribute("height", "10"), p.SetAttribute("a", "1"), p.SetAttribute("gone", "x"), p.RemoveAttribute("gone"))
	text, _ := p.Get(0).(*crdt.XmlText)
	ok(t, text.Format(0, 1, attrs("em", attrs("class", "c"))))
	for _, d := range docs {
		want := `<p a="1" height="10"><em class="c">h</em>i</p>[object Object]`
		if got := d.XmlFragment("x").String(); got != want {
			t.Errorf("XML\n got %s\nwant %s", got, want)
		}
	}
	if v, found := p.Attribute("height"); !found || v != "10" {
		t.Errorf("attribute %v", v)
	}
	if _, found := p.Attribute("gone"); found {
		t.Error("a removed attribute")
	}
}

func TestXMLAttributes(t *testing.T) {
	docs := connected(t, 2)
	x, other := crdt.NewXmlElement("p"), func() *crdt.XmlElement {
		e, _ := docs[1].XmlFragment("xml").Get(0).(*crdt.XmlElement)
		return e
	}
	ok(t, docs[0].XmlFragment("xml").Push(x), x.SetAttribute("height", "10"))
	for _, e := range []*crdt.XmlElement{x, other()} {
		if v, found := e.Attribute("height"); !found || v != "10" {
			t.Errorf("attribute %v", v)
		}
	}
	ok(t, x.RemoveAttribute("height"))
	for _, e := range []*crdt.XmlElement{x, other()} {
		if _, found := e.Attribute("height"); found || len(e.Attributes()) > 0 {
			t.Error("a removed attribute")
		}
	}
	text := docs[0].XmlText("text of its own")
	heard := ""
	docs[0].Observe(text, func(e *crdt.Event) {
		for _, k := range e.Keys() {
			heard += asJSON([]any{k.Key, k.Action, k.Old})
		}
	})
	ok(t, text.SetAttribute("test", 42))
	if v, _ := text.Attribute("test"); v != 42.0 || heard != `["test","add",null]` {
		t.Errorf("attribute %v of a text, heard %s", v, heard)
	}
	for _, d := range docs {
		wantJSON(t, "attributes of a text", d.XmlText("text of its own").Attributes(), `{"test":42}`)
	}
	agreed(t, docs...)
}

// Observers, here and elsewhere, hear whether children or attributes changed.
func TestXMLEvents(t *testing.T) {
	docs := connected(t, 2)
	heard := make([]string, 2)
	for i, d := range docs {
		d.Observe(d.XmlElement("element"), func(e *crdt.Event) {
			for _, k := range e.Keys() {
				heard[i] += k.Action + " " + k.Key
			}
			if e.ListChanged() {
				heard[i] += "children"
			}
		})
	}
	x := docs[0].XmlElement("element")
	for _, c := range []struct {
		edit func() error
		want string
	}{
		{func() error { return x.SetAttribute("key", "value") }, "add key"},
		{func() error { return x.RemoveAttribute("key") }, "delete key"},
		{func() error { return x.Insert(0, crdt.NewXmlText("some text")) }, "children"},
		{func() error { return x.Delete(0, 1) }, "children"},
	} {
		heard[0], heard[1] = "", ""
		ok(t, c.edit())
		if heard[0] != c.want || heard[1] != c.want {
			t.Errorf("heard %q, want %s", heard, c.want)
		}
	}
}

func TestXMLWalksDepthFirst(t *testing.T) {
	x := crdt.NewDoc(crdt.Options{ClientID: 1}).XmlFragment("xml")
	text1, text2, hook := crdt.NewXmlText("init"), crdt.NewXmlText("text"), crdt.NewXmlHook("widget")
	nested := crdt.NewXmlFragment(hook)
	p1, p2, img := crdt.NewXmlElement("p", text1, text2), crdt.NewXmlElement("p", nested), crdt.NewXmlElement("img")
	ok(t, x.Push(p1, p2, img))
	want := []any{p1, text1, text2, p2, nested, hook, img}
	if got := slices.Collect(x.Descendants()); !slices.Equal(got, want) {
		t.Errorf("%d descendants, or in another order", len(got))
	}
	var paragraphs []any
	for c := range x.Descendants() {
		if e, element := c.(*crdt.XmlElement); element && e.Name() == "p" {
			paragraphs = append(paragraphs, e)
			if len(paragraphs) == 2 {
				break
			}
		}
	}
	if !slices.Equal(paragraphs, []any{p1, p2}) {
		t.Error("other paragraphs")
	}
	if got := slices.Collect(p1.Descendants()); !slices.Equal(got, []any{text1, text2}) {
		t.Error("the descendants of an element are others")
	}
}

func TestXMLSiblings(t *testing.T) {
	x := crdt.NewDoc(crdt.Options{ClientID: 1}).XmlFragment("xml")
	if x.FirstChild() != nil || x.NextSibling() != nil || x.PrevSibling() != nil || x.Parent() != nil {
		t.Error("an empty root has relatives")
	}
	first, gone := crdt.NewXmlText(""), crdt.NewXmlElement("i")
	second, third := crdt.NewXmlElement("p"), crdt.NewXmlText("")
	if second.NextSibling() != nil || first.PrevSibling() != nil {
		t.Error("a detached type has siblings")
	}
	ok(t, x.Push(first, gone, second, third), x.Delete(1, 1), second.SetAttribute("value", crdt.NewXmlText("")))
	for what, c := range map[string][2]any{
		"first child":           {x.FirstChild(), first},
		"next of the first":     {first.NextSibling(), second},
		"next of the second":    {second.NextSibling(), third},
		"next of the last":      {third.NextSibling(), nil},
		"previous of the last":  {third.PrevSibling(), second},
		"previous of the next":  {second.PrevSibling(), first},
		"previous of the first": {first.PrevSibling(), nil},
		"next of a deleted one": {gone.NextSibling(), nil},
		"parent":                {first.Parent(), x},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %v", what, c[0])
		}
	}
	value, _ := second.Attribute("value")
	if text, _ := value.(*crdt.XmlText); text.PrevSibling() != nil || text.NextSibling() != nil {
		t.Error("the value of an attribute has siblings")
	}
}

func TestXMLInsertsAfter(t *testing.T) {
	docs := connected(t, 2)
	x := docs[0].XmlFragment("xml")
	first, second, third := crdt.NewXmlText(""), crdt.NewXmlElement("p"), crdt.NewXmlElement("p")
	deep1, deep2 := crdt.NewXmlElement("span"), crdt.NewXmlText("")
	ok(t, second.InsertAfter(nil, deep1), second.InsertAfter(deep1, deep2)) // While it is detached.
	ok(t, x.InsertAfter(nil, first, second), x.InsertAfter(second, third))
	if !slices.Equal(x.Children(), []any{first, second, third}) || !slices.Equal(second.Children(), []any{deep1, deep2}) {
		t.Error("other children")
	}
	fourth := crdt.NewXmlElement("h1")
	ok(t, x.InsertAfter(first, fourth))
	if x.Get(1) != any(fourth) {
		t.Error("inserted elsewhere")
	}
	gone := crdt.NewXmlText("")
	ok(t, x.InsertAfter(third, gone), x.Delete(4, 1))
	elsewhere := docs[1].XmlFragment("xml").FirstChild().(crdt.Shared)
	detached := crdt.NewXmlElement("p")
	for what, err := range map[string]error{
		"a grandchild":              x.InsertAfter(deep1, crdt.NewXmlText("")),
		"a deleted child":           x.InsertAfter(gone, crdt.NewXmlText("")),
		"a child elsewhere":         x.InsertAfter(elsewhere, crdt.NewXmlText("")),
		"itself":                    x.InsertAfter(x, crdt.NewXmlText("")),
		"another's child, detached": detached.InsertAfter(deep1, crdt.NewXmlText("")),
	} {
		if !errors.Is(err, crdt.ErrOutOfBounds) {
			t.Errorf("after %s: %v", what, err)
		}
	}
	if err := x.InsertAfter(first, first); !errors.Is(err, crdt.ErrUnsupportedValue) {
		t.Errorf("what is there already: %v", err)
	}
	agreed(t, docs...)
}

// Attributes that are objects are compared by what they are, not by what they contain: equal ones do not merge.
func TestXMLTextFormatsThatAreObjects(t *testing.T) {
	x := crdt.NewDoc(crdt.Options{ClientID: 1}).XmlText("text")
	em, both := attrs("em", lib0.Object{}), attrs("em", lib0.Object{}, "strong", lib0.Object{})
	ok(t, x.ApplyDelta([]crdt.Op{
		{Insert: "A", Attributes: both}, {Insert: "B", Attributes: em}, {Insert: "C", Attributes: both},
	}))
	wantJSON(t, "delta", crdt.DeltaJSON(x.Delta()), `[{"insert":"A","attributes":{"em":{},"strong":{}}},
		{"insert":"B","attributes":{"em":{}}},{"insert":"C","attributes":{"em":{},"strong":{}}}]`)
	if want := "<em><strong>A</strong></em><em>B</em><em><strong>C</strong></em>"; x.String() != want {
		t.Errorf("XML %s, want %s", x, want)
	}
}

func TestXMLRootElementHasChildren(t *testing.T) {
	x := crdt.NewDoc(crdt.Options{ClientID: 1}).XmlElement("")
	text1, text2 := crdt.NewXmlText("text1"), crdt.NewXmlText("text2")
	ok(t, x.Insert(0, text1, text2))
	if !slices.Equal(x.Children(), []any{text1, text2}) || x.String() != "<undefined>text1text2</undefined>" {
		t.Errorf("children %s", x)
	}
}

// Values of attributes show as JavaScript turns them into strings.
func TestXMLShowsValues(t *testing.T) {
	for want, v := range map[string]any{
		"1,2,255": []byte{1, 2, 255}, "": []byte{}, "1e+21": 1e21, "5e-324": 5e-324, "0": math.Copysign(0, -1),
		"NaN": math.NaN(), "-Infinity": math.Inf(-1), "-1": lib0.BigInt(-1), "1,,x": []any{1, nil, "x"},
		"[object Object]": attrs("a", 1), "null": nil, "undefined": lib0.Undefined{}, "true": true,
	} {
		x := crdt.NewDoc(crdt.Options{ClientID: 1}).XmlElement("x")
		ok(t, x.SetAttribute("a", v))
		if want := `<undefined a="` + want + `"></undefined>`; x.String() != want {
			t.Errorf("%v shows as %s, want %s", v, x, want)
		}
	}
}
