package sharding

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestVerdict(t *testing.T) {
	type probe struct {
		after   time.Duration // since the one before
		outcome answer
	}
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		probes []probe
		want   answer
	}{
		"not probed":                       {nil, answered},
		"one refusal":                      {[]probe{{0, answered}, {250 * ms, refused}}, answered},
		"two refusals":                     {[]probe{{0, answered}, {250 * ms, refused}, {50 * ms, refused}}, refused},
		"an answer between refusals":       {[]probe{{0, refused}, {50 * ms, answered}, {250 * ms, refused}}, answered},
		"silence between refusals":         {[]probe{{0, refused}, {50 * ms, silent}, {500 * ms, refused}}, answered},
		"short silence":                    {[]probe{{0, answered}, {750 * ms, silent}, {750 * ms, silent}}, answered},
		"long silence":                     {[]probe{{0, answered}, {750 * ms, silent}, {500 * ms, silent}, {500 * ms, silent}}, silent},
		"silent from the start":            {[]probe{{0, silent}, {1000 * ms, silent}}, silent},
		"an answer in the silence":         {[]probe{{0, silent}, {750 * ms, answered}, {750 * ms, silent}}, answered},
		"silence and then refusals":        {[]probe{{0, silent}, {1000 * ms, silent}, {250 * ms, refused}, {50 * ms, refused}}, refused},
		"an answer after death":            {[]probe{{0, refused}, {50 * ms, refused}, {250 * ms, answered}}, refused},
		"answers for a while after death":  {[]probe{{0, refused}, {50 * ms, refused}, {250 * ms, answered}, {2000 * ms, answered}}, answered},
		"a stumble on the way to recovery": {[]probe{{0, refused}, {50 * ms, refused}, {250 * ms, answered}, {250 * ms, silent}, {1750 * ms, answered}}, refused},
	} {
		t.Run(name, func(t *testing.T) {
			var h health
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for _, p := range test.probes {
				now = now.Add(p.after)
				before := h.verdict
				if changed := h.observe(p.outcome, now); changed != (h.verdict != before) {
					t.Fatalf("it says changed=%v, the verdict went from %v to %v", changed, before, h.verdict)
				}
			}
			if h.verdict != test.want {
				t.Errorf("the verdict is %v, want %v", h.verdict, test.want)
			}
		})
	}
}

func TestAPodThatAnswersOftenEnoughIsNeverFoundDead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h health
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for range rapid.IntRange(1, 50).Draw(t, "rounds") {
			h.observe(answered, now)
			for range rapid.IntRange(0, 2).Draw(t, "silent probes") {
				now = now.Add(499 * time.Millisecond)
				h.observe(silent, now)
			}
			now = now.Add(250 * time.Millisecond)
			if h.verdict != answered {
				t.Fatalf("found dead: %v", h.verdict)
			}
		}
	})
}

func TestSilenceOfMostPodsIsNotBelieved(t *testing.T) {
	for _, test := range []struct {
		pods, silent int
		want         bool
	}{{1, 1, true}, {2, 2, true}, {3, 1, true}, {3, 2, false}, {4, 2, true}, {4, 3, false}, {10, 10, false}} {
		if got := believable(test.pods, test.silent); got != test.want {
			t.Errorf("%d of %d pods silent: believable is %v", test.silent, test.pods, got)
		}
	}
}
