package autoscaling

import (
	"cmp"
	"slices"
	"time"
)

// podState is what the choice of a pod to remove depends on.
type podState struct {
	Name        string
	Ready       bool
	Connections int64
	Created     time.Time
	// Draining pods were chosen before and are being emptied.
	Draining bool
	// Emptied pods own no shard.
	Emptied bool
}

// step is what to do next towards the desired number of pods.
type step struct {
	// Replicas is the number to set, 0 for no change.
	Replicas int32
	// Drain is the pod to empty, "" for none.
	Drain string
	// Undrain are pods that are to own shards again.
	Undrain []string
}

// next says how to get from replicas to desired. Pods are added at once. They are removed one at a time, and only after
// their shards have been moved; a pod that is being emptied is kept after all when it is needed. Settled says that the
// Deployment has exactly the pods that it should have: while it has not, a pod that seems to be spare may be on its way
// out already.
func next(desired, replicas int32, settled bool, pods []podState) step {
	var draining, others []podState
	for _, pod := range pods {
		if pod.Draining {
			draining = append(draining, pod)
		} else {
			others = append(others, pod)
		}
	}
	switch {
	case desired > replicas:
		return step{Replicas: desired, Undrain: names(draining)}
	case !settled:
		return step{}
	case desired == replicas:
		return step{Undrain: names(draining)}
	case len(draining) == 0:
		return step{Drain: victim(others).Name}
	}
	chosen := victim(draining)
	s := step{}
	for _, pod := range draining {
		if pod.Name != chosen.Name {
			s.Undrain = append(s.Undrain, pod.Name)
		}
	}
	if chosen.Emptied {
		s.Replicas = replicas - 1
	}
	return s
}

// victim is the pod whose removal disturbs least: one that is not ready, else the one with the fewest connections, of
// equals the youngest. There must be one.
func victim(pods []podState) podState {
	return slices.MinFunc(pods, func(a, b podState) int {
		return cmp.Or(
			cmp.Compare(order(a.Ready), order(b.Ready)),
			cmp.Compare(a.Connections, b.Connections),
			b.Created.Compare(a.Created),
			cmp.Compare(a.Name, b.Name),
		)
	})
}

func order(ready bool) int {
	if ready {
		return 1
	}
	return 0
}

func names(pods []podState) []string {
	var list []string
	for _, pod := range pods {
		list = append(list, pod.Name)
	}
	return list
}
