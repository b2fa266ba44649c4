package postgres

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// server is a pod of the cluster docs with this role, ready or with this reason for waiting.
func server(ordinal int, role, waiting string) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("docs-postgres-%d", ordinal), Labels: child.Labels("docs", child.Postgres),
	}}
	if role != "" {
		pod.Labels["role"] = role
	}
	if waiting == "" {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		return pod
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "postgres", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}},
	}}
	return pod
}

func TestObserve(t *testing.T) {
	settled := []appsv1.StatefulSet{{ObjectMeta: metav1.ObjectMeta{Name: "docs-postgres"}}}
	rolling := []appsv1.StatefulSet{{
		ObjectMeta: metav1.ObjectMeta{Name: "docs-postgres"}, Status: appsv1.StatefulSetStatus{UpdateRevision: "new"},
	}}
	stranger := server(0, "primary", "")
	stranger.Labels = child.Labels("other", child.Postgres)
	all := []corev1.Pod{server(0, "replica", ""), server(1, "primary", ""), server(2, "replica", "")}

	tests := []struct {
		name    string
		pods    []corev1.Pod
		sets    []appsv1.StatefulSet
		proxies int32
		reason  string // Ready: the condition is true.
		primary string
		ready   int32
		message string
	}{
		{
			name: "nothing is there yet", reason: v1alpha1.ReasonProgressing,
			message: "0 of 3 PostgreSQL pods and 0 of 2 HAProxy pods are ready",
		}, {
			name: "all is well", pods: all, sets: settled, proxies: 2,
			reason: v1alpha1.ReasonReady, primary: "docs-postgres-1", ready: 3,
			message: "3 of 3 PostgreSQL pods and 2 of 2 HAProxy pods are ready; the primary is docs-postgres-1",
		}, {
			name: "the first servers start", sets: rolling, reason: v1alpha1.ReasonProgressing,
			pods: []corev1.Pod{server(0, "", "ContainerCreating")},
			message: "0 of 3 PostgreSQL pods and 0 of 2 HAProxy pods are ready; " +
				"waiting for docs-postgres-0 (postgres: ContainerCreating)",
		}, {
			name: "standbys wait for a primary", sets: settled, proxies: 2, reason: v1alpha1.ReasonNoPrimary, ready: 2,
			pods: []corev1.Pod{server(0, "replica", ""), server(2, "replica", "")},
			message: "no PostgreSQL pod is the primary; " +
				"2 of 3 PostgreSQL pods and 2 of 2 HAProxy pods are ready",
		}, {
			name: "the primary is gone in the middle of a rollout", sets: rolling, proxies: 2,
			reason: v1alpha1.ReasonNoPrimary, ready: 1,
			pods: []corev1.Pod{server(0, "replica", ""), server(1, "primary", "CrashLoopBackOff")},
			message: "no PostgreSQL pod is the primary; 1 of 3 PostgreSQL pods and 2 of 2 HAProxy pods are ready; " +
				"waiting for docs-postgres-1 (postgres: CrashLoopBackOff)",
		}, {
			name: "a standby crashes", sets: settled, proxies: 2,
			reason: v1alpha1.ReasonPodsNotReady, primary: "docs-postgres-1", ready: 2,
			pods: []corev1.Pod{server(0, "replica", "CrashLoopBackOff"), server(1, "primary", ""), server(2, "replica", "")},
			message: "2 of 3 PostgreSQL pods and 2 of 2 HAProxy pods are ready; " +
				"waiting for docs-postgres-0 (postgres: CrashLoopBackOff)",
		}, {
			name: "a proxy is missing", pods: all, sets: settled, proxies: 1,
			reason: v1alpha1.ReasonPodsNotReady, primary: "docs-postgres-1", ready: 3,
			message: "3 of 3 PostgreSQL pods and 1 of 2 HAProxy pods are ready",
		}, {
			name: "a new template is rolled out", pods: all, sets: rolling, proxies: 2,
			reason: v1alpha1.ReasonProgressing, primary: "docs-postgres-1", ready: 3,
			message: "3 of 3 PostgreSQL pods and 2 of 2 HAProxy pods are ready",
		}, {
			name: "others' primaries do not count", sets: settled, proxies: 2,
			pods:   []corev1.Pod{stranger, server(2, "replica", "")},
			reason: v1alpha1.ReasonNoPrimary, ready: 1,
			message: "no PostgreSQL pod is the primary; 1 of 3 PostgreSQL pods and 2 of 2 HAProxy pods are ready",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			deployments := []appsv1.Deployment{{
				ObjectMeta: metav1.ObjectMeta{Name: "docs-haproxy"},
				Status:     appsv1.DeploymentStatus{ReadyReplicas: test.proxies},
			}}
			status, condition := Observe(newCluster(), test.pods, test.sets, deployments)
			if status.Replicas != 3 || status.ReadyReplicas != test.ready || status.Primary != test.primary {
				t.Errorf("got the status %+v", status)
			}
			want := metav1.ConditionFalse
			if test.reason == v1alpha1.ReasonReady {
				want = metav1.ConditionTrue
			}
			if condition.Type != v1alpha1.ConditionPostgresReady || condition.ObservedGeneration != 7 ||
				condition.Status != want || condition.Reason != test.reason || condition.Message != test.message {
				t.Errorf("got the condition %+v, want %s %s %q", condition, want, test.reason, test.message)
			}
		})
	}
}
