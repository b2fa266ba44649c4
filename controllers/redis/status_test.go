package redis

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// member is a pod of the cluster docs, ready or with this reason for waiting.
func member(ordinal int, waiting string) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("docs-redis-%d", ordinal), Labels: child.Labels("docs", child.Redis),
	}}
	if waiting == "" {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		return pod
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "redis", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}},
	}}
	return pod
}

func TestObserve(t *testing.T) {
	settled := appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "docs-redis"}}
	rolling := settled
	rolling.Status.UpdateRevision = "new"
	stranger := member(0, "")
	stranger.Labels = child.Labels("other", child.Redis)
	leaving := member(2, "")
	leaving.DeletionTimestamp = &metav1.Time{}

	tests := []struct {
		name    string
		pods    []corev1.Pod
		sets    []appsv1.StatefulSet
		primary string
		status  metav1.ConditionStatus
		reason  string
		message string
		ready   int32
	}{
		{
			name: "nothing is there yet", status: metav1.ConditionFalse, reason: v1alpha1.ReasonProgressing,
			message: "0 of 3 Redis pods are ready",
		}, {
			name: "all is well", pods: []corev1.Pod{member(0, ""), member(1, ""), member(2, "")},
			sets: []appsv1.StatefulSet{settled}, primary: "docs-redis-1",
			status: metav1.ConditionTrue, reason: v1alpha1.ReasonReady, ready: 3,
			message: "3 of 3 Redis pods are ready; the primary is docs-redis-1",
		}, {
			name: "nobody takes writes", pods: []corev1.Pod{member(0, ""), member(1, ""), member(2, "")},
			sets:   []appsv1.StatefulSet{settled},
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonNoPrimary, ready: 3,
			message: "the Sentinels name no Redis primary; 3 of 3 Redis pods are ready",
		}, {
			name: "nobody takes writes while a template is rolled out", pods: []corev1.Pod{member(0, ""), member(1, "")},
			sets:   []appsv1.StatefulSet{rolling},
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonNoPrimary, ready: 2,
			message: "the Sentinels name no Redis primary; 2 of 3 Redis pods are ready",
		}, {
			name: "a pod crashes", pods: []corev1.Pod{member(0, ""), member(1, "CrashLoopBackOff"), member(2, "")},
			sets: []appsv1.StatefulSet{settled}, primary: "docs-redis-0",
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonPodsNotReady, ready: 2,
			message: "2 of 3 Redis pods are ready; waiting for docs-redis-1 (redis: CrashLoopBackOff)",
		}, {
			name: "a new template is rolled out", pods: []corev1.Pod{member(0, ""), member(1, ""), member(2, "")},
			sets: []appsv1.StatefulSet{rolling}, primary: "docs-redis-0",
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonProgressing, ready: 3,
			message: "3 of 3 Redis pods are ready",
		}, {
			name: "others' pods and leaving pods do not count",
			pods: []corev1.Pod{stranger, member(1, ""), leaving},
			sets: []appsv1.StatefulSet{settled}, primary: "docs-redis-1",
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonProgressing, ready: 1,
			message: "1 of 3 Redis pods are ready",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, condition := Observe(newCluster(), test.pods, test.sets, test.primary)
			if status.Replicas != 3 || status.ReadyReplicas != test.ready || status.Primary != test.primary {
				t.Errorf("got the status %+v", status)
			}
			if condition.Type != v1alpha1.ConditionRedisReady || condition.ObservedGeneration != 7 ||
				condition.Status != test.status || condition.Reason != test.reason ||
				condition.Message != test.message {
				t.Errorf("got the condition %+v, want %s %s %q", condition, test.status, test.reason, test.message)
			}
		})
	}
}
