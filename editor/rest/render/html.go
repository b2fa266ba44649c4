package render

import (
	"fmt"
	"html"
	"strings"
)

// HTML returns the node as HTML that is safe to show: all text is escaped, elements and attributes are those that are
// known here, and addresses are relative or http, https, mailto or tel, or are images themselves.
func (n Node) HTML() string {
	w := &htmlWriter{}
	w.node(n.arranged(), false)
	return w.out.String()
}

// formatTags are the elements of formats besides links, from the outside in.
var formatTags = []struct {
	format format
	tag    string
}{
	{strong, "strong"}, {emphasis, "em"}, {underline, "u"}, {strike, "s"}, {subscript, "sub"}, {superscript, "sup"},
	{highlight, "mark"}, {code, "code"},
}

type htmlWriter struct{ out strings.Builder }

// attribute is one of an element, written if it has a value.
type attribute struct{ name, value string }

func (w *htmlWriter) open(tag string, attributes ...attribute) {
	w.out.WriteString("<" + tag)
	for _, a := range attributes {
		if a.value != "" {
			w.out.WriteString(" " + a.name + `="`)
			w.text(a.value)
			w.out.WriteString(`"`)
		}
	}
	w.out.WriteString(">")
}

func (w *htmlWriter) close(tag string) { w.out.WriteString("</" + tag + ">") }

// text writes text, which may be an attribute's, without NUL, which HTML has no way to write.
func (w *htmlWriter) text(s string) {
	w.out.WriteString(html.EscapeString(strings.ReplaceAll(s, "\x00", "")))
}

func (w *htmlWriter) nodes(nodes []Node, inline bool) {
	for _, n := range nodes {
		w.node(n, inline)
	}
}

func (w *htmlWriter) element(tag string, content []Node, inline bool, attributes ...attribute) {
	w.open(tag, attributes...)
	w.nodes(content, inline)
	w.close(tag)
}

// node writes a node; inline says that it is among the parts of a line.
func (w *htmlWriter) node(n Node, inline bool) {
	switch kind := n.kind(); kind {
	case document:
		w.nodes(n.Content, false)
	case paragraph:
		w.element("p", n.Content, true)
	case heading:
		w.element(fmt.Sprintf("h%d", n.level()), n.Content, true)
	case blockquote:
		w.element("blockquote", n.Content, false)
	case codeBlock:
		language := n.language()
		if language != "" {
			language = "language-" + language
		}
		w.open("pre")
		w.open("code", attribute{"class", language})
		w.text(textOf(n.Content))
		w.close("code")
		w.close("pre")
	case bulletList, orderedList, taskList:
		w.list(n, kind)
	case rule:
		w.open("hr")
	case table:
		w.table(n)
	case text:
		w.formatted(n)
	case hardBreak:
		w.open("br")
	case image:
		w.image(n)
	case mention:
		w.open("span")
		w.text(n.label())
		w.nodes(n.Content, true)
		w.close("span")
	default:
		tag := "div"
		if inline {
			tag = "span"
		}
		w.element(tag, n.Content, inline, attribute{"data-type", n.Type})
	}
}

func (w *htmlWriter) list(n Node, kind kind) {
	tag, attributes := "ul", []attribute(nil)
	switch kind {
	case taskList:
		attributes = []attribute{{"data-type", "taskList"}}
	case orderedList:
		tag = "ol"
		if start := number(n.Attrs, "start", 0, 1<<30, 1); start != 1 {
			attributes = []attribute{{"start", fmt.Sprint(start)}}
		}
	}
	w.open(tag, attributes...)
	for _, item := range n.items() {
		w.open("li")
		if item.kind() == taskItem {
			w.out.WriteString(`<input type="checkbox" disabled`)
			if truth(item.Attrs, "checked") {
				w.out.WriteString(" checked")
			}
			w.out.WriteString(">")
		}
		w.nodes(item.Content, false)
		w.close("li")
	}
	w.close(tag)
}

func (w *htmlWriter) table(n Node) {
	w.open("table")
	for _, row := range n.rows() {
		w.open("tr")
		for _, cell := range row {
			tag := "td"
			if cell.kind() == tableHeader {
				tag = "th"
			}
			w.element(tag, cell.Content, false,
				attribute{"colspan", cell.span("colspan")}, attribute{"rowspan", cell.span("rowspan")})
		}
		w.close("tr")
	}
	w.close("table")
}

// formatted writes a text with its marks.
func (w *htmlWriter) formatted(n Node) {
	on, href := n.marked()
	var closing []string
	if href != "" {
		w.open("a", attribute{"href", href}, attribute{"rel", "noopener noreferrer nofollow"})
		closing = append(closing, "a")
	}
	for _, f := range formatTags {
		if on[f.format] {
			w.open(f.tag)
			closing = append(closing, f.tag)
		}
	}
	w.text(n.Text)
	for i := len(closing) - 1; i >= 0; i-- {
		w.close(closing[i])
	}
}

func (w *htmlWriter) image(n Node) {
	src, alt := n.src(), str(n.Attrs, "alt")
	if src == "" {
		w.text(alt)
	} else {
		w.open("img", attribute{"src", src}, attribute{"alt", alt}, attribute{"title", str(n.Attrs, "title")})
	}
}
