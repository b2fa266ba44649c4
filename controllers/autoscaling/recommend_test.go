package autoscaling

import (
	"testing"
	"time"

	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/autoscaling/report"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// plain are limits with the given target and the HorizontalPodAutoscaler's defaults, but without stabilization.
func plain(target int32) limits {
	return limitsOf(&v1alpha1.AutoscalingSpec{
		MinReplicas: ptr.To[int32](1), MaxReplicas: 1000, TargetConnectionsPerPod: &target,
		ScaleDown: &v1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To[int32](0)},
	})
}

func even(pods int, connections int64) []sample {
	samples := make([]sample, pods)
	for i := range samples {
		samples[i] = sample{Ready: true, Readable: true, Connections: connections}
	}
	return samples
}

func TestRecommendationFollowsTheHorizontalPodAutoscaler(t *testing.T) {
	starting, unreadable := sample{}, sample{Ready: true}
	for name, test := range map[string]struct {
		replicas int32
		samples  []sample
		want     int32
	}{
		// The documented example: at twice the target the pods are doubled, at half of it they are halved.
		"twice the target doubles":                  {4, even(4, 200), 8},
		"half the target halves":                    {4, even(4, 50), 2},
		"the ratio is rounded up":                   {3, even(3, 101+33), 5},
		"on target":                                 {4, even(4, 100), 4},
		"10 per cent above is tolerated":            {10, even(10, 110), 10},
		"11 per cent above is not":                  {10, even(10, 111), 12},
		"10 per cent below is tolerated":            {10, even(10, 90), 10},
		"11 per cent below is not":                  {10, even(10, 89), 9},
		"no connections leave the minimum":          {5, even(5, 0), 1},
		"no pods that could be read":                {3, []sample{starting, starting, starting}, 3},
		"starting pods count as empty when growing": {4, append(even(3, 200), starting), 6},
		"starting pods may be enough":               {6, append(even(3, 200), starting, starting, starting), 6},
		"starting pods may be more than enough":     {9, append(even(3, 200), starting, starting, starting, starting, starting, starting), 9},
		"starting pods do not stop shrinking":       {4, append(even(3, 20), starting), 1},
		"an unreadable pod stops shrinking":         {4, append(even(3, 20), unreadable), 4},
		"an unreadable pod counts as empty":         {4, append(even(3, 200), unreadable), 6},
		"an unreadable pod does not stop growing":   {3, append(even(2, 1000), unreadable), 7},
		"nothing can be read":                       {3, []sample{unreadable, unreadable, unreadable}, 3},
		"growth is limited to doubling":             {10, even(10, 1000), 20},
		"few pods grow by four":                     {2, even(2, 10000), 6},
		"a surge pod does not shrink the rest":      {3, even(4, 75), 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := recommend(plain(100), test.replicas, test.samples, &history{}, start); got.Replicas != test.want {
				t.Errorf("recommended %d, want %d (%+v)", got.Replicas, test.want, got)
			}
		})
	}
}

func TestDefaultsAreThoseOfTheAPI(t *testing.T) {
	l := limitsOf(&v1alpha1.AutoscalingSpec{MaxReplicas: 9})
	if l.Min != 2 || l.Target != 5000 || l.Tolerance != 10 || l.Up.Stabilization != 0 || l.Down.Stabilization != 5*time.Minute {
		t.Errorf("defaults are %+v", l)
	}
	if l := limitsOf(&v1alpha1.AutoscalingSpec{MaxReplicas: 1}); l.Min != 1 {
		t.Errorf("the minimum is %d with a maximum of 1", l.Min)
	}
}

