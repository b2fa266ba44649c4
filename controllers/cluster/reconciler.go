// Package cluster owns the life of a CollabCluster: it makes its children, keeps them as they should be, sums up their
// state in the status, and removes what the garbage collector cannot when it is deleted. What each child looks like is
// decided by the builder packages; who owns which shard and how many editor pods there are is none of its business.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/apply"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/editor"
	"collab.dev/operator/controllers/postgres"
	"collab.dev/operator/controllers/redis"
)

const (
	// Finalizer holds a deleted CollabCluster until what the garbage collector cannot remove is removed.
	Finalizer = "collab.dev/cleanup"
	// refreshInterval is how often a CollabCluster is looked at without an event: Redis tells nobody of a fail-over, and
	// a foreign object that is in the way is not watched.
	refreshInterval = 15 * time.Second
	// reconcileTimeout bounds one reconciliation with all its calls.
	reconcileTimeout = time.Minute
	workers          = 4
)

// The operator may not grant what it may not do itself, so that it also holds what the Roles of its children allow.
//
// +kubebuilder:rbac:groups=collab.dev,resources=collabclusters,verbs=get;list;watch;update;patch
// +kubebuilder:rbac:groups=collab.dev,resources=collabclusters/status,verbs=get;patch
// +kubebuilder:rbac:groups=collab.dev,resources=collabclusters/finalizers,verbs=update
// +kubebuilder:rbac:groups=collab.dev,resources=shardmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;update;patch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=list;deletecollection
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler makes CollabClusters come true. The fields must be set before SetupWithManager and not changed after.
type Reconciler struct {
	// Client writes, and reads from a cache with CacheOptions.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Events records what happened to a CollabCluster.
	Events events.EventRecorder
	// Images are used where a CollabCluster names none.
	Images child.Images
	// Primary finds the Redis primary.
	Primary PrimaryFinder
	// Clock tells the time.
	Clock clock.PassiveClock

	applier  *apply.Applier
	replicas handedOver
}

// CacheOptions are those of the cache that the operator reads from: of every kind but its own it holds nothing that
// is not the operator's, so that it does not grow with what else there is in the Kubernetes cluster.
func CacheOptions(namespaces []string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{child.LabelManagedBy: child.ManagedBy})}
	options := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			// Pods are made by controllers from templates that carry the selector's labels.
			&corev1.Pod{}: {Label: labels.SelectorFromSet(labels.Set{child.LabelName: child.Name})},
		},
	}
	for _, kind := range owned() {
		options.ByObject[kind] = ours
	}
	for _, namespace := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[namespace] = cache.Config{}
	}
	return options
}

// owned are the kinds of the children.
func owned() []client.Object {
	return []client.Object{
		&appsv1.Deployment{}, &appsv1.StatefulSet{}, &corev1.Service{}, &corev1.Secret{}, &corev1.ConfigMap{},
		&corev1.ServiceAccount{}, &rbacv1.Role{}, &rbacv1.RoleBinding{}, &policyv1.PodDisruptionBudget{},
		&v1alpha1.ShardMap{},
	}
}

// SetupWithManager registers the reconciler and its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.applier = apply.New(r.Client, r.Live, child.ManagedBy)
	toCluster := handler.EnqueueRequestsFromMapFunc(clusterOf)
	b := ctrl.NewControllerManagedBy(mgr).
		Named("cluster").
		For(&v1alpha1.CollabCluster{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, ReconciliationTimeout: reconcileTimeout}).
		Watches(&corev1.Pod{}, toCluster, builder.WithPredicates(predicate.Funcs{UpdateFunc: podChanged}))
	for _, kind := range owned() {
		b = b.Watches(kind, toCluster, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}))
	}
	if err := b.Complete(r); err != nil {
		return fmt.Errorf("set up the CollabCluster controller: %w", err)
	}
	return nil
}

// clusterOf finds the CollabCluster of a child by its label: a Secret that was retained has no owner.
func clusterOf(_ context.Context, object client.Object) []reconcile.Request {
	name := object.GetLabels()[child.LabelInstance]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
}

// podChanged ignores what a status does not depend on, such as the time of a probe.
func podChanged(e event.UpdateEvent) bool {
	before, wasPod := e.ObjectOld.(*corev1.Pod)
	after, isPod := e.ObjectNew.(*corev1.Pod)
	return !wasPod || !isPod || before.Status.Phase != after.Status.Phase ||
		child.PodReady(before) != child.PodReady(after) ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		!labels.Equals(before.Labels, after.Labels)
}

