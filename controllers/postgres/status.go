package postgres

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// Observe describes the cluster's PostgreSQL from its pods, its StatefulSet and the Deployment of its proxies.
func Observe(
	cluster *v1alpha1.CollabCluster, pods []corev1.Pod, sets []appsv1.StatefulSet, deployments []appsv1.Deployment,
) (v1alpha1.StoreStatus, metav1.Condition) {
	status := v1alpha1.StoreStatus{Replicas: Replicas(cluster)}
	own := child.PodsOf(pods, cluster.Name, child.Postgres)
	for _, pod := range own {
		if !child.PodReady(pod) {
			continue
		}
		status.ReadyReplicas++
		if pod.Labels[roleLabel] == rolePrimary {
			status.Primary = pod.Name
		}
	}
	proxies := readyProxies(cluster, deployments)

	condition := metav1.Condition{
		Type:               v1alpha1.ConditionPostgresReady,
		Status:             metav1.ConditionFalse,
		ObservedGeneration: cluster.Generation,
	}
	ready := fmt.Sprintf("%d of %d PostgreSQL pods and %d of %d HAProxy pods are ready",
		status.ReadyReplicas, status.Replicas, proxies, ProxyReplicas(cluster))
	if unready := child.Unready(own); unready != "" {
		ready += "; waiting for " + unready
	}
	progressing := len(own) < int(status.Replicas) || rolling(cluster, sets)
	switch {
	// Where standbys wait for a primary, that is what matters, whatever else goes on.
	case status.Primary == "" && (status.ReadyReplicas > 0 || !progressing):
		condition.Reason, condition.Message = v1alpha1.ReasonNoPrimary, "no PostgreSQL pod is the primary; "+ready
	case progressing:
		condition.Reason, condition.Message = v1alpha1.ReasonProgressing, ready
	case status.ReadyReplicas < status.Replicas || proxies < ProxyReplicas(cluster):
		condition.Reason, condition.Message = v1alpha1.ReasonPodsNotReady, ready
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonReady
		condition.Message = fmt.Sprintf("%s; the primary is %s", ready, status.Primary)
	}
	return status, condition
}

func readyProxies(cluster *v1alpha1.CollabCluster, deployments []appsv1.Deployment) int32 {
	for i := range deployments {
		if deployments[i].Name == child.ObjectName(cluster.Name, child.HAProxy) {
			return deployments[i].Status.ReadyReplicas
		}
	}
	return 0
}

// rolling says whether the StatefulSet is missing or pods of an older template are still to be replaced.
func rolling(cluster *v1alpha1.CollabCluster, sets []appsv1.StatefulSet) bool {
	i := slices.IndexFunc(sets, func(set appsv1.StatefulSet) bool {
		return set.Name == child.ObjectName(cluster.Name, child.Postgres)
	})
	if i < 0 {
		return true
	}
	status := sets[i].Status
	return status.ObservedGeneration < sets[i].Generation || status.CurrentRevision != status.UpdateRevision
}
