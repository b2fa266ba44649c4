// Package render shows the content of documents in formats that others read: the JSON of ProseMirror, HTML, Markdown and
// plain text.
//
// What editors store is untrusted: anybody who may write can store elements, attributes and addresses of any name and
// value. Nothing of it gets into HTML or Markdown but as text, as one of the elements that are known here, or as an
// address that cannot run anything. The package knows nothing of requests and permissions.
package render

import (
	"regexp"
	"strings"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// maxDepth bounds how deeply nodes are shown within nodes; what is deeper is left out. Editors nest a few levels, and
// browsers show some hundred elements within each other, of which a node can need four.
const maxDepth = 100

// textType is the type of texts, which no other node has.
const textType = "text"

// Node is a part of a document as ProseMirror sees it.
type Node struct {
	// Type is the name in ProseMirror's schema: "doc", "paragraph", "text" and so on.
	Type  string
	Attrs lib0.Object
	// Content are the nodes within. A text has none.
	Content []Node
	// Text is that of a node of the type "text", formatted by Marks.
	Text  string
	Marks []Mark
}

// Mark is the formatting of a text.
type Mark struct {
	Type  string
	Attrs lib0.Object
}

// hashedMark is how y-prosemirror names marks that may overlap others of their kind.
var hashedMark = regexp.MustCompile(`^(.*)--[a-zA-Z0-9+/=]{8}$`)

// FromXML returns the document that y-prosemirror keeps in a fragment: elements are nodes, texts within them are texts,
// and the formatting of these are marks.
func FromXML(fragment *crdt.XmlFragment) Node {
	return Node{Type: "doc", Content: fromChildren(fragment.Children(), 1)}
}

func fromChildren(children []any, depth int) []Node {
	if depth > maxDepth {
		return nil
	}
	var out []Node
	for _, child := range children {
		switch child := child.(type) {
		case *crdt.XmlText:
			out = append(out, fromDelta(child.Delta(), depth)...)
		case *crdt.XmlElement:
			content := fromChildren(child.Children(), depth+1)
			if child.Name() == textType {
				out = append(out, content...) // ProseMirror has no such elements: the name is that of texts.
				continue
			}
			out = append(out, Node{Type: child.Name(), Attrs: plain(child.Attributes()), Content: content})
		default:
			// Nothing else is in the fragments of y-prosemirror.
		}
	}
	return out
}

// fromDelta returns the texts of a delta. Elements within a text, as Lexical has them, are nodes of their own.
func fromDelta(delta []crdt.Op, depth int) []Node {
	var out []Node
	for _, op := range delta {
		switch insert := op.Insert.(type) {
		case string:
			out = append(out, Node{Type: textType, Text: insert, Marks: marks(op.Attributes)})
		case *crdt.XmlText:
			if depth < maxDepth {
				out = append(out, Node{Type: "paragraph", Content: fromDelta(insert.Delta(), depth+1)})
			}
		case *crdt.XmlElement:
			out = append(out, fromChildren([]any{insert}, depth)...)
		default:
			// Embedded values have no place in ProseMirror's documents.
		}
	}
	return out
}

func marks(attributes lib0.Object) []Mark {
	var out []Mark
	for _, a := range attributes {
		name := a.Key
		if match := hashedMark.FindStringSubmatch(name); match != nil {
			name = match[1]
		}
		attrs, _ := a.Value.(lib0.Object)
		out = append(out, Mark{Type: name, Attrs: plain(attrs)})
	}
	return out
}

// plain replaces shared types, which attributes can have too, by their content.
func plain(attributes lib0.Object) lib0.Object {
	out := make(lib0.Object, 0, len(attributes))
	for _, a := range attributes {
		if shared, ok := a.Value.(crdt.Shared); ok {
			a.Value = shared.JSON()
		}
		out = append(out, a)
	}
	return out
}

// lineFormats are the formats of a newline that Quill formats the line before it by.
var lineFormats = map[string]bool{"header": true, "blockquote": true, "list": true, "code-block": true}

// FromText returns a text with Quill's formats as a document: each line is a node.
func FromText(text *crdt.Text) Node {
	doc := Node{Type: "doc"}
	var line []Node
	end := func(formats lib0.Object) {
		doc.Content = addLine(doc.Content, line, formats)
		line = nil
	}
	for _, op := range text.Delta() {
		insert, ok := op.Insert.(string)
		if !ok {
			if embed, ok := op.Insert.(lib0.Object); ok {
				if src, ok := embed.Get("image"); ok {
					line = append(line, Node{Type: "image", Attrs: lib0.Object{{Key: "src", Value: src}}})
				}
			}
			continue
		}
		var inline, block lib0.Object
		for _, a := range op.Attributes {
			if lineFormats[a.Key] {
				block = append(block, a)
			} else {
				inline = append(inline, quillMark(a))
			}
		}
		for {
			before, after, newline := strings.Cut(insert, "\n")
			if before != "" {
				line = append(line, Node{Type: textType, Text: before, Marks: marks(inline)})
			}
			if !newline {
				break
			}
			end(block)
			insert = after
		}
	}
	if line != nil {
		end(nil)
	}
	return doc
}

// quillMark writes a format as a mark's attributes.
func quillMark(a lib0.Member) lib0.Member {
	if a.Key == "link" {
		return lib0.Member{Key: "link", Value: lib0.Object{{Key: "href", Value: a.Value}}}
	}
	if a.Key == "script" {
		switch a.Value {
		case "sub":
			return lib0.Member{Key: "subscript", Value: true}
		case "super":
			return lib0.Member{Key: "superscript", Value: true}
		}
	}
	return a
}

// addLine adds a line to the blocks, into the block before it if that is of the same kind.
func addLine(blocks, line []Node, formats lib0.Object) []Node {
	last := func(kind string) *Node {
		if n := len(blocks); n > 0 && blocks[n-1].Type == kind {
			return &blocks[n-1]
		}
		blocks = append(blocks, Node{Type: kind})
		return &blocks[len(blocks)-1]
	}
	paragraph := Node{Type: "paragraph", Content: line}
	for _, f := range formats {
		switch f.Key {
		case "header":
			return append(blocks, Node{
				Type: "heading", Attrs: lib0.Object{{Key: "level", Value: f.Value}}, Content: line,
			})
		case "blockquote":
			quote := last("blockquote")
			quote.Content = append(quote.Content, paragraph)
			return blocks
		case "code-block":
			code := last("codeBlock")
			if len(code.Content) > 0 {
				code.Content = append(code.Content, Node{Type: textType, Text: "\n"})
			}
			// An empty line counts, too.
			code.Content = append(code.Content, Node{Type: textType, Text: textOf(line)})
			return blocks
		case "list":
			kind, item := "bulletList", Node{Type: "listItem", Content: []Node{paragraph}}
			switch f.Value {
			case "ordered":
				kind = "orderedList"
			case "checked", "unchecked":
				kind, item.Type = "taskList", "taskItem"
				item.Attrs = lib0.Object{{Key: "checked", Value: f.Value == "checked"}}
			}
			list := last(kind)
			list.Content = append(list.Content, item)
			return blocks
		}
	}
	return append(blocks, paragraph)
}

// JSON returns the node as ProseMirror reads it.
func (n Node) JSON() []byte { return n.appendJSON(nil) }

func (n Node) appendJSON(b []byte) []byte {
	b = lib0.AppendJSON(append(b, `{"type":`...), n.Type)
	if len(n.Attrs) > 0 {
		b = lib0.AppendJSON(append(b, `,"attrs":`...), n.Attrs)
	}
	if len(n.Content) > 0 || n.Type == "doc" {
		b = append(b, `,"content":[`...)
		for i, child := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			b = child.appendJSON(b)
		}
		b = append(b, ']')
	}
	if n.Type == textType {
		b = lib0.AppendJSON(append(b, `,"text":`...), n.Text)
		for i, m := range n.Marks {
			if i == 0 {
				b = append(b, `,"marks":[`...)
			} else {
				b = append(b, ',')
			}
			b = lib0.AppendJSON(append(b, `{"type":`...), m.Type)
			if len(m.Attrs) > 0 {
				b = lib0.AppendJSON(append(b, `,"attrs":`...), m.Attrs)
			}
			b = append(b, '}')
		}
		if len(n.Marks) > 0 {
			b = append(b, ']')
		}
	}
	return append(b, '}')
}

// PlainText returns the text of the node, each block on a line of its own.
func (n Node) PlainText() string {
	var out strings.Builder
	atLineStart := true
	write := func(s string) {
		if s != "" {
			out.WriteString(s)
			atLineStart = strings.HasSuffix(s, "\n")
		}
	}
	var visit func(n Node)
	visit = func(n Node) {
		kind := n.kind()
		switch {
		case kind == text:
			write(n.Text)
		case kind == hardBreak:
			write("\n")
		case kind.inline():
			write(n.label())
			for _, child := range n.Content {
				visit(child)
			}
		default:
			if !atLineStart {
				write("\n")
			}
			for _, child := range n.Content {
				visit(child)
			}
			if kind != document && (len(n.Content) == 0 || !atLineStart || n.last().kind().inline()) {
				write("\n")
			}
		}
	}
	visit(n)
	return strings.TrimSuffix(out.String(), "\n")
}

// last is the last node within, which must not be empty.
func (n Node) last() Node { return n.Content[len(n.Content)-1] }
