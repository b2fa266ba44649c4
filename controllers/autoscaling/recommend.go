package autoscaling

import (
	"fmt"
	"math"
	"slices"
	"time"

	"collab.dev/operator/api/v1alpha1"
)

// Defaults of spec.editor.autoscaling.
const (
	defaultMinReplicas       = 2
	defaultTarget            = 5000
	defaultTolerancePercent  = 10
	defaultUpStabilization   = 0
	defaultDownStabilization = 300 * time.Second
)

// The HorizontalPodAutoscaler's default policies: up by doubling or 4 pods, whichever is more, down to any number, in
// each 15 seconds.
var (
	defaultUpPolicies = []v1alpha1.ScalingPolicy{
		{Type: v1alpha1.ScalingPercent, Value: 100, PeriodSeconds: 15},
		{Type: v1alpha1.ScalingPods, Value: 4, PeriodSeconds: 15},
	}
	defaultDownPolicies = []v1alpha1.ScalingPolicy{
		{Type: v1alpha1.ScalingPercent, Value: 100, PeriodSeconds: 15},
	}
)

// sample is what is known of one editor pod's load.
type sample struct {
	// Ready pods serve clients. The others are counted as pods without connections when scaling up.
	Ready bool
	// Readable says that Connections is known.
	Readable bool
	// Connections is the number of client connections.
	Connections int64
}

// rules are the limits of scaling in one direction, defaults filled in.
type rules struct {
	Stabilization time.Duration
	Select        v1alpha1.ScalingPolicySelect
	Policies      []v1alpha1.ScalingPolicy
}

// limits are spec.editor.autoscaling with defaults filled in.
type limits struct {
	Min, Max  int32
	Target    int64
	Tolerance int64 // per cent of the target
	Up, Down  rules
}

func limitsOf(spec *v1alpha1.AutoscalingSpec) limits {
	return limits{
		Min:       min(valueOr(spec.MinReplicas, defaultMinReplicas), spec.MaxReplicas),
		Max:       spec.MaxReplicas,
		Target:    int64(valueOr(spec.TargetConnectionsPerPod, defaultTarget)),
		Tolerance: int64(valueOr(spec.TolerancePercent, defaultTolerancePercent)),
		Up:        rulesOf(spec.ScaleUp, defaultUpStabilization, defaultUpPolicies),
		Down:      rulesOf(spec.ScaleDown, defaultDownStabilization, defaultDownPolicies),
	}
}

func rulesOf(
	spec *v1alpha1.ScalingRules, stabilization time.Duration, policies []v1alpha1.ScalingPolicy,
) rules {
	r := rules{Stabilization: stabilization, Select: v1alpha1.ScalingSelectMax, Policies: policies}
	if spec == nil {
		return r
	}
	if spec.StabilizationWindowSeconds != nil {
		r.Stabilization = time.Duration(*spec.StabilizationWindowSeconds) * time.Second
	}
	if spec.SelectPolicy != "" {
		r.Select = spec.SelectPolicy
	}
	if len(spec.Policies) > 0 {
		r.Policies = spec.Policies
	}
	return r
}

func valueOr(value *int32, fallback int32) int32 {
	if value == nil {
		return fallback
	}
	return *value
}

// decision is how many pods there should be, and why not another number.
type decision struct {
	// Replicas is the number of pods that there should be.
	Replicas int32
	// Wanted is the number that the load alone asks for.
	Wanted int32
	// Unreadable counts the ready pods whose load is not known. Pods are not removed while there are any.
	Unreadable int
	// Connections is the sum over the readable pods.
	Connections int64
}

// history is what recommend has to remember of one cluster. After a restart of the operator it is empty, and no pod is
// removed until the stabilization window has passed again.
type history struct {
	recommendations []recommendation
	changes         []change
}

type recommendation struct {
	at       time.Time
	replicas int32
}

// change is a change of the number of pods, positive when pods were added.
type change struct {
	at    time.Time
	delta int32
}

// longestPeriod is the longest window or period that the API allows.
const longestPeriod = time.Hour

// scaled remembers a change of the number of pods.
func (h *history) scaled(at time.Time, delta int32) {
	h.changes = slices.DeleteFunc(h.changes, func(c change) bool { return at.Sub(c.at) > longestPeriod })
	h.changes = append(h.changes, change{at: at, delta: delta})
}

// recommend computes how many pods there should be, from how many there are and their load, by the algorithm of the
// HorizontalPodAutoscaler: ceil(pods × load per pod / target) within a tolerance, then stabilized over a window, then
// limited by policies and bounds. It remembers the recommendation in h.
func recommend(l limits, replicas int32, samples []sample, h *history, now time.Time) decision {
	d := want(l, replicas, samples)
	switch {
	case replicas < l.Min:
		d.Replicas, d.Wanted = l.Min, max(d.Wanted, l.Min)
		return d
	case replicas > l.Max && d.Unreadable == 0:
		d.Replicas = l.Max
		return d
	}
	stable := h.stabilize(l, replicas, d.Wanted, now)
	d.Replicas = h.limit(l, replicas, stable, now)
	return d
}

