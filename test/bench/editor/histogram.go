package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// subBuckets is how many buckets there are from one power of two to the next: figures are exact to 3 %.
const subBuckets = 32

// histogram counts durations. It is safe for concurrent use.
type histogram struct {
	buckets [60 * subBuckets]atomic.Uint64
	count   atomic.Uint64
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucket(d)].Add(1)
	h.count.Add(1)
}

// bucket is where a duration is counted: below subBuckets nanoseconds each has its own bucket.
func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < subBuckets {
		return int(n)
	}
	octave := bits.Len64(n) - bits.Len64(subBuckets)
	return (octave+1)*subBuckets + int(n>>octave) - subBuckets
}

// limit is the smallest duration beyond a bucket.
func limit(bucket int) time.Duration {
	bucket++
	if bucket < 2*subBuckets {
		return time.Duration(bucket)
	}
	octave := bucket/subBuckets - 1
	return time.Duration(bucket%subBuckets+subBuckets) << octave
}

// quantile is a duration that the part q of all does not exceed; 0 without any.
func (h *histogram) quantile(q float64) time.Duration {
	total := h.count.Load()
	if total == 0 {
		return 0
	}
	need, seen := uint64(q*float64(total)), uint64(0)
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen > need || seen == total {
			return limit(i)
		}
	}
	return limit(len(h.buckets) - 1)
}
