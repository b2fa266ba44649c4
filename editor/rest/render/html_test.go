package render_test

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"pgregory.net/rapid"

	"collab.dev/operator/editor/rest/render"
)

// allowed are the elements and attributes that documents are shown by.
var allowed = map[string][]string{
	"p": nil, "h1": nil, "h2": nil, "h3": nil, "h4": nil, "h5": nil, "h6": nil, "blockquote": nil, "pre": nil, "li": nil, "hr": nil,
	"code": {"class"}, "ul": {"data-type"}, "ol": {"start"}, "input": {"type", "disabled", "checked"}, "table": nil, "tbody": nil,
	"tr": nil, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}, "br": nil, "img": {"src", "alt", "title"},
	"span": {"data-type"}, "div": {"data-type"}, "a": {"href", "rel"}, "strong": nil, "em": nil, "u": nil, "s": nil, "sub": nil,
	"sup": nil, "mark": nil, "del": nil, "thead": nil, // The last two are what Markdown becomes.
}

// checkSafe fails unless nothing in HTML can run.
func checkSafe(t interface{ Fatalf(string, ...any) }, nodes []*html.Node, source string) {
	var visit func(*html.Node)
	visit = func(n *html.Node) {
		attributes, ok := allowed[n.Data]
		if n.Type == html.ElementNode && !ok || n.Type != html.ElementNode && n.Type != html.TextNode {
			t.Fatalf("%v %q in %s", n.Type, n.Data, source)
		}
		if n.Type == html.ElementNode {
			for _, a := range n.Attr {
				if !slices.Contains(attributes, a.Key) {
					t.Fatalf("%s has %s=%q in %s", n.Data, a.Key, a.Val, source)
				}
				if a.Key == "href" || a.Key == "src" {
					checkAddress(t, a.Val, source)
				}
			}
		}
		for child := range n.ChildNodes() {
			visit(child)
		}
	}
	for _, n := range nodes {
		visit(n)
	}
}

func checkAddress(t interface{ Fatalf(string, ...any) }, address, source string) {
	// What browsers leave out.
	seen := strings.Map(func(r rune) rune {
		if r <= ' ' {
			return -1
		}
		return r
	}, address)
	scheme, _, found := strings.Cut(seen, ":")
	if !found || strings.ContainsAny(scheme, "/?#") || strings.HasPrefix(seen, "data:image/png;base64,") {
		return
	}
	if _, err := url.Parse(scheme + "://x"); err != nil {
		return // No scheme.
	}
	if !slices.Contains([]string{"http", "https", "mailto", "tel"}, strings.ToLower(scheme)) {
		t.Fatalf("an address is %q in %s", address, source)
	}
}

func TestHTMLOfAnyDocumentRunsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := hostile().Draw(t, "document")
		source := n.HTML()
		nodes := parse(t, source)
		checkSafe(t, nodes, source)
		// What a browser makes of what it has made of it.
		var again bytes.Buffer
		for _, n := range nodes {
			if err := html.Render(&again, n); err != nil {
				t.Fatalf("%v", err)
			}
		}
		checkSafe(t, parse(t, again.String()), again.String())
	})
}

func TestHTMLShowsTheTextOfAnyDocument(t *testing.T) {
	strip := func(s string) string { return strings.ReplaceAll(normal(s), " ", "") }
	rapid.Check(t, func(t *rapid.T) {
		n := document().Draw(t, "document")
		if got, want := textOfHTML(parse(t, n.HTML())), shown(n); got != want {
			t.Fatalf("%q is shown as\n%q by\n%s", want, got, n.HTML())
		}
		n = hostile().Draw(t, "hostile document")
		if got, want := textOfHTML(parse(t, n.HTML())), n.PlainText(); !containsParts(strip(got), n) {
			t.Fatalf("%q is shown as\n%q by\n%s", want, got, n.HTML())
		}
	})
}

