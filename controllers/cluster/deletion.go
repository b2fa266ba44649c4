package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/postgres"
)

const (
	// deletionTimeout bounds the wait for pods to go. After it the CollabCluster goes without them: a node that is lost
	// must not make a CollabCluster undeletable.
	deletionTimeout = 5 * time.Minute
	deletionPoll    = 5 * time.Second
)

// stage is how far the deletion of a CollabCluster has come.
type stage int

const (
	// editorsGo: editor pods leave first, because what they still hold is to reach the stores.
	editorsGo stage = iota
	// storesGo: Patroni makes its ConfigMaps again for as long as it runs, so that its pods have to go before them.
	storesGo
	// cleanUp: what has no owner is removed, and then the finalizer.
	cleanUp
)

// deletionStage decides what a deletion waits for. Everything else is left to the garbage collector.
func deletionStage(cluster *v1alpha1.CollabCluster, seen observation, now time.Time) stage {
	switch {
	case now.Sub(cluster.DeletionTimestamp.Time) > deletionTimeout:
		return cleanUp
	case len(ownedBy(cluster, editorDeployments(cluster, seen))) > 0 || len(seen.podsOf(child.Editor)) > 0:
		return editorsGo
	case len(ownedBy(cluster, statefulSets(seen))) > 0 || len(seen.podsOf(child.Postgres, child.Redis)) > 0:
		return storesGo
	default:
		return cleanUp
	}
}

// delete removes what the garbage collector does not know to belong to the CollabCluster, or not in which order.
func (r *Reconciler) delete(
	ctx context.Context, cluster *v1alpha1.CollabCluster, seen observation,
) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(cluster, Finalizer) {
		return ctrl.Result{}, nil
	}
	wait := func(message string, objects []client.Object) (ctrl.Result, error) {
		errs := []error{r.writeStatus(ctx, cluster, deleting(cluster, message))}
		for _, object := range ownedBy(cluster, objects) {
			errs = append(errs, r.remove(ctx, object))
		}
		return ctrl.Result{RequeueAfter: deletionPoll}, errors.Join(errs...)
	}
	switch deletionStage(cluster, seen, r.Clock.Now()) {
	case editorsGo:
		return wait("Editor pods are letting their clients go", editorDeployments(cluster, seen))
	case storesGo:
		return wait("PostgreSQL and Redis are stopping", statefulSets(seen))
	case cleanUp:
	}
	if left := len(seen.podsOf(child.Editor, child.Postgres, child.Redis)); left > 0 {
		log.FromContext(ctx).Info("pods did not stop in time; deleting the CollabCluster without waiting for them",
			"pods", left, "timeout", deletionTimeout.String())
	}
	if err := r.cleanUp(ctx, cluster); err != nil {
		return ctrl.Result{}, err
	}
	r.replicas.reclaim(cluster.UID)
	before := cluster.DeepCopy()
	controllerutil.RemoveFinalizer(cluster, Finalizer)
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, cluster, patch, client.FieldOwner(child.ManagedBy)); client.IgnoreNotFound(err) != nil {
		return quietConflict(ctx, fmt.Errorf("remove the finalizer: %w", err))
	}
	return ctrl.Result{}, nil
}

// cleanUp removes what has no owner: Patroni's ConfigMaps always (a Patroni that finds its data without them goes on
// from the data), volumes and credentials if the CollabCluster says so.
func (r *Reconciler) cleanUp(ctx context.Context, cluster *v1alpha1.CollabCluster) error {
	var errs []error
	for _, name := range postgres.PatroniConfigMaps(cluster) {
		errs = append(errs, r.removeOwn(ctx, cluster, &corev1.ConfigMap{}, name))
	}
	stores := []child.Component{child.Postgres, child.Redis}
	for _, component := range stores {
		errs = append(errs, r.unguard(ctx, cluster, child.CredentialsSecret(cluster.Name, component)))
	}
	if retains(cluster) {
		r.Events.Eventf(cluster, nil, corev1.EventTypeNormal, v1alpha1.EventDataRetained, "Delete",
			"the volumes of PostgreSQL and Redis and the Secrets %s and %s are kept",
			child.CredentialsSecret(cluster.Name, child.Postgres), child.CredentialsSecret(cluster.Name, child.Redis))
		return errors.Join(errs...)
	}
	for _, component := range stores {
		name := child.CredentialsSecret(cluster.Name, component)
		errs = append(errs, r.removeOwn(ctx, cluster, &corev1.Secret{}, name),
			r.removeOwn(ctx, cluster, &corev1.Secret{}, copyName(name)))
		if err := r.Client.DeleteAllOf(ctx, &corev1.PersistentVolumeClaim{}, client.InNamespace(cluster.Namespace),
			client.MatchingLabels(child.Selector(cluster.Name, component))); err != nil {
			errs = append(errs, fmt.Errorf("delete the volumes of %s: %w", component, err))
		}
	}
	return errors.Join(errs...)
}

// removeOwn removes the object of a name, if it is the CollabCluster's.
func (r *Reconciler) removeOwn(
	ctx context.Context, cluster *v1alpha1.CollabCluster, object client.Object, name string,
) error {
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: name}, object)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read %T %s: %w", object, name, err)
	case !ours(cluster, object):
		return nil
	}
	return r.remove(ctx, object)
}

// unguard lets a Secret be deleted: with its CollabCluster, or later by whoever needs its volumes no longer.
func (r *Reconciler) unguard(ctx context.Context, cluster *v1alpha1.CollabCluster, name string) error {
	guarded := &corev1.Secret{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: name}, guarded)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("read Secret %s: %w", name, err)
	}
	return r.release(ctx, guarded)
}

// remove deletes an object that was read before, and none that has taken its place since.
func (r *Reconciler) remove(ctx context.Context, object client.Object) error {
	if !object.GetDeletionTimestamp().IsZero() {
		return nil
	}
	uid := object.GetUID()
	err := r.Client.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: &uid})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %T %s: %w", object, object.GetName(), err)
	}
	return nil
}

func editorDeployments(cluster *v1alpha1.CollabCluster, seen observation) []client.Object {
	if deployment := seen.deployment(child.ObjectName(cluster.Name, child.Editor)); deployment != nil {
		return []client.Object{deployment}
	}
	return nil
}

func statefulSets(seen observation) []client.Object {
	objects := make([]client.Object, 0, len(seen.sets))
	for i := range seen.sets {
		objects = append(objects, &seen.sets[i])
	}
	return objects
}

func ownedBy(cluster *v1alpha1.CollabCluster, objects []client.Object) []client.Object {
	var own []client.Object
	for _, object := range objects {
		if metav1.IsControlledBy(object, cluster) {
			own = append(own, object)
		}
	}
	return own
}
