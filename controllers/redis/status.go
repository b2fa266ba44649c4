package redis

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// Observe describes the cluster's Redis from its pods and StatefulSet, and from the name of the pod that Sentinels say
// takes writes, empty if they say none.
func Observe(
	cluster *v1alpha1.CollabCluster, pods []corev1.Pod, sets []appsv1.StatefulSet, primary string,
) (v1alpha1.StoreStatus, metav1.Condition) {
	status := v1alpha1.StoreStatus{Replicas: Replicas(cluster), Primary: primary}
	own := child.PodsOf(pods, cluster.Name, child.Redis)
	for _, pod := range own {
		if child.PodReady(pod) {
			status.ReadyReplicas++
		}
	}

	condition := metav1.Condition{
		Type:               v1alpha1.ConditionRedisReady,
		Status:             metav1.ConditionFalse,
		ObservedGeneration: cluster.Generation,
	}
	ready := fmt.Sprintf("%d of %d Redis pods are ready", status.ReadyReplicas, status.Replicas)
	if unready := child.Unready(own); unready != "" {
		ready += "; waiting for " + unready
	}
	set := find(sets, child.ObjectName(cluster.Name, child.Redis))
	progressing := set == nil || len(own) < int(status.Replicas) || rolling(set)
	switch {
	// Where replicas wait for a primary, that is what matters, whatever else goes on.
	case primary == "" && (status.ReadyReplicas > 0 || !progressing):
		condition.Reason = v1alpha1.ReasonNoPrimary
		condition.Message = "the Sentinels name no Redis primary; " + ready
	case progressing:
		condition.Reason, condition.Message = v1alpha1.ReasonProgressing, ready
	case status.ReadyReplicas < status.Replicas:
		condition.Reason, condition.Message = v1alpha1.ReasonPodsNotReady, ready
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonReady
		condition.Message = fmt.Sprintf("%s; the primary is %s", ready, primary)
	}
	return status, condition
}

func find(sets []appsv1.StatefulSet, name string) *appsv1.StatefulSet {
	for i := range sets {
		if sets[i].Name == name {
			return &sets[i]
		}
	}
	return nil
}

// rolling says whether pods of an older template are still to be replaced.
func rolling(set *appsv1.StatefulSet) bool {
	return set.Status.ObservedGeneration < set.Generation || set.Status.CurrentRevision != set.Status.UpdateRevision
}
