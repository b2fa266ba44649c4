package sharding

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// editorPod is a ready pod, changed by the functions.
func editorPod(name string, changes ...func(*corev1.Pod)) corev1.Pod {
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"pod-template-hash": "1"}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1",
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "editor"}},
		},
	}
	for _, change := range changes {
		change(&pod)
	}
	return pod
}

func notReady(pod *corev1.Pod) { pod.Status.Conditions[0].Status = corev1.ConditionFalse }

func TestWhoIsAMember(t *testing.T) {
	known := map[string]recorded{"a": {uid: "uid-a"}}
	for name, test := range map[string]struct {
		pod    corev1.Pod
		failed bool
		want   string // of "", member, leaving, restarted
	}{
		"a ready pod":          {pod: editorPod("a"), want: "member"},
		"a new ready pod":      {pod: editorPod("b"), want: "member"},
		"a new pod, not ready": {pod: editorPod("b", notReady)},
		"one that got unready": {pod: editorPod("a", notReady), want: "leaving"},
		"one that is deleted":  {pod: editorPod("a", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), want: "leaving"},
		"one that is drained":  {pod: editorPod("a", func(p *corev1.Pod) { p.Annotations = map[string]string{DrainingAnnotation: "true"} }), want: "leaving"},
		"a new one, drained":   {pod: editorPod("b", func(p *corev1.Pod) { p.Annotations = map[string]string{DrainingAnnotation: "true"} })},
		"one that is disrupted": {pod: editorPod("a", func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue})
		}), want: "leaving"},
		"one that failed": {pod: editorPod("a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })},
		"one found dead":  {pod: editorPod("a"), failed: true},
		"one whose container ended": {pod: editorPod("a", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137}
		})},
		"one whose container restarted": {pod: editorPod("a", func(p *corev1.Pod) { p.Status.ContainerStatuses[0].RestartCount = 1 }), want: "restarted"},
		"another of the same name":      {pod: editorPod("a", func(p *corev1.Pod) { p.UID = "other" }), want: "restarted"},
	} {
		t.Run(name, func(t *testing.T) {
			failed := map[Process]string{}
			if test.failed {
				failed[Process{UID: "uid-a"}] = "it refuses connections"
			}
			o := observe([]corev1.Pod{test.pod, editorPod("z")}, known, failed, 1)
			got := ""
			for _, m := range o.members {
				switch {
				case m.Name == "z":
				case m.Restarted:
					got = "restarted"
				case m.Leaving:
					got = "leaving"
				default:
					got = "member"
				}
			}
			if got != test.want {
				t.Errorf("it is %q, want %q (%+v)", got, test.want, o)
			}
			if test.pod.Name == "a" && (test.want == "" || test.want == "restarted") && o.dead["a"] == "" {
				t.Error("nothing is said of why it owns nothing anymore")
			}
		})
	}
}

func TestTheDetectorAloneNeverLeavesShardsWithoutAnOwner(t *testing.T) {
	pods := []corev1.Pod{editorPod("a"), editorPod("b")}
	failed := map[Process]string{{UID: "uid-a"}: "it refuses connections", {UID: "uid-b"}: "it refuses connections"}
	if o := observe(pods, nil, failed, 1); len(o.members) != 2 {
		t.Errorf("members are %+v, want both", o.members)
	}
	delete(failed, Process{UID: "uid-b"})
	if o := observe(pods, nil, failed, 1); len(o.members) != 1 || o.members[0].Name != "b" {
		t.Errorf("members are %+v, want b", o.members)
	}
}

func TestTheYoungestTemplateIsTheNewest(t *testing.T) {
	born := func(hash string, seconds int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Labels["pod-template-hash"], p.CreationTimestamp = hash, metav1.NewTime(time.Unix(seconds, 0))
		}
	}
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	for name, test := range map[string]struct {
		pods []corev1.Pod
		want string
	}{
		"one template":              {[]corev1.Pod{editorPod("a", born("1", 1))}, "1"},
		"an update":                 {[]corev1.Pod{editorPod("a", born("2", 1)), editorPod("b", born("1", 5))}, "1"},
		"a roll-back":               {[]corev1.Pod{editorPod("a", born("1", 1)), editorPod("b", born("2", 5)), editorPod("c", born("1", 9))}, "1"},
		"scaled in the middle":      {[]corev1.Pod{editorPod("a", born("2", 1)), editorPod("b", born("1", 5)), editorPod("c", born("1", 9)), editorPod("d", born("2", 9))}, "1"},
		"deleted pods do not count": {[]corev1.Pod{editorPod("a", born("1", 1)), editorPod("b", born("2", 5), deleted)}, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			for range len(test.pods) {
				test.pods = slices.Concat(test.pods[1:], test.pods[:1])
				if got := newestTemplate(test.pods); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}
