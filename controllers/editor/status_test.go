package editor

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

func pod(name string, ready bool) corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: child.Labels("docs", child.Editor)},
		Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "editor", Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		},
	}
}

func TestObserve(t *testing.T) {
	scaledTo := func(replicas int32, status appsv1.DeploymentStatus) []appsv1.Deployment {
		return []appsv1.Deployment{{
			ObjectMeta: metav1.ObjectMeta{Name: "docs-editor"},
			Spec:       appsv1.DeploymentSpec{Replicas: &replicas},
			Status:     status,
		}}
	}
	settled := appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 2}
	failed := pod("c", false)
	failed.Status.Phase = corev1.PodFailed

	tests := []struct {
		name        string
		pods        []corev1.Pod
		deployments []appsv1.Deployment
		summary     string
		replicas    int32
		status      metav1.ConditionStatus
		reason      string
		message     string
	}{
		{
			name: "nothing is there yet", summary: "0/2",
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonProgressing, message: "0 of 2 editor pods are ready",
		}, {
			name: "all is well", pods: []corev1.Pod{pod("a", true), pod("b", true), failed},
			deployments: scaledTo(2, settled), summary: "2/2", replicas: 2,
			status: metav1.ConditionTrue, reason: v1alpha1.ReasonReady, message: "2 of 2 editor pods are ready",
		}, {
			name: "a pod is not ready", pods: []corev1.Pod{pod("a", true), pod("b", false)},
			deployments: scaledTo(2, settled), summary: "1/2", replicas: 2,
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonPodsNotReady,
			message: "1 of 2 editor pods are ready; waiting for b (editor: not ready yet)",
		}, {
			name: "pods are added", pods: []corev1.Pod{pod("a", true), pod("b", true)},
			deployments: scaledTo(3, settled), summary: "2/3", replicas: 2,
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonProgressing, message: "2 of 3 editor pods are ready",
		}, {
			name: "a new template is rolled out", pods: []corev1.Pod{pod("a", true), pod("b", true)},
			deployments: scaledTo(2, appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 1}),
			summary:     "2/2", replicas: 2,
			status: metav1.ConditionFalse, reason: v1alpha1.ReasonProgressing, message: "2 of 2 editor pods are ready",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status, condition := Observe(newCluster(), test.pods, test.deployments)
			if status.Summary != test.summary || status.Replicas != test.replicas {
				t.Errorf("got the status %+v", status)
			}
			if condition.Type != v1alpha1.ConditionEditorReady || condition.ObservedGeneration != 7 ||
				condition.Status != test.status || condition.Reason != test.reason || condition.Message != test.message {
				t.Errorf("got the condition %+v, want %s %s %q", condition, test.status, test.reason, test.message)
			}
		})
	}
}

func TestSelectorOfTheScaleSubresourceSelectsThePods(t *testing.T) {
	status, _ := Observe(newCluster(), nil, nil)
	selector, err := labels.Parse(status.Selector)
	if err != nil {
		t.Fatal(err)
	}
	template := renderedDeployment(t, newCluster()).Spec.Template
	if !selector.Matches(labels.Set(template.Labels)) {
		t.Errorf("%q does not select pods with %v", status.Selector, template.Labels)
	}
	if selector.Matches(labels.Set(child.Labels("other", child.Editor))) {
		t.Errorf("%q selects another cluster's pods", status.Selector)
	}
}
