package render_test

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"pgregory.net/rapid"

	"collab.dev/operator/editor/crdt/lib0"
	"collab.dev/operator/editor/rest/render"
)

// words are what Markdown and HTML may see more in than text.
var words = []string{
	"a", "b", "word", "1", "12.", "3)", "-", "+", "*", "**", "_", "__", "~~", "~", "`", "```", "#", "##", ">", "<", "&", "&amp;",
	"&#35;", "<b>", "</p>", "<!--", "<script>alert(1)</script>", "[", "]", "[x](y)", "![", "!", "|", ":-:", "---", "===", "\\",
	"\\\\", "$", "https://a.example/b_c", "www.a.example", "me@a.example", "mailto:me@a.example", "é", "語", "“", "—", "😀", "€",
	"\u00a0", "\u200b", "\u0301", "'", "\"", "(", ")", "=", ":", "^", "{", "}", "%", "\ufffd", "10:30", "snake_case", "    ", "[ ]", "[^1]",
}

func text() *rapid.Generator[string] {
	part := rapid.OneOf(rapid.SampledFrom(words), rapid.SampledFrom([]string{" ", "  ", "\n", "\t", " "}))
	return rapid.Map(rapid.SliceOfN(part, 0, 5), func(parts []string) string { return strings.Join(parts, "") })
}