func TestBoundsHoldAtOnce(t *testing.T) {
	l := limitsOf(&v1alpha1.AutoscalingSpec{MinReplicas: ptr.To[int32](3), MaxReplicas: 5, TargetConnectionsPerPod: ptr.To[int32](100)})
	for name, test := range map[string]struct {
		replicas int32
		samples  []sample
		want     int32
		reason   string
	}{
		"below the minimum":                     {1, nil, 3, v1alpha1.ReasonReady},
		"above the maximum":                     {8, even(8, 1), 5, v1alpha1.ReasonScalingLimited},
		"above the maximum and unreadable":      {8, make([]sample, 8), 5, v1alpha1.ReasonScalingLimited},
		"more is wanted than the maximum":       {5, even(5, 1000), 5, v1alpha1.ReasonScalingLimited},
		"fewer are wanted than the minimum":     {3, even(3, 0), 3, v1alpha1.ReasonScalingLimited},
		"unreadable pods above the maximum":     {8, []sample{{Ready: true}}, 8, v1alpha1.ReasonMetricsUnreadable},
		"unreadable and loaded above the limit": {8, append(even(7, 1000), sample{Ready: true}), 8, v1alpha1.ReasonMetricsUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			d := recommend(l, test.replicas, test.samples, &history{}, start)
			if d.Replicas != test.want {
				t.Errorf("recommended %d, want %d", d.Replicas, test.want)
			}
			if _, reason, _ := d.status(l); name != "above the maximum and unreadable" && reason != test.reason {
				t.Errorf("the reason is %s, want %s", reason, test.reason)
			}
		})
	}
}

func TestShrinkingWaitsForTheWholeWindowAlsoAfterARestart(t *testing.T) {
	l := plain(100)
	l.Down.Stabilization = 300 * time.Second
	h := &history{} // As after a restart of the operator.
	for second := 0; second < 300; second += 5 {
		if d := recommend(l, 10, even(10, 10), h, start.Add(time.Duration(second)*time.Second)); d.Replicas != 10 {
			t.Fatalf("shrank to %d after %d s", d.Replicas, second)
		}
	}
	if d := recommend(l, 10, even(10, 10), h, start.Add(300*time.Second)); d.Replicas != 1 {
		t.Fatalf("recommended %d after the window, want 1", d.Replicas)
	}
}

func TestAPeakInTheWindowIsFollowedWhenShrinking(t *testing.T) {
	l := plain(100)
	l.Down.Stabilization = 60 * time.Second
	h := &history{}
	recommend(l, 10, even(10, 10), h, start)
	recommend(l, 10, even(10, 70), h, start.Add(50*time.Second)) // Asks for 7.
	if d := recommend(l, 10, even(10, 10), h, start.Add(70*time.Second)); d.Replicas != 7 {
		t.Fatalf("recommended %d, want the 7 of 20 s before", d.Replicas)
	}
}

func TestGrowingWaitsForItsWindow(t *testing.T) {
	l := plain(100)
	l.Up.Stabilization = 30 * time.Second
	h := &history{}
	if d := recommend(l, 2, even(2, 200), h, start); d.Replicas != 2 {
		t.Fatalf("grew at once to %d", d.Replicas)
	}
	recommend(l, 2, even(2, 150), h, start.Add(20*time.Second)) // Asks for 3.
	if d := recommend(l, 2, even(2, 200), h, start.Add(40*time.Second)); d.Replicas != 3 {
		t.Fatalf("recommended %d, want the 3 of 20 s before", d.Replicas)
	}
}

func TestPoliciesLimitTheChangePerPeriod(t *testing.T) {
	pods := func(value int32) v1alpha1.ScalingPolicy {
		return v1alpha1.ScalingPolicy{Type: v1alpha1.ScalingPods, Value: value, PeriodSeconds: 60}
	}
	percent := func(value int32) v1alpha1.ScalingPolicy {
		return v1alpha1.ScalingPolicy{Type: v1alpha1.ScalingPercent, Value: value, PeriodSeconds: 60}
	}
	for name, test := range map[string]struct {
		select_  v1alpha1.ScalingPolicySelect
		policies []v1alpha1.ScalingPolicy
		before   int32 // Pods added (or removed) 30 s ago.
		up, down int32 // From 10 pods.
	}{
		"pods":                      {"Max", []v1alpha1.ScalingPolicy{pods(4)}, 0, 14, 6},
		"per cent":                  {"Max", []v1alpha1.ScalingPolicy{percent(10)}, 0, 11, 9},
		"per cent rounds":           {"Max", []v1alpha1.ScalingPolicy{percent(15)}, 0, 12, 8},
		"the most of two":           {"Max", []v1alpha1.ScalingPolicy{pods(4), percent(10)}, 0, 14, 6},
		"the least of two":          {"Min", []v1alpha1.ScalingPolicy{pods(4), percent(10)}, 0, 11, 9},
		"disabled":                  {"Disabled", []v1alpha1.ScalingPolicy{pods(4)}, 0, 10, 10},
		"what was done this period": {"Max", []v1alpha1.ScalingPolicy{pods(4)}, 3, 11, 9},
		"all done this period":      {"Max", []v1alpha1.ScalingPolicy{pods(4)}, 6, 10, 10},
		"to nothing":                {"Max", []v1alpha1.ScalingPolicy{percent(100)}, 0, 20, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := plain(100)
			l.Up.Select, l.Up.Policies = test.select_, test.policies
			l.Down.Select, l.Down.Policies = test.select_, test.policies
			h := &history{}
			h.scaled(start.Add(-30*time.Second), test.before)
			if d := recommend(l, 10, even(10, 100_000), h, start); d.Replicas != test.up {
				t.Errorf("up to %d, want %d", d.Replicas, test.up)
			}
			h = &history{}
			h.scaled(start.Add(-30*time.Second), -test.before)
			if d := recommend(l, 10, even(10, 0), h, start); d.Replicas != test.down {
				t.Errorf("down to %d, want %d", d.Replicas, test.down)
			}
		})
	}
}

func TestAnyRecommendationIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limitsOf(&v1alpha1.AutoscalingSpec{
			MinReplicas:             ptr.To(rapid.Int32Range(1, 10).Draw(t, "min")),
			MaxReplicas:             rapid.Int32Range(10, 50).Draw(t, "max"),
			TargetConnectionsPerPod: ptr.To(rapid.Int32Range(1, 1000).Draw(t, "target")),
			TolerancePercent:        ptr.To(rapid.Int32Range(0, 100).Draw(t, "tolerance")),
			ScaleDown:               &v1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To(rapid.Int32Range(0, 60).Draw(t, "window"))},
		})
		h, now := &history{}, start
		replicas := rapid.Int32Range(1, 60).Draw(t, "replicas")
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			samples := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sample {
				ready := rapid.IntRange(0, 5).Draw(t, "ready") > 0
				readable := ready && rapid.IntRange(0, 9).Draw(t, "readable") > 0
				return sample{Ready: ready, Readable: readable, Connections: rapid.Int64Range(0, report.MaxConnections).Draw(t, "connections")}
			}), 0, int(replicas)).Draw(t, "samples")
			d := recommend(l, replicas, samples, h, now)
			switch {
			case d.Unreadable > 0 && d.Replicas < replicas:
				t.Fatalf("shrinks from %d to %d with %d unreadable pods", replicas, d.Replicas, d.Unreadable)
			case d.Replicas < l.Min || d.Replicas > max(l.Max, replicas):
				t.Fatalf("recommended %d, bounds are %d and %d", d.Replicas, l.Min, l.Max)
			case d.Replicas > replicas && replicas >= l.Min && d.Replicas > max(2*replicas, replicas+4):
				t.Fatalf("grows from %d to %d at once", replicas, d.Replicas)
			}
			h.scaled(now, d.Replicas-replicas)
			replicas = d.Replicas
			now = now.Add(time.Duration(rapid.IntRange(15, 100).Draw(t, "seconds")) * time.Second)
		}
	})
}

func TestEnoughPodsIsWhereItSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := rapid.Int32Range(1, 1000).Draw(t, "target")
		total := rapid.Int64Range(0, int64(target)*900).Draw(t, "connections")
		l, h, now := plain(target), &history{}, start
		replicas := rapid.Int32Range(1, 100).Draw(t, "replicas")
		for range 20 {
			samples := even(int(replicas), total/int64(replicas))
			for i := range total % int64(replicas) {
				samples[i].Connections++
			}
			d := recommend(l, replicas, samples, h, now)
			h.scaled(now, d.Replicas-replicas)
			replicas = d.Replicas
			now = now.Add(20 * time.Second)
		}
		perPod := float64(total) / float64(replicas)
		if perPod > 1.1*float64(target) {
			t.Fatalf("settled at %d pods with %v connections each, the target is %d", replicas, perPod, target)
		}
		if replicas > 1 && perPod < 0.9*float64(target) && total <= int64(replicas-1)*int64(target) {
			t.Fatalf("settled at %d pods with %v connections each: one less would do for a target of %d", replicas, perPod, target)
		}
	})
}
