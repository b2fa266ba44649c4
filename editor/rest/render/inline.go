package render

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// inline writes the parts of a line as Markdown.
type inline struct {
	// oneLine has line breaks be spaces.
	oneLine bool
	// inTable escapes what would end a cell.
	inTable bool
}

// span is a text of one format, or some Markdown.
type span struct {
	text string
	// raw says that the text is Markdown already.
	raw                            bool
	code, strong, emphasis, strike bool
	href                           string
}

// blank says that a span is white space.
func (s span) blank() bool { return !s.raw && !s.code && strings.TrimFunc(s.text, isSpace) == "" }

// as returns a span of the same format with another text.
func (s span) as(text string) span {
	s.text = text
	return s
}

// sign is what begins and ends a format.
type sign struct{ begin, end string }

// signs are those around a span, from the outside in. Formats have different signs, and those that go on from one span
// to the next are written once, so that no sign can be taken for the end of another format.
func (s span) signs() []sign {
	var out []sign
	if s.href != "" {
		out = append(out, sign{"[", "](" + address(s.href) + ")"})
	}
	if s.strong {
		out = append(out, sign{"**", "**"})
	}
	if s.emphasis {
		out = append(out, sign{"_", "_"})
	}
	if s.strike {
		out = append(out, sign{"~~", "~~"})
	}
	return out
}

// markdown returns the nodes' Markdown, on one line if it has to be, without white space around it.
func (w inline) markdown(nodes []Node) string {
	var shown spans
	w.collect(nodes, &shown)
	shown.end()
	s := w.join(split(shown.done))
	for {
		// A break at the end of a paragraph is none.
		before, ok := strings.CutSuffix(strings.TrimRight(s, " "), "\\\n")
		if !ok {
			s = strings.TrimRight(s, " ")
			break
		}
		s = before
	}
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = lineStart(strings.TrimLeft(line, " "))
	}
	return strings.Join(lines, "\n")
}

// spans are what nodes show, one span for neighbours of the same format.
type spans struct {
	done []span
	// last is the one that is being collected, and text what it has.
	last span
	text []byte
}

func (c *spans) add(s span) {
	if s.text == "" {
		return
	}
	if s.raw || s.as("") != c.last {
		c.end()
		c.last = s.as("")
	}
	c.text = append(c.text, s.text...)
}

func (c *spans) end() {
	if len(c.text) > 0 {
		c.done, c.text = append(c.done, c.last.as(string(c.text))), c.text[:0]
	}
}

// collect adds what the nodes show.
func (w inline) collect(nodes []Node, out *spans) {
	for _, n := range nodes {
		switch n.kind() {
		case text:
			on, href := n.marked()
			out.add(span{
				text: oneLine(n.Text), code: on[code], href: href,
				strong: on[strong], emphasis: on[emphasis], strike: on[strike],
			})
		case hardBreak:
			if w.oneLine {
				out.add(span{text: " "})
			} else {
				out.add(span{text: "\\\n", raw: true})
			}
		case image:
			alt := oneLine(str(n.Attrs, "alt"))
			if src := n.src(); src != "" {
				out.add(span{text: "![" + w.escape(alt) + "](" + address(src) + ")", raw: true})
			} else {
				out.add(span{text: alt})
			}
		default:
			out.add(span{text: oneLine(n.label())})
			w.collect(n.Content, out)
		}
	}
}

