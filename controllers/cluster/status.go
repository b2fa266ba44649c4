package cluster

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
	applyv1alpha1 "collab.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"collab.dev/operator/controllers/apply"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/editor"
	"collab.dev/operator/controllers/postgres"
	"collab.dev/operator/controllers/redis"
)

// summed are the conditions that Ready sums up, in the order in which they usually come true, so that Ready names the
// cause rather than its consequence.
var summed = []string{
	v1alpha1.ConditionPostgresReady, v1alpha1.ConditionRedisReady, v1alpha1.ConditionEditorReady,
	v1alpha1.ConditionShardsAssigned,
}

// decideStatus is the part of the status that is this reconciler's.
func decideStatus(cluster *v1alpha1.CollabCluster, seen observation, failed failures) v1alpha1.CollabClusterStatus {
	status := v1alpha1.CollabClusterStatus{
		ObservedGeneration: cluster.Generation,
		Conditions:         ownConditions(cluster),
	}
	var conditions [4]metav1.Condition
	status.Postgres, conditions[0] = postgres.Observe(cluster, seen.pods, seen.sets, seen.deployments)
	status.Redis, conditions[1] = redis.Observe(cluster, seen.pods, seen.sets, seen.primary)
	status.Editor, conditions[2] = editor.Observe(cluster, seen.pods, seen.deployments)
	status.Shards, conditions[3] = observeShards(editor.Shards(cluster), seen.shardMap, seen.podsOf(child.Editor))

	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		Message: "Clients can connect and edit",
	}
	for i, condition := range conditions {
		condition.Type = summed[i]
		if errs := failed[condition.Type]; len(errs) > 0 {
			condition.Status, condition.Reason, condition.Message = describe(errs)
		}
		condition.ObservedGeneration = cluster.Generation
		meta.SetStatusCondition(&status.Conditions, condition)
		if condition.Status != metav1.ConditionTrue && ready.Status == metav1.ConditionTrue {
			ready.Status, ready.Reason = metav1.ConditionFalse, condition.Reason
			ready.Message = condition.Type + ": " + condition.Message
		}
	}
	ready.ObservedGeneration = cluster.Generation
	meta.SetStatusCondition(&status.Conditions, ready)
	return status
}

// starting is the status of a CollabCluster that has just been seen for the first time.
func starting(cluster *v1alpha1.CollabCluster) v1alpha1.CollabClusterStatus {
	status := v1alpha1.CollabClusterStatus{ObservedGeneration: cluster.Generation}
	for _, condition := range append([]string{v1alpha1.ConditionReady}, summed...) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonProgressing,
			Message: "The operator is creating the children", ObservedGeneration: cluster.Generation,
		})
	}
	return status
}

// deleting is the status of a CollabCluster that waits for something to go.
func deleting(cluster *v1alpha1.CollabCluster, message string) v1alpha1.CollabClusterStatus {
	status := *cluster.Status.DeepCopy()
	status.ObservedGeneration = cluster.Generation
	status.Conditions = ownConditions(cluster)
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDeleting,
		Message: message, ObservedGeneration: cluster.Generation,
	})
	return status
}

// ownConditions copies those conditions of the CollabCluster that are this reconciler's.
func ownConditions(cluster *v1alpha1.CollabCluster) []metav1.Condition {
	var own []metav1.Condition
	for _, name := range append([]string{v1alpha1.ConditionReady}, summed...) {
		if condition := meta.FindStatusCondition(cluster.Status.Conditions, name); condition != nil {
			own = append(own, *condition)
		}
	}
	return own
}

// describe makes a condition of what went wrong. What somebody has to act on is named first.
func describe(errs []error) (metav1.ConditionStatus, string, string) {
	for _, err := range errs {
		switch {
		case errors.Is(err, apply.ErrForeign):
			return metav1.ConditionFalse, v1alpha1.ReasonNameConflict, shorten(err.Error())
		case errors.Is(err, errLost):
			return metav1.ConditionFalse, v1alpha1.ReasonCredentialsLost, shorten(err.Error())
		}
	}
	return metav1.ConditionFalse, v1alpha1.ReasonApplyFailed, shorten(errors.Join(errs...).Error())
}

// shorten keeps a message within what is readable in a status; the log has the whole of it.
func shorten(message string) string {
	const most = 1024
	if runes := []rune(message); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return message
}

