package shard

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/document"
)

func TestDocumentsThatAreUsedStayOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		since := time.Unix(1000, 0)
		open := rapid.SliceOf(rapid.Custom(func(t *rapid.T) candidate {
			return candidate{use: document.Use{
				Bytes:    rapid.IntRange(1, 100).Draw(t, "bytes"),
				Attended: rapid.Bool().Draw(t, "attended"),
				Last:     time.Unix(int64(rapid.IntRange(900, 1100).Draw(t, "last")), 0),
			}}
		})).Draw(t, "open")
		budget := rapid.IntRange(0, 1000).Draw(t, "budget")
		idle, evicted := unused(open, budget, since)

		left, youngest := 0, time.Time{}
		for _, c := range open {
			left += c.use.Bytes
		}
		for _, c := range idle {
			if c.use.Attended || !c.use.Last.Before(since) {
				t.Fatalf("%+v is not idle", c.use)
			}
			left -= c.use.Bytes
		}
		freed := 0
		for _, c := range evicted {
			if c.use.Attended {
				t.Fatal("an attended document was evicted")
			}
			if freed = c.use.Bytes; left <= budget || budget == 0 {
				t.Fatal("evicted without need")
			}
			left -= freed
			youngest = c.use.Last
		}
		for _, c := range open {
			unattended := !c.use.Attended && !c.use.Last.Before(since)
			if unattended && budget > 0 && left > budget && len(evicted) == 0 {
				t.Fatal("nothing was evicted although the budget is exceeded")
			}
			if unattended && len(evicted) > 0 && left > budget && c.use.Last.After(youngest) {
				t.Fatal("a younger document stays although the budget is exceeded")
			}
		}
	})
}
