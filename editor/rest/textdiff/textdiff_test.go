package textdiff_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/rest/textdiff"
)

// apply makes the changes.
func apply[T any](a, b []T, changes []textdiff.Change) []T {
	var out []T
	at := 0
	for _, c := range changes {
		out = append(out, a[at:c.From]...)
		out = append(out, b[c.ByFrom:c.ByTo]...)
		at = c.To
	}
	return append(out, a[at:]...)
}

// check says what is wrong with a difference.
func check(t interface{ Fatalf(string, ...any) }, a, b []rune, changes []textdiff.Change) {
	if got := apply(a, b, changes); !slices.Equal(got, b) {
		t.Fatalf("%q to %q by %v gives %q", string(a), string(b), changes, string(got))
	}
	for i, c := range changes {
		if c.From == c.To && c.ByFrom == c.ByTo || i > 0 && c.From <= changes[i-1].To {
			t.Fatalf("%q to %q: the changes %v are not separate", string(a), string(b), changes)
		}
	}
}

// edited is the number of deleted and inserted runes.
func edited(changes []textdiff.Change) (n int) {
	for _, c := range changes {
		n += c.To - c.From + c.ByTo - c.ByFrom
	}
	return n
}

// shortest is the length of a shortest edit script, by dynamic programming.
func shortest(a, b []rune) int {
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal
			} else {
				row[j+1] = min(above, row[j]) + 1
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

func TestChangesTurnOneTextIntoTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab\n😀")), 0, 60, -1)
		a, b := []rune(text.Draw(t, "a")), []rune(text.Draw(t, "b"))
		check(t, a, b, textdiff.Runes(a, b))
		changes := textdiff.Slices(a, b)
		check(t, a, b, changes)
		if got, want := edited(changes), shortest(a, b); got != want {
			t.Fatalf("%q to %q: %d edits by %v, the least are %d", string(a), string(b), got, changes, want)
		}
	})
}

func TestASmallChangeOfALongTextIsSmall(t *testing.T) {
	line := "The quick brown fox jumps over the lazy dog.\n"
	a := []rune(strings.Repeat(line, 5000))
	b := []rune(strings.Repeat(line, 1000) + "The slow brown fox sleeps.\n" + strings.Repeat(line, 3999))
	changes := textdiff.Runes(a, b)
	check(t, a, b, changes)
	if n := edited(changes); n > 60 {
		t.Errorf("%d runes are edited", n)
	}
}

func TestTextsWithNothingInCommonAreReplacedInBoundedTime(t *testing.T) {
	a := []rune(strings.Repeat("a", 200_000))
	b := []rune(strings.Repeat("b", 200_000))
	check(t, a, b, textdiff.Runes(a, b))
	a, b = []rune(strings.Repeat("a\n", 100_000)), []rune(strings.Repeat("b\n", 100_000))
	check(t, a, b, textdiff.Runes(a, b))
}

func TestEditsOneAfterTheOtherAreThoseOfADocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab\n😀é")), 0, 60, -1)
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		doc := crdt.NewDoc(crdt.Options{}).Text("")
		if err := doc.Insert(0, a); err != nil {
			t.Fatal(err)
		}
		for _, e := range textdiff.Edits(a, b) {
			if err := errors.Join(doc.Delete(e.At, e.Delete), doc.Insert(e.At, e.Insert)); err != nil {
				t.Fatal(err)
			}
		}
		if got := doc.String(); got != b {
			t.Fatalf("%q to %q gives %q", a, b, got)
		}
	})
}

func TestUnifiedDifferencesAreThoseOfPatch(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("patch is not installed")
	}
	text := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c\n", "d\n", "\n"}), 0, 40),
		func(parts []string) string { return strings.Join(parts, "") })
	dir := t.TempDir()
	for i := range 60 {
		a, b := text.Example(i), text.Example(i+1000)
		diff := textdiff.Unified("a", "b", a, b)
		if (diff == "") != (a == b) {
			t.Fatalf("%q to %q: %q", a, b, diff)
		}
		if diff == "" || a == "" || b == "" {
			continue // patch makes and removes files then.
		}
		file := filepath.Join(dir, "file")
		if err := os.WriteFile(file, []byte(a), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.Command(patch, "--quiet", file)
		command.Stdin = strings.NewReader(diff)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%q to %q: %v: %s\n%s", a, b, err, out, diff)
		}
		if got, _ := os.ReadFile(file); string(got) != b {
			t.Fatalf("%q to %q gives %q by\n%s", a, b, got, diff)
		}
	}
}

func FuzzRunes(f *testing.F) {
	f.Add("", "")
	f.Add("one\ntwo\nthree", "one\n2\nthree\n")
	f.Add("a😀b", "a😁b")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 4096 {
			t.Skip()
		}
		ra, rb := []rune(a), []rune(b)
		check(t, ra, rb, textdiff.Runes(ra, rb))
		_ = textdiff.Unified("a", "b", a, b)
	})
}