func attrs(pairs ...any) (o lib0.Object) {
	for i := 0; i < len(pairs); i += 2 {
		o = append(o, lib0.Member{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return o
}

var marks = rapid.SliceOfN(rapid.SampledFrom([]render.Mark{
	{Type: "bold"}, {Type: "italic"}, {Type: "strike"}, {Type: "code"}, {Type: "underline"}, {Type: "comment"},
	{Type: "link", Attrs: attrs("href", "https://a.example/?a=1&b=(2)|<c>")}, {Type: "link", Attrs: attrs("href", "/relative")},
	{Type: "link", Attrs: attrs("href", "javascript:alert(1)")},
}), 0, 3)

func textNode(t *rapid.T) render.Node {
	n := render.Node{Type: "text", Text: text().Draw(t, "text"), Marks: marks.Draw(t, "marks")}
	if slices.ContainsFunc(n.Marks, func(m render.Mark) bool { return m.Type == "code" }) {
		n.Text = strings.ReplaceAll(n.Text, "@", "") // goldmark takes a`b@c` for a mail address.
	}
	return n
}

// inlineNodes are parts of a line.
func inlineNodes(t *rapid.T) (out []render.Node) {
	for range rapid.IntRange(0, 6).Draw(t, "parts") {
		switch rapid.IntRange(0, 9).Draw(t, "part") {
		case 0:
			out = append(out, render.Node{Type: "hardBreak"})
		case 1:
			out = append(out, render.Node{Type: "mention", Attrs: attrs("label", text().Draw(t, "label"))})
		case 2:
			out = append(out, render.Node{Type: "image", Attrs: attrs(
				"src", rapid.SampledFrom([]string{"https://a.example/x.png", "data:text/html,x"}).Draw(t, "src"),
				"alt", text().Draw(t, "alt"))})
		default:
			out = append(out, textNode(t))
		}
	}
	return out
}

// blocks are what schemas of editors allow.
func blocks(t *rapid.T, depth int) (out []render.Node) {
	if depth == 0 {
		return []render.Node{{Type: "paragraph", Content: inlineNodes(t)}}
	}
	for range rapid.IntRange(1, 4).Draw(t, "blocks") {
		n := render.Node{Type: rapid.SampledFrom([]string{
			"paragraph", "paragraph", "heading", "blockquote", "codeBlock", "bulletList", "orderedList", "taskList",
			"horizontalRule", "table", "details",
		}).Draw(t, "type")}
		switch n.Type {
		case "paragraph":
			n.Content = inlineNodes(t)
		case "heading":
			n.Attrs, n.Content = attrs("level", float64(rapid.IntRange(0, 7).Draw(t, "level"))), inlineNodes(t)
		case "codeBlock":
			n.Attrs = attrs("language", rapid.SampledFrom([]string{"go", "", "`~ x", "c++"}).Draw(t, "language"))
			code := strings.ReplaceAll(text().Draw(t, "code"), "\t", " ")
			n.Content = []render.Node{{Type: "text", Text: code}}
		case "blockquote", "details":
			n.Content = blocks(t, depth-1)
		case "bulletList", "orderedList", "taskList":
			item := map[bool]string{true: "taskItem", false: "listItem"}[n.Type == "taskList"]
			n.Attrs = attrs("start", float64(rapid.IntRange(0, 10).Draw(t, "start")))
			for range rapid.IntRange(1, 3).Draw(t, "items") {
				content := blocks(t, depth-1)
				if item == "taskItem" {
					first := append([]render.Node{{Type: "text", Text: "task "}}, inlineNodes(t)...)
					content = append([]render.Node{{Type: "paragraph", Content: first}}, content...)
				}
				n.Content = append(n.Content, render.Node{
					Type: item, Attrs: attrs("checked", rapid.Bool().Draw(t, "checked")), Content: content,
				})
			}
		case "table":
			for range rapid.IntRange(1, 3).Draw(t, "rows") {
				row := render.Node{Type: "tableRow"}
				for range rapid.IntRange(0, 3).Draw(t, "cells") {
					row.Content = append(row.Content, render.Node{
						Type: "tableCell", Content: []render.Node{{Type: "paragraph", Content: inlineNodes(t)}},
					})
				}
				n.Content = append(n.Content, row)
			}
		}
		out = append(out, n)
	}
	return out
}

func document() *rapid.Generator[render.Node] {
	return rapid.Custom(func(t *rapid.T) render.Node { return render.Node{Type: "doc", Content: blocks(t, 2)} })
}

// hostile are documents of nodes of any name anywhere, with attributes of any name and value.
func hostile() *rapid.Generator[render.Node] {
	names := rapid.OneOf(rapid.SampledFrom([]string{
		"doc", "paragraph", "heading", "blockquote", "codeBlock", "bulletList", "orderedList", "listItem", "taskList",
		"taskItem", "horizontalRule", "table", "tableRow", "tableCell", "tableHeader", "hardBreak", "image", "mention",
		"blockGroup", "blockContainer", "bulletListItem", "numberedListItem", "checkListItem", "text", "script", "svg", "a", "p onclick=x", "\"><script>", "",
	}), text())
	values := rapid.OneOf(rapid.Map(text(), func(s string) any { return s }), rapid.SampledFrom([]any{
		"javascript:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>",
		"vbscript:x", "https://a.example/\" onerror=\"alert(1)", "data:image/png;base64,AAAA", "data:image/svg+xml;base64,AAAA",
		"\x01javascript:alert(1)", "//a.example", "&#106;avascript:alert(1)", "javascript&colon;alert(1)", 7.0, true, nil, "7", "1e9",
		attrs("href", "javascript:alert(1)"), []any{"x"}, "x\"y onclick=alert(1)",
	}))
	object := rapid.Custom(func(t *rapid.T) (o lib0.Object) {
		for range rapid.IntRange(0, 3).Draw(t, "attributes") {
			o = append(o, lib0.Member{Key: rapid.SampledFrom([]string{
				"href", "src", "alt", "title", "level", "start", "language", "label", "id", "colspan", "rowspan", "checked",
				"onclick", "style", "onerror=alert(1) x",
			}).Draw(t, "attribute"), Value: values.Draw(t, "value")})
		}
		return o
	})
	var node func(t *rapid.T, depth int) render.Node
	node = func(t *rapid.T, depth int) render.Node {
		n := render.Node{Type: names.Draw(t, "type"), Attrs: object.Draw(t, "attrs")}
		if n.Type == "text" {
			n.Text = text().Draw(t, "text")
			for range rapid.IntRange(0, 3).Draw(t, "marks") {
				name := rapid.OneOf(rapid.SampledFrom([]string{"link", "bold", "code", "script", "italic"}), text())
				n.Marks = append(n.Marks, render.Mark{Type: name.Draw(t, "mark"), Attrs: object.Draw(t, "attrs")})
			}
			return n
		}
		if depth > 0 {
			for range rapid.IntRange(0, 4).Draw(t, "children") {
				n.Content = append(n.Content, node(t, depth-1))
			}
		}
		return n
	}
	return rapid.Custom(func(t *rapid.T) render.Node {
		content := []render.Node{node(t, 5), node(t, 5)}
		if rapid.Bool().Draw(t, "of BlockNote") {
			content = []render.Node{{Type: "blockGroup", Content: content}}
		}
		return render.Node{Type: "doc", Content: content}
	})
}

// isInline says which nodes are parts of a line.
func isInline(n render.Node) bool {
	return slices.Contains([]string{"text", "hardBreak", "mention", "image"}, n.Type)
}

// shown is the text of a node as somebody sees it, with white space around blocks.
func shown(n render.Node) string {
	var out strings.Builder
	var visit func(render.Node)
	visit = func(n render.Node) {
		space := ""
		if !isInline(n) || n.Type == "hardBreak" {
			space = " "
		}
		out.WriteString(space)
		out.WriteString(n.Text)
		label, _ := n.Attrs.Get("label")
		if s, ok := label.(string); ok && s != "" && n.Type == "mention" {
			out.WriteString("@" + s)
		}
		src, _ := n.Attrs.Get("src")
		if alt, ok := n.Attrs.Get("alt"); ok && n.Type == "image" && src == "data:text/html,x" {
			out.WriteString(alt.(string))
		}
		for _, child := range n.Content {
			visit(child)
		}
		out.WriteString(space)
	}
	visit(n)
	return normal(out.String())
}

// normal is a text with one space for each white space, as browsers show it.
func normal(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || unicode.IsControl(r) }), " ")
}

// parse reads HTML as a browser reads the inside of a page.
func parse(t interface{ Fatalf(string, ...any) }, s string) []*html.Node {
	nodes, err := html.ParseFragment(strings.NewReader(s), &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body})
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return nodes
}

// textOfHTML is the text of HTML as somebody sees it, with white space around blocks.
func textOfHTML(nodes []*html.Node) string {
	var out strings.Builder
	var visit func(*html.Node)
	visit = func(n *html.Node) {
		space := ""
		if n.Type == html.TextNode {
			out.WriteString(n.Data)
		} else if !slices.Contains([]string{"a", "strong", "em", "u", "s", "del", "sub", "sup", "mark", "code", "span", "img"}, n.Data) {
			space = " "
		}
		out.WriteString(space)
		for child := range n.ChildNodes() {
			visit(child)
		}
		out.WriteString(space)
	}
	for _, n := range nodes {
		visit(n)
	}
	return normal(out.String())
}
