// Package reclaim trades memory for processor time as a process has them: it lets Go's garbage collector run more often
// while that costs nearly nothing, so that thousands of idle connections do not take twice what they need, and less often
// while the processor is busy.
//
// It knows nothing of what the process does. The bound of memory stays what GOMEMLIMIT says.
package reclaim

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// interval is the time between two decisions.
	interval = time.Second
	// least and most bound the garbage that is let lie, in percent of what is alive: GOGC.
	least, usual, most = 25, 100, 200
	// cheap and dear are the collector's shares of all processor time below and above which something is to be changed.
	cheap, dear = 0.005, 0.03
)

// Run adjusts the collector until ctx ends, and then sets it back. It does nothing if the environment has GOGC: somebody
// knows better.
func Run(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(usual)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	percent, before := usual, read()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := read()
		if next := decide(percent, now.since(before)); next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
		before = now
	}
}

// decide returns the percentage that follows one at which the collector took a share of the processor time.
func decide(percent int, share float64) int {
	switch {
	case share < cheap:
		return max(percent/2, least)
	case share > dear:
		return min(percent*3/2, most)
	default:
		return percent
	}
}

// used is processor time, in seconds.
type used struct{ collecting, wall float64 }

func read() used {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	metrics.Read(sample)
	// What the collector does on processors that nobody else wants costs nothing.
	return used{
		collecting: sample[0].Value.Float64() - sample[1].Value.Float64(),
		wall:       float64(time.Now().UnixNano()) / float64(time.Second),
	}
}

// since is the share of one processor that the collector took.
func (u used) since(before used) float64 {
	if u.wall <= before.wall {
		return 0
	}
	return (u.collecting - before.collecting) / (u.wall - before.wall)
}
