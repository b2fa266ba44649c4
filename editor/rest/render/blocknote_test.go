package render_test

import (
	"testing"

	"collab.dev/operator/editor/rest/render"
)

func TestItemsOfBlockNoteAreInLists(t *testing.T) {
	text := func(s string) []render.Node { return []render.Node{{Type: "text", Text: s}} }
	block := func(name, s string, below ...render.Node) render.Node {
		n := render.Node{Type: "blockContainer", Content: []render.Node{{Type: name, Content: text(s)}}}
		if len(below) > 0 {
			n.Content = append(n.Content, render.Node{Type: "blockGroup", Content: below})
		}
		return n
	}
	done := block("checkListItem", "done")
	done.Content[0].Attrs = attrs("checked", true)
	third := block("numberedListItem", "third")
	third.Content[0].Attrs = attrs("start", 3.0)
	n := render.Node{Type: "doc", Content: []render.Node{{Type: "blockGroup", Content: []render.Node{
		block("heading", "Title"),
		block("bulletListItem", "one", block("numberedListItem", "below"), block("paragraph", "and this")),
		block("bulletListItem", "two"),
		done, third,
		block("paragraph", "end", block("paragraph", "indented")),
		{Type: "blockContainer"},
	}}}}
	const html = "<h1>Title</h1><ul><li><p>one</p><ol><li><p>below</p></li></ol><p>and this</p></li><li><p>two</p></li></ul>" +
		`<ul data-type="taskList"><li><input type="checkbox" disabled checked><p>done</p></li></ul>` +
		`<ol start="3"><li><p>third</p></li></ol><p>end</p><p>indented</p>`
	if got := n.HTML(); got != html {
		t.Errorf("got  %s\nwant %s", got, html)
	}
	const markdown = "# Title\n\n- one\n\n  1. below\n\n  and this\n- two\n\n+ [x] done\n\n3. third\n\nend\n\nindented\n"
	if got := n.Markdown(); got != markdown {
		t.Errorf("got  %q\nwant %q", got, markdown)
	}
	if got, want := n.PlainText(), "Title\none\nbelow\nand this\ntwo\ndone\nthird\nend\nindented\n"; got != want {
		t.Errorf("the text is %q, not %q", got, want)
	}
}
