package cluster

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/apply"
	"collab.dev/operator/controllers/child"
)

// observation is everything that decisions about one CollabCluster are based on. It is read once per reconciliation.
type observation struct {
	pods        []corev1.Pod
	sets        []appsv1.StatefulSet
	deployments []appsv1.Deployment
	// shardMap is nil while there is none; then foreign says so if one of somebody else is in its place.
	shardMap *v1alpha1.ShardMap
	foreign  error
	// primary is the name of the Redis primary's pod, empty if it is not known.
	primary string
}

func (r *Reconciler) observe(ctx context.Context, cluster *v1alpha1.CollabCluster) (observation, error) {
	var pods corev1.PodList
	var sets appsv1.StatefulSetList
	var deployments appsv1.DeploymentList
	for _, list := range []client.ObjectList{&pods, &sets, &deployments} {
		if err := r.Client.List(ctx, list, client.InNamespace(cluster.Namespace),
			client.MatchingLabels{child.LabelInstance: cluster.Name}); err != nil {
			return observation{}, fmt.Errorf("list the children: %w", err)
		}
	}
	seen := observation{pods: pods.Items, sets: sets.Items, deployments: deployments.Items}
	shardMap := &v1alpha1.ShardMap{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(cluster), shardMap)
	if apierrors.IsNotFound(err) {
		// One without our labels is not in the cache.
		err = r.Live.Get(ctx, client.ObjectKeyFromObject(cluster), shardMap)
	}
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return observation{}, fmt.Errorf("read the ShardMap: %w", err)
	case metav1.IsControlledBy(shardMap, cluster):
		seen.shardMap = shardMap
	default:
		seen.foreign = apply.Foreign("ShardMap", shardMap)
	}
	return seen, nil
}

func (o observation) podsOf(components ...child.Component) []corev1.Pod {
	var pods []corev1.Pod
	for _, pod := range o.pods {
		for _, component := range components {
			if pod.Labels[child.LabelComponent] == string(component) {
				pods = append(pods, pod)
			}
		}
	}
	return pods
}

func (o observation) deployment(name string) *appsv1.Deployment {
	for i := range o.deployments {
		if o.deployments[i].Name == name {
			return &o.deployments[i]
		}
	}
	return nil
}
