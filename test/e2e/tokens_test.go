//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// await calls the condition until it holds. Its error says what is still missing.
func await(t *testing.T, limit time.Duration, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", limit, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("the test ends: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tokens says how many tokens were typed under each tag.
type tokens map[string]int

// check finds every token exactly once in the text, and nothing else.
func (want tokens) check(text string) error {
	found := map[string]int{}
	for token := range strings.SplitAfterSeq(text, ";") {
		if token != "" {
			found[token]++
		}
	}
	var problems []error
	for tag, count := range want {
		for n := range count {
			token := fmt.Sprintf("%s-%d;", tag, n)
			if times := found[token]; times != 1 {
				problems = append(problems, fmt.Errorf("%s is there %d times", token, times))
			}
			delete(found, token)
		}
	}
	for token := range found {
		problems = append(problems, fmt.Errorf("nobody typed %q", token))
	}
	if len(problems) > 8 {
		problems = append(problems[:8], fmt.Errorf("and %d more", len(problems)-8))
	}
	return errors.Join(problems...)
}
