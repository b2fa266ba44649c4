package reclaim

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheCollectorRunsMoreOftenWhileItIsCheapAndLessOftenWhileItIsDear(t *testing.T) {
	percent := usual
	for range 10 {
		percent = decide(percent, 0)
	}
	if percent != least {
		t.Fatalf("an idle process ends at %d percent", percent)
	}
	for range 10 {
		percent = decide(percent, 2*dear)
	}
	if percent != most {
		t.Fatalf("a busy process ends at %d percent", percent)
	}
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(least, most).Draw(t, "percent")
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		to := decide(from, share)
		if to < least || to > most || share >= cheap && share <= dear && to != from {
			t.Fatalf("%d becomes %d at a share of %.3f", from, to, share)
		}
	})
}

func TestLittleIsNotWorthACollection(t *testing.T) {
	for _, c := range []struct {
		alive, useless uint64
		want           bool
	}{
		{1 << 20, 1 << 20, false}, {1 << 20, 3 << 20, true}, {100 << 20, 20 << 20, false}, {100 << 20, 30 << 20, true},
	} {
		if got := worthwhile(c.alive, c.useless); got != c.want {
			t.Errorf("%d useless beside %d alive: %v", c.useless, c.alive, got)
		}
	}
}

// live is what the test's process holds.
var live [][]byte

func TestAnIdleProcessKeepsLittleGarbage(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); Run(ctx) }()
	defer func() { cancel(); <-ended; live = nil }()
	for range 64 << 10 {
		live = append(live, make([]byte, 1<<10))
	}
	deadline := time.Now().Add(time.Minute)
	for {
		// A little is always allocated.
		_ = make([]byte, 64<<10)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.NextGC < 64<<20*3/2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the next collection comes at %d bytes, with 64 MiB alive", m.NextGC)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
