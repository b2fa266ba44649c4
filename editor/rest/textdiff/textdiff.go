// Package textdiff finds a small difference between two texts: what has to be deleted and inserted where to turn one
// into the other. It works line by line first and then within what has changed, so that the difference is small and
// makes sense to people, and it is bounded in time and memory for texts that have nothing in common.
//
// It knows nothing of documents. Positions count runes, but those of Edits.
package textdiff

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

const (
	// maxEdits bounds the search: where two sequences differ in more places, everything between the first and the last
	// difference is one change. The search takes four times maxEdits² bytes at most.
	maxEdits = 1000
	// maxSteps bounds the comparisons of all searches for one difference, to some 50 ms; what is left is one change.
	maxSteps = 20_000_000
)

// Change says that a[From:To] of the old sequence was replaced by b[ByFrom:ByTo] of the new one. One of both can be empty.
type Change struct{ From, To, ByFrom, ByTo int }

// Slices returns the changes that turn a into b, in order, with something unchanged between any two.
func Slices[T comparable](a, b []T) []Change {
	steps := maxSteps
	return shifted(a, b, 0, 0, nil, &steps)
}

// Runes returns the changes that turn the text a into b.
func Runes(a, b []rune) []Change {
	steps := maxSteps
	return runes(a, b, &steps)
}

func runes(a, b []rune, steps *int) []Change {
	linesA, linesB := number(a, b)
	if len(linesA.ids) == 1 && len(linesB.ids) == 1 {
		return shifted(a, b, 0, 0, nil, steps)
	}
	var out []Change
	for _, c := range shifted(linesA.ids, linesB.ids, 0, 0, nil, steps) {
		fromA, toA := linesA.at[c.From], linesA.at[c.To]
		fromB, toB := linesB.at[c.ByFrom], linesB.at[c.ByTo]
		out = shifted(a[fromA:toA], b[fromB:toB], fromA, fromB, out, steps)
	}
	return out
}

// Edit replaces a part of a text that is being edited.
type Edit struct {
	// At is where, and Delete how much, both in UTF-16 code units, as Yjs counts, after the edits before this one.
	At, Delete int
	// Insert is what comes there instead.
	Insert string
}

// Edits returns the edits that turn the text a into b, one after the other.
func Edits(a, b string) []Edit {
	runesA, runesB := []rune(a), []rune(b)
	var out []Edit
	at, seen := 0, 0 // The same place in the new text and in the old one.
	for _, c := range Runes(runesA, runesB) {
		insert := runesB[c.ByFrom:c.ByTo]
		at += utf16Len(runesA[seen:c.From])
		out = append(out, Edit{At: at, Delete: utf16Len(runesA[c.From:c.To]), Insert: string(insert)})
		at += utf16Len(insert)
		seen = c.To
	}
	return out
}

