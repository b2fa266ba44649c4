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
	// A process that was idle for calm gives back what it has no use for, if that is some and a part of what it uses; not more
	// often than once in pause, because it takes a collection.
	calm, pause  = 5 * time.Second, 10 * time.Second
	some, aShare = 2 << 20, 4
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
	idle, last := time.Duration(0), time.Time{}
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := read()
		share := now.since(before)
		if next := decide(percent, share); next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
		if idle += interval; share >= cheap {
			idle = 0
		}
		if idle >= calm && time.Since(last) >= pause && worthwhile(now.alive, now.useless) {
			debug.FreeOSMemory()
			last, now = time.Now(), read() // It is none of the load.
		}
		before = now
	}
}

// worthwhile says whether useless memory is enough to be given back.
func worthwhile(alive, useless uint64) bool { return useless > max(some, alive/aShare) }

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

// used is processor time, in seconds, and memory, in bytes: what is alive, and what is garbage or free.
type used struct {
	collecting, wall float64
	alive, useless   uint64
}

func read() used {
	sample := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(sample)
	alive, objects, free := sample[2].Value.Uint64(), sample[3].Value.Uint64(), sample[4].Value.Uint64()
	return used{
		// What the collector does on processors that nobody else wants costs nothing.
		collecting: sample[0].Value.Float64() - sample[1].Value.Float64(),
		wall:       float64(time.Now().UnixNano()) / float64(time.Second),
		alive:      alive, useless: max(objects, alive) - alive + free,
	}
}

// since is the share of one processor that the collector took.
func (u used) since(before used) float64 {
	if u.wall <= before.wall {
		return 0
	}
	return (u.collecting - before.collecting) / (u.wall - before.wall)
}
