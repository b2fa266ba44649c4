package autoscaling

import (
	"reflect"
	"testing"
	"time"
)

func TestNextStep(t *testing.T) {
	idle := podState{Name: "idle", Ready: true, Connections: 1}
	busy := podState{Name: "busy", Ready: true, Connections: 9}
	leaving := podState{Name: "leaving", Ready: true, Connections: 5, Draining: true}
	left := leaving
	left.Emptied = true
	second := podState{Name: "second", Ready: true, Connections: 6, Draining: true, Emptied: true}
	for name, test := range map[string]struct {
		desired, replicas int32
		unsettled         bool
		pods              []podState
		want              step
	}{
		"enough":                                         {desired: 2, replicas: 2, pods: []podState{idle, busy}},
		"more are added at once":                         {desired: 5, replicas: 2, pods: []podState{idle, busy}, want: step{Replicas: 5}},
		"also while pods come and go":                    {desired: 5, replicas: 2, unsettled: true, want: step{Replicas: 5}},
		"a pod is emptied first":                         {desired: 1, replicas: 2, pods: []podState{busy, idle}, want: step{Drain: "idle"}},
		"only one is":                                    {desired: 1, replicas: 3, pods: []podState{idle, leaving, busy}},
		"then it goes, alone":                            {desired: 1, replicas: 3, pods: []podState{idle, left, busy}, want: step{Replicas: 2}},
		"not while pods come and go":                     {desired: 1, replicas: 3, unsettled: true, pods: []podState{idle, left, busy}},
		"it stays if the load rises":                     {desired: 2, replicas: 2, pods: []podState{leaving, busy}, want: step{Undrain: []string{"leaving"}}},
		"it stays if the load rises further":             {desired: 4, replicas: 2, pods: []podState{leaving, busy}, want: step{Replicas: 4, Undrain: []string{"leaving"}}},
		"it is not kept while it may be leaving already": {desired: 1, replicas: 1, unsettled: true, pods: []podState{left, busy}},
		"another was removed in its place":               {desired: 1, replicas: 1, pods: []podState{left}, want: step{Undrain: []string{"leaving"}}},
		"one of two is kept":                             {desired: 1, replicas: 3, pods: []podState{second, leaving, busy}, want: step{Undrain: []string{"second"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := next(test.desired, test.replicas, !test.unsettled, test.pods); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTheVictimIsThePodWhoseRemovalDisturbsLeast(t *testing.T) {
	old, young := start, start.Add(time.Hour)
	for name, test := range map[string]struct {
		pods []podState
		want string
	}{
		"fewest connections":  {[]podState{{Name: "a", Ready: true, Connections: 2}, {Name: "b", Ready: true, Connections: 1}}, "b"},
		"one that serves not": {[]podState{{Name: "a", Ready: true}, {Name: "b", Connections: 7}}, "b"},
		"of equals the youngest": {[]podState{
			{Name: "a", Ready: true, Created: old}, {Name: "b", Ready: true, Created: young}, {Name: "c", Ready: true, Created: old}}, "b"},
		"of twins the first": {[]podState{{Name: "b", Ready: true}, {Name: "a", Ready: true}}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := victim(test.pods).Name; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