// split puts the white space around formatted texts outside of them, where Markdown wants it.
func split(spans []span) []span {
	out := make([]span, 0, len(spans))
	for _, s := range spans {
		body := strings.TrimFunc(s.text, isSpace)
		if s.raw || body == s.text || !s.code && len(s.signs()) == 0 {
			out = append(out, s)
			continue
		}
		if body == "" {
			out = append(out, span{text: s.text})
			continue
		}
		before, after, _ := strings.Cut(s.text, body)
		s.text = body
		for _, part := range []span{{text: before}, s, {text: after}} {
			if part.text != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// join writes the spans and the signs of their formats. What is open stays open as long as it is wanted.
func (w inline) join(spans []span) string {
	var out strings.Builder
	last := "" // What comes next: a sign, or the text of a span.
	write := func(next string) {
		out.WriteString(last)
		last = next
	}
	var open []sign
	for i, s := range append(spans, span{}) {
		wanted := s.signs()
		if s.blank() && i+1 < len(spans) {
			wanted = spans[i+1].signs() // White space begins nothing, and ends no more than it must.
		}
		common := 0
		for common < len(open) && common < len(wanted) && open[common] == wanted[common] {
			common++
		}
		if s.blank() {
			wanted = wanted[:common]
		}
		begins, ends := wanted[common:], open[common:]
		text := s.text
		switch {
		case s.raw:
		case s.code:
			text = w.codeSpan(text)
		default:
			text = w.escape(text)
		}
		inner := last
		if len(ends) > 1 {
			inner = ends[1].end
		}
		for _, sign := range slices.Backward(ends) {
			write(sign.end)
		}
		switch {
		case len(begins) > 0 && len(ends) == 0:
			inner := text
			if len(begins) > 1 {
				inner = begins[1].begin
			}
			if r, _ := utf8.DecodeRuneInString(inner); begins[0].needsEdge(r) {
				last = withEdge(last, false)
			}
		case len(begins) == 0 && len(ends) > 0:
			if r, _ := utf8.DecodeLastRuneInString(inner); ends[0].needsEdge(r) {
				text = withEdge(text, true)
			}
		}
		for _, sign := range begins {
			write(sign.begin)
		}
		write(text)
		open = wanted
	}
	return out.String() + last
}

// needsEdge says whether there must be punctuation or white space outside of a sign for Markdown to see it as one, for
// what is on its inner side.
func (g sign) needsEdge(inner rune) bool {
	return g.begin == "_" || g.begin != "[" && !unicode.IsLetter(inner) && !unicode.IsDigit(inner)
}

// withEdge writes the first or last character of Markdown as an entity, which begins and ends with punctuation, unless
// it is punctuation or white space.
func withEdge(s string, first bool) string {
	if s == "" {
		return s
	}
	r, size := utf8.DecodeRuneInString(s)
	before, after := "", s[size:]
	if !first {
		r, size = utf8.DecodeLastRuneInString(s)
		before, after = s[:len(s)-size], ""
	}
	if r < utf8.RuneSelf && !isWord(byte(r)) {
		return s
	}
	return before + entity(r) + after
}

func entity(r rune) string { return "&#" + strconv.Itoa(int(r)) + ";" }

// isSpace says whether CommonMark may take a character for white space.
func isSpace(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Z, r) }

// oneLine replaces what would end a line by spaces, and removes control characters, which Markdown has no way to write.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
}

// codeSpan writes code between more backticks than are within.
func (w inline) codeSpan(code string) string {
	ticks := strings.Repeat("`", longestRun(code, '`')+1)
	pad := ""
	if strings.HasPrefix(code, "`") || strings.HasSuffix(code, "`") {
		pad = " "
	}
	if w.inTable {
		code = strings.ReplaceAll(code, "|", `\|`)
	}
	return ticks + pad + code + pad + ticks
}

// escape writes text so that Markdown sees nothing but text in it. Where lines begin, lineStart does the rest.
func (w inline) escape(s string) string {
	var out strings.Builder
	for i, r := range s {
		before, after := byte(' '), byte(' ')
		if i > 0 {
			before = s[i-1]
		}
		rest := s[i+utf8.RuneLen(r):]
		if rest != "" {
			after = rest[0]
		}
		switch {
		case r == ':' && (strings.HasPrefix(rest, "//") || endsWith(s[:i], "mailto") || endsWith(s[:i], "xmpp")),
			r == '@' && (i == 0 || before != ' '),
			r == '.' && endsWith(s[:i], "www"):
			// GitHub makes links of what looks like an address, and sees no escapes within.
			out.WriteString(entity(r))
		case r == '~' && (i == 0 || rest == ""), r == '\\' && rest == "":
			// Some look at what is before a sign or a line's end without regard to escapes.
			out.WriteString(entity(r))
		case strings.ContainsRune("\\`*[]<~$", r),
			r == '_' && (!isWord(before) || !isWord(after)),
			r == '&' && (isWord(after) || after == '#'),
			r == '!' && rest == "", // A link may follow.
			r == '|' && w.inTable:
			out.WriteByte('\\')
			out.WriteRune(r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// endsWith says whether a text ends with a word in any case.
func endsWith(s, word string) bool {
	return len(s) >= len(word) && strings.EqualFold(s[len(s)-len(word):], word)
}

func isWord(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// lineStart escapes what would make a line a heading, a quotation, a list, a rule, code or a part of a table.
func lineStart(s string) string {
	if s != "" && strings.ContainsRune("#+-=>|", rune(s[0])) || strings.HasPrefix(s, ":-") {
		return `\` + s
	}
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	if digits > 0 && digits < len(s) && (s[digits] == '.' || s[digits] == ')') {
		return s[:digits] + `\` + s[digits:]
	}
	return s
}

// address writes a URL between angle brackets.
func address(url string) string {
	return "<" + strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C", "&", "&amp;").Replace(url) + ">"
}

// longestRun is the length of the longest run of a byte.
func longestRun(s string, b byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] == b {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	return longest
}
