package editor

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// Observe describes the cluster's editor pods from the pods and their Deployment. It leaves the fields that autoscaling
// fills in, connections and lastScaleTime, empty.
func Observe(
	cluster *v1alpha1.CollabCluster, pods []corev1.Pod, deployments []appsv1.Deployment,
) (v1alpha1.EditorStatus, metav1.Condition) {
	own := child.PodsOf(pods, cluster.Name, child.Editor)
	deployment := find(deployments, name(cluster))
	status := v1alpha1.EditorStatus{
		DesiredReplicas: MinReplicas(cluster),
		Selector:        labels.SelectorFromSet(child.Selector(cluster.Name, child.Editor)).String(),
	}
	if deployment != nil && deployment.Spec.Replicas != nil {
		status.DesiredReplicas = *deployment.Spec.Replicas
	}
	for _, pod := range own {
		status.Replicas++
		if child.PodReady(pod) {
			status.ReadyReplicas++
		}
	}
	status.Summary = fmt.Sprintf("%d/%d", status.ReadyReplicas, status.DesiredReplicas)

	condition := metav1.Condition{
		Type:               v1alpha1.ConditionEditorReady,
		Status:             metav1.ConditionFalse,
		ObservedGeneration: cluster.Generation,
		Message:            fmt.Sprintf("%d of %d editor pods are ready", status.ReadyReplicas, status.DesiredReplicas),
	}
	if unready := child.Unready(own); unready != "" {
		condition.Message += "; waiting for " + unready
	}
	switch {
	case deployment == nil || status.Replicas < status.DesiredReplicas || rolling(deployment):
		condition.Reason = v1alpha1.ReasonProgressing
	case status.ReadyReplicas < status.DesiredReplicas:
		condition.Reason = v1alpha1.ReasonPodsNotReady
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonReady
	}
	return status, condition
}

func find(deployments []appsv1.Deployment, name string) *appsv1.Deployment {
	for i := range deployments {
		if deployments[i].Name == name {
			return &deployments[i]
		}
	}
	return nil
}

// rolling says whether pods of an older template are still there, or pods of the newest are still to be made.
func rolling(deployment *appsv1.Deployment) bool {
	status := deployment.Status
	return status.ObservedGeneration < deployment.Generation || status.UpdatedReplicas < status.Replicas
}