func utf16Len(text []rune) (n int) {
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// Lines returns the changes that turn the text a into b by whole lines, and the lines.
func Lines(a, b string) (changes []Change, linesA, linesB []string) {
	linesA, linesB = strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
	return Slices(linesA, linesB), linesA, linesB
}

// lines are the lines of a text as numbers, equal for equal lines, and where they begin. at has one more, the end.
type lines struct {
	ids []int
	at  []int
}

// number splits texts after each newline.
func number(a, b []rune) (lines, lines) {
	known := map[string]int{}
	split := func(text []rune) (l lines) {
		for start := 0; ; {
			end := slices.Index(text[start:], '\n') + 1
			last := end == 0
			if end += start; last {
				end = len(text)
			}
			line := string(text[start:end])
			id, ok := known[line]
			if !ok {
				id = len(known)
				known[line] = id
			}
			l.ids, l.at = append(l.ids, id), append(l.at, start)
			if last {
				l.at = append(l.at, len(text))
				return l
			}
			start = end
		}
	}
	return split(a), split(b)
}

// shifted appends the changes between two parts that begin at these positions, and takes what it does off the steps.
func shifted[T comparable](a, b []T, atA, atB int, out []Change, steps *int) []Change {
	prefix := 0
	for prefix < len(a) && prefix < len(b) && a[prefix] == b[prefix] {
		prefix++
	}
	endA, endB := len(a), len(b)
	for endA > prefix && endB > prefix && a[endA-1] == b[endB-1] {
		endA, endB = endA-1, endB-1
	}
	add := func(from, to, byFrom, byTo int) {
		from, to, byFrom, byTo = from+atA, to+atA, byFrom+atB, byTo+atB
		if n := len(out); n > 0 && out[n-1].To == from && out[n-1].ByTo == byFrom {
			out[n-1].To, out[n-1].ByTo = to, byTo
			return
		}
		out = append(out, Change{from, to, byFrom, byTo})
	}
	switch {
	case prefix == endA && prefix == endB:
	case prefix == endA || prefix == endB:
		add(prefix, endA, prefix, endB)
	default:
		for _, step := range myers(a[prefix:endA], b[prefix:endB], steps) {
			add(step.From+prefix, step.To+prefix, step.ByFrom+prefix, step.ByTo+prefix)
		}
	}
	return out
}

// myers returns the insertions and deletions of a shortest edit script, one element each, or one change for everything
// when there are more than maxEdits or no more steps: E. Myers, An O(ND) Difference Algorithm and Its Variations, 1986.
func myers[T comparable](a, b []T, steps *int) []Change {
	n, m := len(a), len(b)
	limit := min(n+m, maxEdits)
	// best[k+limit+1] is how far along a the paths on diagonal k reach; trace keeps it for each number of edits.
	best := make([]int32, 2*limit+3)
	var trace [][]int32
	for d := 0; d <= limit; d++ {
		for k := -d; k <= d; k += 2 {
			if *steps <= 0 {
				return []Change{{0, n, 0, m}}
			}
			at := k + limit + 1
			x := int(best[at-1]) + 1
			if k == -d || k != d && best[at-1] < best[at+1] {
				x = int(best[at+1])
			}
			y := x - k
			from := x
			for x < n && y < m && y >= 0 && a[x] == b[y] {
				x, y = x+1, y+1
			}
			*steps -= x - from + 1
			best[at] = int32(x) //nolint:gosec // Bounded by the length of texts in memory.
			if x >= n && y >= m {
				return walkBack(trace, n, m, d)
			}
		}
		// Only what this number of edits has reached.
		trace = append(trace, slices.Clone(best[limit+1-d:limit+2+d]))
	}
	return []Change{{0, n, 0, m}}
}

// walkBack follows the path from the end to the beginning.
func walkBack(trace [][]int32, x, y, edits int) []Change {
	out := make([]Change, 0, edits)
	for d := edits; d > 0; d-- {
		row := trace[d-1] // Its diagonals are 1-d … d-1.
		reach := func(k int) int {
			if k < 1-d || k > d-1 {
				return -1
			}
			return int(row[k+d-1])
		}
		k := x - y
		if k == -d || k != d && reach(k-1) < reach(k+1) {
			from := reach(k + 1)
			at := from - (k + 1)
			out = append(out, Change{from, from, at, at + 1})
			x, y = from, at
		} else {
			from := reach(k - 1)
			at := from - (k - 1)
			out = append(out, Change{from, from + 1, at, at})
			x, y = from, at
		}
	}
	slices.Reverse(out)
	return out
}

// Unified returns the difference of two texts as diff -u writes it, with three lines of context, empty if there is none.
func Unified(nameA, nameB, a, b string) string {
	const context = 3
	changes, linesA, linesB := Lines(a, b)
	if len(changes) == 0 {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", nameA, nameB)
	write := func(sign byte, line string, last bool) {
		if last && line == "" {
			return // What is after the last newline.
		}
		out.WriteByte(sign)
		out.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].From-changes[n-1].To <= 2*context {
			n++
		}
		first, last := changes[0], changes[n-1]
		before := min(context, first.From)
		after := min(context, len(linesA)-last.To)
		fmt.Fprintf(&out, "@@ -%s +%s @@\n",
			span(linesA, first.From-before, last.To+after), span(linesB, first.ByFrom-before, last.ByTo+after))
		at := first.From - before
		for _, c := range changes[:n] {
			for ; at < c.From; at++ {
				write(' ', linesA[at], at == len(linesA)-1)
			}
			for ; at < c.To; at++ {
				write('-', linesA[at], at == len(linesA)-1)
			}
			for i := c.ByFrom; i < c.ByTo; i++ {
				write('+', linesB[i], i == len(linesB)-1)
			}
		}
		for ; at < last.To+after; at++ {
			write(' ', linesA[at], at == len(linesA)-1)
		}
		changes = changes[n:]
	}
	return out.String()
}

// span writes a range of lines as a hunk's head has it.
func span(lines []string, from, to int) string {
	if to == len(lines) && to > from && lines[to-1] == "" {
		to--
	}
	if to == from {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, to-from)
}