// Reconcile brings one CollabCluster's children and status to what they should be.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cluster := &v1alpha1.CollabCluster{}
	if err := r.Client.Get(ctx, request.NamespacedName, cluster); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(ctx, request.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read the CollabCluster: %w", err)
	}
	seen, err := r.observe(ctx, cluster)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !cluster.DeletionTimestamp.IsZero() {
		return r.delete(ctx, cluster, seen)
	}
	if controllerutil.AddFinalizer(cluster, Finalizer) {
		before := cluster.DeepCopy()
		controllerutil.RemoveFinalizer(before, Finalizer)
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := r.Client.Patch(ctx, cluster, patch, client.FieldOwner(child.ManagedBy)); err != nil {
			return quietConflict(ctx, fmt.Errorf("add the finalizer: %w", err))
		}
	}
	if meta.FindStatusCondition(cluster.Status.Conditions, v1alpha1.ConditionReady) == nil {
		if err := r.writeStatus(ctx, cluster, starting(cluster)); err != nil {
			return ctrl.Result{}, err
		}
	}

	failures := r.applyChildren(ctx, cluster, seen)
	seen.primary = r.findPrimary(ctx, cluster, seen)
	err = errors.Join(failures.retriable(), r.writeStatus(ctx, cluster, decideStatus(cluster, seen, failures)))
	if err != nil {
		return quietConflict(ctx, err)
	}
	return ctrl.Result{RequeueAfter: refreshInterval + rand.N(refreshInterval/5)}, nil
}

// quietConflict turns a lost race into another try: the cache was behind, which is no fault that anyone need see.
func quietConflict(ctx context.Context, err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		log.FromContext(ctx).V(1).Info("the cache was behind; trying again", "cause", err.Error())
		return ctrl.Result{RequeueAfter: time.Second}, nil
	}
	return ctrl.Result{}, err
}

// failures are what went wrong with the children, by the condition that tells of it.
type failures map[string][]error

// retriable are the failures that another try may mend. A foreign object is none, nor is a lost password: somebody has
// to do something.
func (f failures) retriable() error {
	var all []error
	for _, errs := range f {
		for _, err := range errs {
			if !errors.Is(err, apply.ErrForeign) && !errors.Is(err, errLost) {
				all = append(all, err)
			}
		}
	}
	return errors.Join(all...)
}

// applyChildren makes the children what they should be. One that fails does not keep the others from being tried.
func (r *Reconciler) applyChildren(ctx context.Context, cluster *v1alpha1.CollabCluster, seen observation) failures {
	failed := failures{}
	note := func(condition, kind, name string, outcome apply.Outcome, err error) {
		if err != nil {
			failed[condition] = append(failed[condition], err)
		}
		r.announce(ctx, cluster, condition, kind, name, outcome, err)
	}
	credentialsOf := func(condition string, component child.Component, keys []string) {
		want := credentials(cluster, component, keys)
		_, outcome, err := r.ensureSecret(ctx, cluster, want)
		note(condition, "Secret", want.name, outcome, err)
	}
	credentialsOf(v1alpha1.ConditionPostgresReady, child.Postgres, postgres.CredentialKeys())
	credentialsOf(v1alpha1.ConditionRedisReady, child.Redis, redis.CredentialKeys())
	if keys := editor.CredentialKeys(cluster); len(keys) > 0 {
		credentialsOf(v1alpha1.ConditionEditorReady, child.Editor, keys)
	}
	outcome, err := r.ensurePeerTLS(ctx, cluster)
	note(v1alpha1.ConditionEditorReady, "Secret", child.PeerTLSSecret(cluster.Name), outcome, err)

	editors, err := r.editorObjects(ctx, cluster, seen)
	if err != nil {
		failed[v1alpha1.ConditionEditorReady] = append(failed[v1alpha1.ConditionEditorReady], err)
	}
	for _, group := range []struct {
		condition string
		objects   []runtime.ApplyConfiguration
	}{
		{v1alpha1.ConditionPostgresReady, postgres.Objects(cluster, r.Images)},
		{v1alpha1.ConditionRedisReady, redis.Objects(cluster, r.Images)},
		{v1alpha1.ConditionEditorReady, editors},
	} {
		for _, object := range group.objects {
			outcome, err := r.applier.Apply(ctx, cluster, object)
			kind, name := identify(object)
			note(group.condition, kind, name, outcome, err)
		}
	}
	if seen.foreign != nil {
		note(v1alpha1.ConditionShardsAssigned, "ShardMap", cluster.Name, apply.Unchanged, seen.foreign)
	}
	return failed
}

