package textdiff

import (
	"slices"
	"strings"
	"testing"
)

func TestTheSearchesOfOneDifferenceShareTheirSteps(t *testing.T) {
	same := "the same\n"
	a := []rune(strings.Repeat(strings.Repeat("a", 600)+"\n"+same, 450))
	b := []rune(strings.Repeat(strings.Repeat("b", 600)+"\n"+same, 450))
	steps := maxSteps
	changes := runes(a, b, &steps)
	if steps > 0 {
		t.Errorf("%d steps are left: this is not the worst", steps)
	}
	if steps < -len(a) {
		t.Errorf("%d steps too many", -steps)
	}
	// What was not searched is replaced line by line.
	if want := (Change{0, 600, 0, 600}); len(changes) != 450 || changes[0] != want {
		t.Errorf("%d changes, %v first", len(changes), changes[0])
	}
	steps = 0
	if changes := runes([]rune("abc"), []rune("axbyc"), &steps); !slices.Equal(changes, []Change{{1, 2, 1, 4}}) {
		t.Errorf("without steps: %v", changes)
	}
}
