package render_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
	"pgregory.net/rapid"

	"collab.dev/operator/editor/rest/render"
)

var everything = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe()))

// toHTML renders Markdown as GitHub does, and without GitHub's precautions: HTML and addresses of any kind too.
func toHTML(t interface{ Fatalf(string, ...any) }, markdown string) string {
	var out bytes.Buffer
	if err := everything.Convert([]byte(markdown), &out); err != nil {
		t.Fatalf("%q: %v", markdown, err)
	}
	return out.String()
}

func TestMarkdownShowsTheTextOfAnyDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := document().Draw(t, "document")
		markdown := n.Markdown()
		shownAs := toHTML(t, markdown)
		if got, want := textOfHTML(parse(t, shownAs)), shown(n); got != want {
			t.Fatalf("%q is shown as\n%q by\n%s\nwhich is\n%s", want, got, markdown, shownAs)
		}
	})
}

func TestMarkdownOfAnyDocumentRunsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := hostile().Draw(t, "document")
		markdown := n.Markdown()
		source := toHTML(t, markdown)
		checkSafe(t, parse(t, source), source+" of "+markdown)
	})
}

func TestMarkdown(t *testing.T) {
	text := func(s string, marks ...string) render.Node {
		n := render.Node{Type: "text", Text: s}
		for _, m := range marks {
			n.Marks = append(n.Marks, render.Mark{Type: m})
		}
		return n
	}
	link := render.Mark{Type: "link", Attrs: attrs("href", "/a b")}
	node := func(name string, content ...render.Node) render.Node {
		return render.Node{Type: name, Content: content}
	}
	line := func(content ...render.Node) render.Node { return node("paragraph", content...) }
	item := func(content ...render.Node) render.Node { return node("listItem", content...) }
	for want, n := range map[string]render.Node{
		"":                                 node("doc", line(), line(text(" "))),
		"Hello, world! It's 10:30.\n":      line(text("Hello, world! It's 10:30.")),
		"\\# 1. a\n":                       line(text("# 1. a")),
		"1\\. a\n":                         line(text("1. a")),
		"\\*a\\* snake_case \\<b> &\n":     line(text("*a* snake_case <b> &")),
		"plain **bold _both_ bold**\n":     line(text("plain "), text("bold ", "strong"), text("both", "em", "strong"), text(" bold", "strong")),
		"a**b**c\n":                        line(text("a"), text("b", "bold"), text("c")),
		"&#97;_b_&#99;\n":                  line(text("a"), text("b", "italic"), text("c")),
		"&#97;**(b)**&#99;\n":              line(text("a"), text("(b)", "bold"), text("c")),
		"**a**_b_~~c~~`d`\n":               line(text("a", "bold"), text("b", "italic"), text("c", "strike"), text("d", "code")),
		"`` ` ``\n":                        line(text("`", "code")),
		"[a **b**](</a%20b>)\n":            line(render.Node{Type: "text", Text: "a ", Marks: []render.Mark{link}}, render.Node{Type: "text", Text: "b", Marks: []render.Mark{link, {Type: "bold"}}}),
		"a\\\nb\n":                         line(text("a"), node("hardBreak"), text("b"), node("hardBreak")),
		"## C \\#\n":                       {Type: "heading", Attrs: attrs("level", 2.0), Content: []render.Node{text("C #")}},
		"> a\n>\n> - b\n>\n>   c\n> - d\n": node("blockquote", line(text("a")), node("bulletList", item(line(text("b")), line(text("c"))), item(line(text("d"))))),
		"- a\n\n+ b\n\n- c\n":              node("doc", node("bulletList", item(text("a"))), node("bulletList", item(text("b"))), node("bulletList", item(text("c")))),
		"````\n```\n````\n":                node("codeBlock", text("```\n")),
		"| a \\| b | c |\n| --- | --- |\n| `\\|` |\n": node("table",
			node("tableRow", node("tableCell", line(text("a | b"))), node("tableHeader", line(text("c")))),
			node("tableRow", node("tableCell", line(text("|", "code"))))),
	} {
		if got := n.Markdown(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	f.Add("a", "b", "javascript:alert(1)")
	f.Add("*a_", "`` ` ", "https://a.example/?<>&|")
	f.Add("<script>", "]()", "\x00")
	f.Fuzz(func(t *testing.T, before, within, href string) {
		if len(before)+len(within)+len(href) > 1000 {
			t.Skip()
		}
		before, within = strings.ToValidUTF8(before, "?"), strings.ToValidUTF8(within, "?")
		link := render.Mark{Type: "link", Attrs: attrs("href", href)}
		n := render.Node{Type: "doc", Content: []render.Node{{Type: "paragraph", Content: []render.Node{
			{Type: "text", Text: before},
			{Type: "text", Text: within, Marks: []render.Mark{{Type: "bold"}, {Type: "italic"}}},
			{Type: "text", Text: before, Marks: []render.Mark{{Type: "strike"}}},
			{Type: "text", Text: within, Marks: []render.Mark{link}},
			{Type: "text", Text: before, Marks: []render.Mark{{Type: "code"}}},
		}}}}
		for _, source := range []string{toHTML(t, n.Markdown()), n.HTML()} {
			nodes := parse(t, source)
			checkSafe(t, nodes, source)
			if got, want := solid(textOfHTML(nodes)), solid(n.PlainText()); got != want {
				t.Fatalf("%q is shown as\n%q by\n%s", want, got, n.Markdown())
			}
		}
	})
}

// solid is a text without white space and control characters.
func solid(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.IsSpace(r) || unicode.Is(unicode.Z, r) {
			return -1
		}
		return r
	}, s)
}
