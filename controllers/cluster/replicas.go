package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// autoscalerManager is the field manager that holds an autoscaled Deployment's number of pods.
const autoscalerManager = "collab-autoscaler"

// handedOver remembers the CollabClusters whose number of editor pods is the autoscaler's. The zero value is ready.
type handedOver struct {
	mu       sync.Mutex
	clusters map[types.UID]types.UID
}

func (h *handedOver) done(cluster, deployment types.UID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clusters[cluster] == deployment
}

func (h *handedOver) remember(cluster, deployment types.UID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clusters == nil {
		h.clusters = map[types.UID]types.UID{}
	}
	h.clusters[cluster] = deployment
}

func (h *handedOver) reclaim(cluster types.UID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.clusters, cluster)
}

// handOverReplicas gives the Deployment's number of pods, as it is, to the autoscaler's field manager, unless that
// manager or any other than ours holds it already. A field that its last manager no longer applies falls back to its
// default, and the default of replicas is one.
func (r *Reconciler) handOverReplicas(
	ctx context.Context, cluster *v1alpha1.CollabCluster, cached *appsv1.Deployment,
) error {
	if r.replicas.done(cluster.UID, cached.UID) {
		return nil
	}
	// The Deployment's status changes all the time while its pods start.
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		deployment := &appsv1.Deployment{}
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(cached), deployment); err != nil {
			return err
		}
		if !metav1.IsControlledBy(deployment, cluster) || heldByOthers(deployment) {
			return nil
		}
		replicas := applyappsv1.Deployment(deployment.Name, deployment.Namespace).
			WithUID(deployment.UID).
			WithResourceVersion(deployment.ResourceVersion).
			WithSpec(applyappsv1.DeploymentSpec().WithReplicas(*deployment.Spec.Replicas))
		return r.Client.Apply(ctx, replicas, client.FieldOwner(autoscalerManager), client.ForceOwnership)
	})
	if err != nil {
		return fmt.Errorf("hand the replicas of Deployment %s over to the autoscaler: %w", cached.Name, err)
	}
	r.replicas.remember(cluster.UID, cached.UID)
	return nil
}

// heldByOthers says whether a field manager other than the operator's own apply holds spec.replicas.
func heldByOthers(deployment *appsv1.Deployment) bool {
	for _, entry := range deployment.ManagedFields {
		if entry.Manager == child.ManagedBy && entry.Operation == metav1.ManagedFieldsOperationApply ||
			entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Spec map[string]json.RawMessage `json:"f:spec"`
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			continue
		}
		if _, held := fields.Spec["f:replicas"]; held {
			return true
		}
	}
	return false
}