// containsParts says whether the texts of a document are in a text, in their order.
func containsParts(s string, n render.Node) bool {
	if n.Type == "text" {
		n.Content = nil
	}
	var visit func(n render.Node) bool
	visit = func(n render.Node) bool {
		want := strings.ReplaceAll(normal(n.Text), " ", "")
		_, after, ok := strings.Cut(s, want)
		if !ok {
			return false
		}
		s = after
		for _, child := range n.Content {
			if !visit(child) {
				return false
			}
		}
		return true
	}
	return visit(n)
}

func TestHTML(t *testing.T) {
	text := func(s string, marks ...render.Mark) render.Node {
		return render.Node{Type: "text", Text: s, Marks: marks}
	}
	node := func(name string, content ...render.Node) render.Node {
		return render.Node{Type: name, Content: content}
	}
	with := func(n render.Node, pairs ...any) render.Node {
		n.Attrs = attrs(pairs...)
		return n
	}
	for want, n := range map[string]render.Node{
		"":                             node("doc"),
		"<p></p>":                      node("paragraph"),
		"<p>a &lt;b&gt; &amp; c</p>":   node("paragraph", text("a <b> & c")),
		"<h2>a</h2>":                   with(node("heading", text("a")), "level", 2.0),
		"<h3>a</h3>":                   with(node("heading", text("a")), "level", "3"),
		"<h1>a</h1>":                   with(node("heading", text("a")), "level", 99.0),
		"<ul><li><p>a</p></li></ul>":   node("bullet_list", node("list_item", node("paragraph", text("a")))),
		`<ol start="3"><li></li></ol>`: with(node("orderedList", node("listItem")), "start", 3.0),
		"<ul><li><p>a</p></li></ul> ":  node("doc", node("bulletList", node("paragraph", text("a"))), text(" ")),
		"<p>a<br>b</p><hr>":            node("doc", node("paragraph", text("a"), node("hardBreak"), text("b")), node("horizontalRule")),
		"<p><strong><em>a</em></strong></p>": node("paragraph",
			text("a", render.Mark{Type: "italic"}, render.Mark{Type: "bold"})),
		`<p><a href="https://a.example/?a=1&amp;b=" rel="noopener noreferrer nofollow">a</a></p>`: node("paragraph",
			text("a", render.Mark{Type: "link", Attrs: attrs("href", " https://a.example/?a=1&b=  ")})),
		"<p>b</p>": node("paragraph", text("b", render.Mark{Type: "link", Attrs: attrs("href", "javascript:x")})),
		`<pre><code class="language-go">` + "\n a &lt; b\n</code></pre>": with(
			node("codeBlock", text("\n a < b\n")), "language", "go"),
		`<pre><code>a</code></pre>`:                         with(node("codeBlock", text("a")), "language", "x onclick"),
		`<img src="data:image/png;base64,AA==" alt="&lt;">`: with(node("image"), "src", "data:image/png;base64,AA==", "alt", "<"),
		"alt": with(node("image"), "src", "data:image/svg+xml;base64,AA==", "alt", "alt"),
		`<ul data-type="taskList"><li><input type="checkbox" disabled checked><p>a</p></li></ul>`: node("taskList",
			with(node("taskItem", node("paragraph", text("a"))), "checked", true)),
		`<table><tr><th colspan="2"><p>a</p></th></tr><tr><td></td></tr></table>`: node("table",
			node("tableRow", with(node("tableHeader", node("paragraph", text("a"))), "colspan", 2.0, "rowspan", 1.0)),
			node("tableRow", node("tableCell"))),
		"<p><span>@Ann &amp; Bob</span></p>":                      node("paragraph", with(node("mention"), "label", "Ann & Bob")),
		`<div data-type="&#34;&gt;&lt;script&gt;"><p>a</p></div>`: node(`"><script>`, node("paragraph", text("a"))),
		`<p>a<span data-type="math">x</span></p>`:                 node("paragraph", text("a"), node("math", text("x"))),
		"<p>ab</p>": node("paragraph", text("a\x00b")),
	} {
		if got := n.HTML(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
