package render

import (
	"slices"
	"strconv"
	"strings"
)

// maxIndent bounds how deeply blocks within blocks are indented: every line has the indentation of all of them.
const maxIndent = 24

// Markdown returns the node as CommonMark with the tables, task lists and strikethrough of GitHub. All text is escaped:
// whoever renders it sees the same text, and no HTML of the document's authors.
func (n Node) Markdown() string {
	lines := markdownBlocks([]Node{n.arranged()}, 0)
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// markdownBlocks returns the lines of nodes one below the other, with an empty line between them. Parts of lines that
// are among them are paragraphs.
func markdownBlocks(nodes []Node, depth int) []string {
	var out []string
	add := func(lines []string) {
		if len(lines) > 0 && len(out) > 0 {
			out = append(out, "")
		}
		out = append(out, lines...)
	}
	// A list directly after one of its kind has other markers: it would be the same list otherwise.
	var previous kind
	other := false
	for len(nodes) > 0 {
		line := 0
		for line < len(nodes) && nodes[line].kind().inline() {
			line++
		}
		if line > 0 {
			add(markdownParagraph(nodes[:line]))
			nodes, previous = nodes[line:], paragraph
			continue
		}
		kind := nodes[0].kind()
		other = isList(kind) && isList(previous) && (kind == orderedList) == (previous == orderedList) && !other
		lines := markdownBlock(nodes[0], kind, depth, other)
		add(lines)
		if nodes = nodes[1:]; len(lines) > 0 {
			previous = kind
		}
	}
	return out
}

func hasInline(nodes []Node) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.kind().inline() })
}

func isList(k kind) bool { return k == bulletList || k == orderedList || k == taskList }

func markdownParagraph(nodes []Node) []string {
	if s := (inline{}).markdown(nodes); s != "" {
		return strings.Split(s, "\n")
	}
	return nil
}

func markdownBlock(n Node, kind kind, depth int, other bool) []string {
	switch kind {
	case paragraph:
		if hasInline(n.Content) {
			return markdownParagraph(n.Content)
		}
	case heading:
		s := inline{oneLine: true}.markdown(n.Content)
		if before, ok := strings.CutSuffix(s, "#"); ok && s != `\#` {
			s = before + `\#` // It would be taken for the heading's end.
		}
		return []string{strings.TrimRight(strings.Repeat("#", n.level())+" "+s, " ")}
	case blockquote:
		if depth < maxIndent {
			return indented("> ", "> ", markdownBlocks(n.Content, depth+1))
		}
	case codeBlock:
		return markdownCode(n)
	case bulletList, orderedList, taskList:
		return markdownList(n, kind, depth, other)
	case rule:
		// A rule of dashes within a list would end it.
		return []string{"***"}
	case table:
		return markdownTable(n)
	}
	return markdownBlocks(n.Content, depth+1)
}

// indented puts first in front of the first line and rest in front of the others.
func indented(first, rest string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		prefix := rest
		if i == 0 {
			prefix = first
		}
		if line == "" {
			prefix = strings.TrimRight(prefix, " ")
		}
		out[i] = prefix + line
	}
	return out
}

func markdownCode(n Node) []string {
	content := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "").Replace(textOf(n.Content))
	fence := strings.Repeat("`", max(3, longestRun(content, '`')+1))
	lines := append([]string{fence + n.language()}, strings.Split(strings.TrimSuffix(content, "\n"), "\n")...)
	return append(lines, fence)
}

// markdownList leaves out items that show nothing, as it is done with paragraphs.
func markdownList(n Node, kind kind, depth int, other bool) []string {
	start := number(n.Attrs, "start", 0, 999_999, 1)
	bullet, point := "- ", ". "
	if other {
		bullet, point = "+ ", ") "
	}
	var out []string
	for i, item := range n.items() {
		lines := markdownBlocks(item.Content, depth+1)
		if item.kind() == taskItem {
			lines = withBox(lines, item)
		}
		if depth >= maxIndent || len(lines) == 0 {
			out = append(out, lines...)
			continue
		}
		marker := bullet
		if kind == orderedList {
			marker = strconv.Itoa(start+i) + point
		}
		out = append(out, indented(marker, strings.Repeat(" ", len(marker)), lines)...)
	}
	return out
}

// withBox returns the lines of a task with the box that is to be checked, which must be in a paragraph.
func withBox(lines []string, task Node) []string {
	box := "[ ]"
	if truth(task.Attrs, "checked") {
		box = "[x]"
	}
	if len(lines) == 0 {
		return []string{box}
	}
	first := task.Content[:1]
	if first[0].kind() == paragraph && hasInline(first[0].Content) {
		first = first[0].Content
	}
	if hasInline(first) && markdownParagraph(first) != nil {
		return append([]string{box + " " + lines[0]}, lines[1:]...)
	}
	return append([]string{box, ""}, lines...)
}

// markdownTable writes a table of GitHub's, which has a head always and one line for each row.
func markdownTable(n Node) []string {
	rows := n.rows()
	columns := 1
	for _, row := range rows {
		columns = max(columns, len(row))
	}
	if len(rows) == 0 {
		return nil
	}
	var out []string
	for i, row := range rows {
		var line strings.Builder
		for _, cell := range row {
			line.WriteString("| " + inline{oneLine: true, inTable: true}.markdown(flat(cell.Content)) + " ")
		}
		if i == 0 {
			// Only the columns of the head are shown; rows may be shorter.
			line.WriteString(strings.Repeat("|  ", columns-len(row)))
		} else if len(row) == 0 {
			line.WriteString("|  ")
		}
		out = append(out, line.String()+"|")
		if i == 0 {
			out = append(out, strings.Repeat("| --- ", columns)+"|")
		}
	}
	return out
}

// flat returns the parts of lines within blocks, with a space between two blocks.
func flat(nodes []Node) []Node {
	var out []Node
	for i, n := range nodes {
		if n.kind().inline() {
			out = append(out, n)
			continue
		}
		if i > 0 {
			out = append(out, Node{Type: textType, Text: " "})
		}
		out = append(out, flat(n.Content)...)
	}
	return out
}