// observeShards counts the shards whose owner is ready.
func observeShards(
	total int32, shardMap *v1alpha1.ShardMap, pods []corev1.Pod,
) (v1alpha1.ShardsStatus, metav1.Condition) {
	ready := map[string]bool{}
	for i := range pods {
		if child.PodReady(&pods[i]) {
			ready[string(pods[i].UID)] = true
		}
	}
	var assigned int32
	if shardMap != nil {
		owners := map[string]bool{}
		for _, member := range shardMap.Spec.Members {
			owners[member.Name] = ready[member.UID]
		}
		for _, shard := range shardMap.Spec.Shards {
			if owners[shard.Owner] {
				assigned++
			}
		}
	}
	status := v1alpha1.ShardsStatus{Total: total, Assigned: assigned, Summary: fmt.Sprintf("%d/%d", assigned, total)}
	condition := metav1.Condition{Status: metav1.ConditionFalse}
	switch {
	case assigned == total:
		condition.Status, condition.Reason = metav1.ConditionTrue, v1alpha1.ReasonReady
		condition.Message = "Every shard is owned by a ready editor pod"
	case len(ready) == 0:
		condition.Reason, condition.Message = v1alpha1.ReasonNoEditorPods, "No editor pod is ready to own shards"
	case shardMap == nil:
		condition.Reason = v1alpha1.ReasonEpochsUnknown
		condition.Message = "The shard map is made when PostgreSQL has told the epochs that it has seen"
	default:
		condition.Reason = v1alpha1.ReasonShardsUnassigned
		condition.Message = fmt.Sprintf("%d of %d shards have no ready owner", total-assigned, total)
	}
	return status, condition
}

// writeStatus applies the part of the status that is this reconciler's, if it differs from what is there. What the
// autoscaling reconciler reports stays, because another field manager holds it.
func (r *Reconciler) writeStatus(
	ctx context.Context, cluster *v1alpha1.CollabCluster, status v1alpha1.CollabClusterStatus,
) error {
	present := cluster.Status.DeepCopy()
	present.Conditions = ownConditions(cluster)
	status.Editor.Connections, status.Editor.LastScaleTime = present.Editor.Connections, present.Editor.LastScaleTime
	if sameConditions(present.Conditions, status.Conditions) {
		present.Conditions = status.Conditions
	}
	if equality.Semantic.DeepEqual(*present, status) {
		return nil
	}
	desired := applyv1alpha1.CollabCluster(cluster.Name, cluster.Namespace).WithStatus(statusConfiguration(status))
	if err := r.Client.Status().Apply(ctx, desired, client.FieldOwner(child.ManagedBy),
		client.ForceOwnership); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	cluster.Status.Conditions = status.Conditions
	return nil
}

// sameConditions compares conditions whatever their order.
func sameConditions(a, b []metav1.Condition) bool {
	if len(a) != len(b) {
		return false
	}
	for _, condition := range a {
		other := meta.FindStatusCondition(b, condition.Type)
		if other == nil || !equality.Semantic.DeepEqual(condition, *other) {
			return false
		}
	}
	return true
}

func statusConfiguration(status v1alpha1.CollabClusterStatus) *applyv1alpha1.CollabClusterStatusApplyConfiguration {
	configuration := applyv1alpha1.CollabClusterStatus().
		WithObservedGeneration(status.ObservedGeneration).
		WithEditor(applyv1alpha1.EditorStatus().
			WithReplicas(status.Editor.Replicas).
			WithDesiredReplicas(status.Editor.DesiredReplicas).
			WithReadyReplicas(status.Editor.ReadyReplicas).
			WithSummary(status.Editor.Summary).
			WithSelector(status.Editor.Selector)).
		WithShards(applyv1alpha1.ShardsStatus().
			WithTotal(status.Shards.Total).
			WithAssigned(status.Shards.Assigned).
			WithSummary(status.Shards.Summary)).
		WithRedis(storeConfiguration(status.Redis)).
		WithPostgres(storeConfiguration(status.Postgres))
	for _, condition := range status.Conditions {
		configuration.WithConditions(applymetav1.Condition().
			WithType(condition.Type).
			WithStatus(condition.Status).
			WithReason(condition.Reason).
			WithMessage(condition.Message).
			WithObservedGeneration(condition.ObservedGeneration).
			WithLastTransitionTime(condition.LastTransitionTime))
	}
	return configuration
}

func storeConfiguration(status v1alpha1.StoreStatus) *applyv1alpha1.StoreStatusApplyConfiguration {
	configuration := applyv1alpha1.StoreStatus().WithReplicas(status.Replicas).WithReadyReplicas(status.ReadyReplicas)
	if status.Primary != "" {
		configuration.WithPrimary(status.Primary)
	}
	return configuration
}
