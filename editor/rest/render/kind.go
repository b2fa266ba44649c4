package render

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"collab.dev/operator/editor/crdt/lib0"
)

// kind is what a type of node means here.
type kind uint8

const (
	// unknown nodes are blocks that show what is within.
	unknown kind = iota
	document
	paragraph
	heading
	blockquote
	codeBlock
	bulletList
	orderedList
	listItem
	taskList
	taskItem
	rule
	table
	tableRow
	tableCell
	tableHeader
	// From here on nodes are parts of a line.
	text
	hardBreak
	image
	mention
)

// kinds are the names of nodes in the schemas of Tiptap, ProseMirror, BlockNote and the like, without underscores and in
// lower case.
var kinds = map[string]kind{
	"doc": document, "paragraph": paragraph, "heading": heading, "blockquote": blockquote, "codeblock": codeBlock,
	"bulletlist": bulletList, "orderedlist": orderedList, "listitem": listItem, "tasklist": taskList,
	"taskitem": taskItem, "horizontalrule": rule, "table": table, "tablerow": tableRow, "tablecell": tableCell,
	"tableheader": tableHeader, "hardbreak": hardBreak, "image": image, "mention": mention,
}

func (n Node) kind() kind {
	if n.Type == textType {
		return text
	}
	k := kinds[plainName(n.Type)]
	if len(n.Content) > 0 && (k == rule || k == hardBreak || k == image) {
		return unknown // It is something else in that schema.
	}
	return k
}

func plainName(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func (k kind) inline() bool { return k >= text }

// label is what stands for a node without content.
func (n Node) label() string {
	if n.kind() == mention {
		for _, key := range []string{"label", "id", "name"} {
			if s := str(n.Attrs, key); s != "" {
				return "@" + s
			}
		}
	}
	return ""
}

// format is what a type of mark means here.
type format uint8

const (
	noFormat format = iota
	strong
	emphasis
	underline
	strike
	code
	link
	subscript
	superscript
	highlight
)

// formats are the names of marks in those schemas and in Quill's, likewise.
var formats = map[string]format{
	"bold": strong, "strong": strong, "italic": emphasis, "em": emphasis, "underline": underline, "strike": strike,
	"strikethrough": strike, "code": code, "link": link, "subscript": subscript, "superscript": superscript,
	"highlight": highlight,
}

// formatOf is what a mark means here. A link that leads nowhere is none.
func (m Mark) format() format {
	f := formats[plainName(m.Type)]
	if f == link && m.href() == "" {
		return noFormat
	}
	return f
}

func (m Mark) href() string { return safeURL(str(m.Attrs, "href"), linkSchemes) }

func (n Node) src() string {
	src := str(n.Attrs, "src")
	if imageData.MatchString(src) {
		return src
	}
	return safeURL(src, imageSchemes)
}

// imageData are images within documents.
var imageData = regexp.MustCompile(`^data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}$`)

var (
	linkSchemes  = []string{"http", "https", "mailto", "tel"}
	imageSchemes = []string{"http", "https"}
)

// safeURL returns the address if it is relative or of one of the schemes, and nothing otherwise. Browsers skip control
// characters where they look for the scheme, so that addresses with any are none.
func safeURL(address string, schemes []string) string {
	address = strings.ReplaceAll(strings.Trim(address, " "), " ", "%20")
	for _, r := range address {
		if unicode.IsControl(r) || r == '\\' {
			return ""
		}
	}
	scheme, _, ok := strings.Cut(address, ":")
	if !ok || strings.ContainsAny(scheme, "/?#") {
		return address
	}
	for _, s := range schemes {
		if strings.EqualFold(scheme, s) {
			return address
		}
	}
	return ""
}

// str is an attribute that is a string, empty if it is none.
func str(attrs lib0.Object, key string) string {
	v, _ := attrs.Get(key)
	s, _ := v.(string)
	return s
}

// number is an attribute that is a whole number from low to high, and otherwise the one given. Elements made by older
// editors have numbers as strings.
func number(attrs lib0.Object, key string, low, high, otherwise int) int {
	v, _ := attrs.Get(key)
	f, ok := v.(float64)
	if s, is := v.(string); is && s != "" {
		parsed, err := lib0.ParseJSON([]byte(s))
		if err == nil {
			f, ok = parsed.(float64)
		}
	}
	if !ok || !(f >= float64(low) && f <= float64(high)) || f != float64(int(f)) {
		return otherwise
	}
	return int(f)
}

// truth is an attribute that is true.
func truth(attrs lib0.Object, key string) bool {
	v, _ := attrs.Get(key)
	return v == true || v == "true"
}

// language is the language of a code block if it is a harmless word.
func (n Node) language() string {
	s := str(n.Attrs, "language")
	for i := range len(s) {
		if !isWord(s[i]) && strings.IndexByte("+-#._", s[i]) < 0 {
			return ""
		}
	}
	return s
}

// textOf is the text of nodes without their formatting.
func textOf(nodes []Node) string {
	var out strings.Builder
	var visit func([]Node)
	visit = func(nodes []Node) {
		for _, n := range nodes {
			out.WriteString(n.Text)
			if n.kind() == hardBreak {
				out.WriteByte('\n')
			}
			visit(n.Content)
		}
	}
	visit(nodes)
	return out.String()
}

// marked returns a text's formats and where it leads.
func (n Node) marked() (on [highlight + 1]bool, href string) {
	for _, m := range n.Marks {
		f := m.format()
		on[f] = true
		if f == link {
			href = m.href()
		}
	}
	on[noFormat] = false
	return on, href
}

// level is that of a heading.
func (n Node) level() int { return number(n.Attrs, "level", 1, 6, 1) }

// span is how many columns or rows a table's cell takes, empty for one.
func (n Node) span(name string) string {
	if v := number(n.Attrs, name, 2, 1000, 1); v > 1 {
		return strconv.Itoa(v)
	}
	return ""
}

// items are the items of a list. What is no item becomes one.
func (n Node) items() []Node {
	items := make([]Node, len(n.Content))
	for i, child := range n.Content {
		items[i] = child
		if kind := child.kind(); kind != listItem && kind != taskItem {
			items[i] = Node{Content: []Node{child}}
		}
	}
	return items
}

// rows are the rows of a table, with their cells. What is neither where it should be becomes one.
func (n Node) rows() [][]Node {
	rows := make([][]Node, len(n.Content))
	for i, row := range n.Content {
		cells := []Node{row}
		if row.kind() == tableRow {
			cells = row.Content
		}
		for _, cell := range cells {
			if kind := cell.kind(); kind != tableCell && kind != tableHeader {
				cell = Node{Content: []Node{cell}}
			}
			rows[i] = append(rows[i], cell)
		}
	}
	return rows
}