// editorObjects are the editor's children. With autoscaling the number of pods is left out of the Deployment once the
// autoscaler's field manager holds it; before that, leaving it out would reset it to one.
func (r *Reconciler) editorObjects(
	ctx context.Context, cluster *v1alpha1.CollabCluster, seen observation,
) ([]runtime.ApplyConfiguration, error) {
	if cluster.Spec.Editor == nil || cluster.Spec.Editor.Autoscaling == nil {
		r.replicas.reclaim(cluster.UID)
		return editor.Objects(cluster, r.Images, editor.Replicas(cluster)), nil
	}
	objects := editor.Objects(cluster, r.Images, editor.MinReplicas(cluster))
	deployment := seen.deployment(child.ObjectName(cluster.Name, child.Editor))
	if deployment == nil {
		return objects, nil
	}
	if err := r.handOverReplicas(ctx, cluster, deployment); err != nil {
		return nil, err
	}
	for _, object := range objects {
		if deployment, ok := object.(*applyappsv1.DeploymentApplyConfiguration); ok {
			deployment.Spec.Replicas = nil
		}
	}
	return objects, nil
}

// announce records an Event for what happened to a child, once per happening.
func (r *Reconciler) announce(
	ctx context.Context, cluster *v1alpha1.CollabCluster, condition, kind, name string, outcome apply.Outcome, err error,
) {
	// Without the child in it, Events of the same reason would be taken for one that repeats.
	object := &corev1.ObjectReference{Kind: kind, Namespace: cluster.Namespace, Name: name}
	switch {
	case errors.Is(err, errLost):
		if !told(cluster, condition, v1alpha1.ReasonCredentialsLost) {
			r.Events.Eventf(cluster, object, corev1.EventTypeWarning, v1alpha1.EventCredentialsLost, "Apply", "%s", err.Error())
		}
	case errors.Is(err, apply.ErrForeign):
		if told(cluster, condition, v1alpha1.ReasonNameConflict) {
			return
		}
		r.Events.Eventf(cluster, object, corev1.EventTypeWarning, v1alpha1.EventConflict, "Apply",
			"%s. It was left as it is; rename or delete it, or choose another name for the CollabCluster", err.Error())
	case outcome == apply.Created:
		r.Events.Eventf(cluster, object, corev1.EventTypeNormal, v1alpha1.EventCreated, "Apply", "created %s %s", kind, name)
	case outcome == apply.Repaired:
		r.Events.Eventf(cluster, object, corev1.EventTypeNormal, v1alpha1.EventRepaired, "Apply",
			"%s %s had been changed and was set right", kind, name)
	case outcome == apply.Updated:
		log.FromContext(ctx).Info("updated a child", "kind", kind, "name", name)
	}
}

// told says whether a condition has the reason already.
func told(cluster *v1alpha1.CollabCluster, condition, reason string) bool {
	known := meta.FindStatusCondition(cluster.Status.Conditions, condition)
	return known != nil && known.Reason == reason
}

// forget drops what is remembered of a CollabCluster that is gone.
func (r *Reconciler) forget(ctx context.Context, cluster types.NamespacedName) {
	logr.FromContextOrDiscard(ctx).V(1).Info("the CollabCluster is gone")
	prefix := cluster.Name + "-"
	r.applier.Forget(func(name types.NamespacedName) bool {
		return name.Namespace == cluster.Namespace && len(name.Name) > len(prefix) && name.Name[:len(prefix)] == prefix
	})
}

// identify names an object for people.
func identify(object runtime.ApplyConfiguration) (kind, name string) {
	named, ok := object.(interface {
		GetKind() *string
		GetName() *string
	})
	if !ok {
		return fmt.Sprintf("%T", object), ""
	}
	if value := named.GetKind(); value != nil {
		kind = *value
	}
	if value := named.GetName(); value != nil {
		name = *value
	}
	return kind, name
}