// want is the number of pods that the load asks for.
func want(l limits, replicas int32, samples []sample) decision {
	d := decision{Wanted: replicas}
	var ready, starting int64
	for _, s := range samples {
		switch {
		case !s.Ready:
			starting++
		case !s.Readable:
			d.Unreadable++
		default:
			ready++
			d.Connections += s.Connections
		}
	}
	if ready == 0 {
		return d
	}
	// The counts are compared as integers: load and capacity are load per pod and target, times the pods.
	capacity := l.Target * ready
	up := d.Connections > capacity
	if up {
		// Pods that are starting, or cannot be read, are taken to be empty: they may be all that is needed.
		capacity += l.Target * (starting + int64(d.Unreadable))
	}
	excess := d.Connections - capacity
	switch {
	case max(excess, -excess)*100 <= l.Tolerance*capacity:
		return d
	case up && excess < 0, !up && d.Unreadable > 0:
		return d
	}
	wanted := int32(min((d.Connections+l.Target-1)/l.Target, math.MaxInt32))
	if up == (wanted > replicas) {
		// Otherwise the pods that were counted are not those that there should be already.
		d.Wanted = wanted
	}
	return d
}

// stabilize follows the most careful recommendation of the window: the lowest when scaling up, the highest when scaling
// down.
func (h *history) stabilize(l limits, replicas, wanted int32, now time.Time) int32 {
	if len(h.recommendations) == 0 {
		h.recommendations = append(h.recommendations, recommendation{at: now, replicas: replicas})
	}
	up, down := wanted, wanted
	window := max(l.Up.Stabilization, l.Down.Stabilization)
	kept := h.recommendations[:0]
	for _, r := range h.recommendations {
		age := now.Sub(r.at)
		if age < l.Up.Stabilization {
			up = min(up, r.replicas)
		}
		if age < l.Down.Stabilization {
			down = max(down, r.replicas)
		}
		if age < window {
			kept = append(kept, r)
		}
	}
	h.recommendations = append(kept, recommendation{at: now, replicas: wanted})
	return min(max(replicas, up), down)
}

// limit keeps a change within the policies and the bounds.
func (h *history) limit(l limits, replicas, wanted int32, now time.Time) int32 {
	switch {
	case wanted > replicas:
		return max(replicas, min(wanted, h.most(l.Up, replicas, now), l.Max))
	case wanted < replicas:
		return max(wanted, h.fewest(l.Down, replicas, now), l.Min)
	default:
		return wanted
	}
}

// most is the greatest number of pods that the policies allow.
func (h *history) most(r rules, replicas int32, now time.Time) int32 {
	if r.Select == v1alpha1.ScalingSelectDisabled {
		return replicas
	}
	var bounds []int32
	for _, policy := range r.Policies {
		start := h.startOfPeriod(policy, replicas, now)
		bound := start + policy.Value
		if policy.Type == v1alpha1.ScalingPercent {
			bound = (start*(100+policy.Value) + 99) / 100
		}
		bounds = append(bounds, bound)
	}
	if r.Select == v1alpha1.ScalingSelectMin {
		return max(replicas, slices.Min(bounds))
	}
	return max(replicas, slices.Max(bounds))
}

// fewest is the least number of pods that the policies allow.
func (h *history) fewest(r rules, replicas int32, now time.Time) int32 {
	if r.Select == v1alpha1.ScalingSelectDisabled {
		return replicas
	}
	var bounds []int32
	for _, policy := range r.Policies {
		start := h.startOfPeriod(policy, replicas, now)
		bound := start - policy.Value
		if policy.Type == v1alpha1.ScalingPercent {
			bound = start * (100 - policy.Value) / 100
		}
		bounds = append(bounds, bound)
	}
	if r.Select == v1alpha1.ScalingSelectMin {
		return min(replicas, slices.Max(bounds))
	}
	return min(replicas, slices.Min(bounds))
}

// startOfPeriod is the number of pods that there were when the policy's current period began.
func (h *history) startOfPeriod(policy v1alpha1.ScalingPolicy, replicas int32, now time.Time) int32 {
	period := time.Duration(policy.PeriodSeconds) * time.Second
	for _, c := range h.changes {
		if now.Sub(c.at) < period {
			replicas -= c.delta
		}
	}
	return replicas
}

// status says in a condition's terms what the decision rests on.
func (d decision) status(l limits) (healthy bool, reason, message string) {
	switch {
	case d.Unreadable > 0:
		return false, v1alpha1.ReasonMetricsUnreadable,
			fmt.Sprintf("the load of %d ready editor pods cannot be read; no pod is removed meanwhile", d.Unreadable)
	case d.Wanted > l.Max:
		return true, v1alpha1.ReasonScalingLimited,
			fmt.Sprintf("the load asks for more editor pods than maxReplicas (%d) allows", l.Max)
	case d.Wanted < l.Min:
		return true, v1alpha1.ReasonScalingLimited,
			fmt.Sprintf("the load asks for fewer editor pods than minReplicas (%d) allows", l.Min)
	default:
		return true, v1alpha1.ReasonReady, "the number of editor pods follows their connections"
	}
}
