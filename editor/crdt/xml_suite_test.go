package crdt_test

import (
	"testing"

	"collab.dev/operator/editor/crdt"
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
