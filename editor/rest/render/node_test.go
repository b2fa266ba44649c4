package render_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
	"collab.dev/operator/editor/rest/render"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestADocumentOfProseMirrorIsReadAsYProseMirrorKeepsIt(t *testing.T) {
	doc := crdt.NewDoc(crdt.Options{})
	fragment := doc.XmlFragment("prosemirror")
	heading := crdt.NewXmlElement("heading")
	text := crdt.NewXmlText("")
	must(t, fragment.Push(heading, crdt.NewXmlElement("text", crdt.NewXmlText("not an element"))))
	must(t, heading.SetAttribute("level", 2.0))
	must(t, heading.Push(text, crdt.NewXmlElement("hard_break")))
	must(t, text.InsertFormatted(0, "link", attrs("link", attrs("href", "/a"), "strong", lib0.Object{})))
	must(t, text.InsertFormatted(4, "two", attrs("comment--abCD12+/", attrs("id", 1.0), "comment--abCD12==", attrs("id", 2.0))))
	n := render.FromXML(fragment)
	want := `{"type":"doc","content":[{"type":"heading","attrs":{"level":2},"content":[` +
		`{"type":"text","text":"link","marks":[{"type":"link","attrs":{"href":"/a"}},{"type":"strong"}]},` +
		`{"type":"text","text":"two","marks":[{"type":"comment","attrs":{"id":1}},{"type":"comment","attrs":{"id":2}}]},` +
		`{"type":"hard_break"}]},{"type":"text","text":"not an element"}]}`
	if got := string(n.JSON()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := n.PlainText(), "linktwo\n\nnot an element"; got != want {
		t.Errorf("the text is %q, not %q", got, want)
	}
}

func TestNodesAreShownToABoundedDepth(t *testing.T) {
	doc := crdt.NewDoc(crdt.Options{})
	fragment := doc.XmlFragment("")
	at := fragment
	for range 400 {
		inner := crdt.NewXmlElement("table")
		must(t, at.Push(crdt.NewXmlText("x"), inner))
		at = &inner.XmlFragment
	}
	n := render.FromXML(fragment)
	depth := 0
	for at := n; len(at.Content) > 0; at = at.Content[len(at.Content)-1] {
		depth++
	}
	if depth < 50 || depth > 150 {
		t.Errorf("%d levels are shown", depth)
	}
	checkSafe(t, parse(t, n.HTML()), "deep")
	parse(t, toHTML(t, n.Markdown()))
	if len(n.PlainText()) == 0 || len(n.JSON()) == 0 {
		t.Error("nothing is shown")
	}
}

func TestWhatIsNestedIsShownOnce(t *testing.T) {
	for _, names := range [][]string{
		{"taskList", "taskItem", "paragraph"}, {"table", "tableRow", "tableCell"}, {"bulletList", "listItem"}, {"mention"},
		{"blockquote"}, {"blockGroup", "blockContainer"},
	} {
		n := render.Node{Type: "text", Text: "x"}
		for i := range 90 {
			n = render.Node{Type: names[len(names)-1-i%len(names)], Content: []render.Node{n}}
		}
		n = render.Node{Type: "doc", Content: []render.Node{n}}
		for _, got := range []string{n.Markdown(), textOfHTML(parse(t, n.HTML())), n.PlainText()} {
			if strings.Count(strings.ReplaceAll(got, "[x]", ""), "x") != 1 {
				t.Errorf("%v are shown as %q", names, got)
			}
		}
	}
}

func TestALongLineOfManyFormatsIsShown(t *testing.T) {
	const parts = 200_000 // Their square is more than anybody waits for.
	line := render.Node{Type: "paragraph"}
	for i := range parts {
		mark := render.Mark{Type: "comment", Attrs: attrs("id", float64(i))}
		line.Content = append(line.Content, render.Node{Type: "text", Text: "words\n", Marks: []render.Mark{mark}})
	}
	for _, got := range []string{line.Markdown(), line.HTML(), line.PlainText()} {
		if strings.Count(got, "words") != parts {
			t.Errorf("%d parts are shown", strings.Count(got, "words"))
		}
	}
}

func TestATextOfQuillIsADocumentOfLines(t *testing.T) {
	text := crdt.NewDoc(crdt.Options{}).Text("")
	must(t, text.ApplyDelta([]crdt.Op{
		{Insert: "Title"}, {Insert: "\n", Attributes: attrs("header", 1.0)},
		{Insert: "plain "}, {Insert: "bold", Attributes: attrs("bold", true)}, {Insert: "x", Attributes: attrs("script", "super")},
		{Insert: "\nsite", Attributes: attrs("link", "https://a.example")},
		{Insert: attrs("image", "https://a.example/x.png")}, {Insert: "\n\n"},
		{Insert: "one"}, {Insert: "\n", Attributes: attrs("list", "ordered")},
		{Insert: "two"}, {Insert: "\n", Attributes: attrs("list", "ordered")},
		{Insert: "done"}, {Insert: "\n", Attributes: attrs("list", "checked")},
		{Insert: "a <"}, {Insert: "\n\n", Attributes: attrs("code-block", "plain")},
		{Insert: "b"}, {Insert: "\n", Attributes: attrs("code-block", "plain")},
		{Insert: "said"}, {Insert: "\n", Attributes: attrs("blockquote", true)},
		{Insert: "end"},
	}))
	n := render.FromText(text)
	const html = `<h1>Title</h1><p>plain <strong>bold</strong><sup>x</sup></p>` +
		`<p><a href="https://a.example" rel="noopener noreferrer nofollow">site</a>` +
		`<img src="https://a.example/x.png"></p><p></p><ol><li><p>one</p></li><li><p>two</p></li></ol>` +
		`<ul data-type="taskList"><li><input type="checkbox" disabled checked><p>done</p></li></ul>` +
		"<pre><code>a &lt;\n\nb</code></pre><blockquote><p>said</p></blockquote><p>end</p>"
	if got := n.HTML(); got != html {
		t.Errorf("got  %s\nwant %s", got, html)
	}
	const markdown = "# Title\n\nplain **bold**x\n\n[site](<https://a.example>)![](<https://a.example/x.png>)\n\n" +
		"1. one\n2. two\n\n- [x] done\n\n```\na <\n\nb\n```\n\n> said\n\nend\n"
	if got := n.Markdown(); got != markdown {
		t.Errorf("got  %s\nwant %s", got, markdown)
	}
}

func TestLinesOfATextAreItsPlainText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.SampledFrom([]rune("ab\n\n é😀<"))).Draw(t, "text")
		text := crdt.NewDoc(crdt.Options{}).Text("")
		if err := text.Insert(0, s); err != nil {
			t.Fatal(err)
		}
		got := render.FromText(text).PlainText()
		if got != s && got+"\n" != s {
			t.Fatalf("%q is %q", s, got)
		}
	})
}
