package sharding

import (
	"fmt"
	"time"
)

// Bounds of the failure detector. A false alarm costs a hand-over, never an edit, so they favor speed.
const (
	// probePeriod is the time between two probes of a pod.
	probePeriod = 250 * time.Millisecond
	// retryPeriod is the time after which a refused probe is repeated.
	retryPeriod = 50 * time.Millisecond
	// probeTimeout bounds one probe.
	probeTimeout = 500 * time.Millisecond
	// silenceLimit is how long a pod may be silent before it counts as dead.
	silenceLimit = time.Second
	// recoveryTime is how long a pod found dead must answer before it counts as alive, so that Kubernetes has told of
	// a restart by then and a flapping pod does not move shards each time.
	recoveryTime = 2 * time.Second
	// panicMinimum is the number of pods from which on the silence of more than half of them is blamed on the
	// operator's own network.
	panicMinimum = 3
)

// answer is the outcome of one probe.
type answer int

const (
	// answered: the process is alive.
	answered answer = iota
	// refused: the node is alive and no process listens.
	refused
	// silent: nothing came back in time, which may be the network's fault.
	silent
)

// health is what the probes of one process have shown. The zero value is that of a process not yet probed.
type health struct {
	since   time.Time // of the run of equal outcomes: good ones or bad ones
	good    bool
	refused int           // consecutive refusals
	verdict answer        // answered, unless the process is found dead
	dead    time.Duration // how long it had been silent when it was found dead
}

// observe takes the outcome of a probe and says whether the verdict changed.
func (h *health) observe(outcome answer, now time.Time) bool {
	before := h.verdict
	if good := outcome == answered; h.since.IsZero() || good != h.good {
		h.since, h.good = now, good
	}
	switch outcome {
	case answered:
		h.refused = 0
		if h.verdict != answered && now.Sub(h.since) >= recoveryTime {
			h.verdict = answered
		}
	case refused:
		h.refused++
		if h.refused >= 2 {
			h.verdict = refused
		}
	case silent:
		h.refused = 0
		if h.verdict == answered && now.Sub(h.since) >= silenceLimit {
			h.verdict, h.dead = silent, now.Sub(h.since)
		}
	}
	return h.verdict != before
}

// String says what was found, for Events.
func (h *health) String() string {
	switch h.verdict {
	case refused:
		return "it refuses connections"
	case silent:
		return fmt.Sprintf("it has not answered for %v", h.dead.Round(100*time.Millisecond))
	default:
		return "it answers"
	}
}

// believable says whether the silent verdicts among all pods of a cluster can be believed. If most pods fall silent at
// once, it is more likely that the operator is cut off than that they all died.
func believable(pods, silentPods int) bool {
	return pods < panicMinimum || 2*silentPods <= pods
}
