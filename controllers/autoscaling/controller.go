// Package autoscaling lets the number of editor pods follow the client connections that they report. It owns the
// replicas of the editor Deployments of CollabClusters with spec.editor.autoscaling, the annotations that mark a pod
// for removal, and the condition ScalingActive. It must not know who owns which shard beyond whether a pod owns any.
package autoscaling

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applyautoscalingv1 "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"collab.dev/operator/api/v1alpha1"
	applyv1alpha1 "collab.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/sharding"
)

const (
	// FieldManager owns what autoscaling writes: the Deployment's replicas, and its part of the CollabCluster's status.
	FieldManager = "collab-autoscaler"

	// scrapePeriod is the time between two looks at the load, drainPeriod the same while a pod is being emptied.
	scrapePeriod = 5 * time.Second
	drainPeriod  = time.Second
	// statusPeriod is the least time between two writes of nothing but a new number of connections.
	statusPeriod = 10 * time.Second

	// drainingCost makes the ReplicaSet controller remove the drained pod before others.
	drainingCost = "-1000"
)

// Reconciler scales editor Deployments.
type Reconciler struct {
	// Client reads from the caches of CollabClusters, ShardMaps, Deployments and Pods, and writes. Required.
	Client client.Client
	// Recorder records Events on CollabClusters. Required.
	Recorder events.EventRecorder
	// HTTP reads the load of pods; a client of its own if it is nil.
	HTTP *http.Client
	// Clock tells the time; the real one if it is nil.
	Clock clock.PassiveClock
	// InternalPort is the port at which pods report their load; 8081 if it is 0.
	InternalPort int

	mutex    sync.Mutex
	clusters map[types.NamespacedName]*state
}

// state is what is remembered of one cluster between two looks at it. Only its own reconciliation uses it.
type state struct {
	uid           types.UID
	history       history
	statusWritten time.Time
	lastScale     *metav1.Time
}

// +kubebuilder:rbac:groups=collab.dev,resources=collabclusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=collab.dev,resources=collabclusters/status,verbs=get;patch
// +kubebuilder:rbac:groups=collab.dev,resources=shardmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments/scale,verbs=get;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.HTTP == nil {
		r.HTTP = &http.Client{
			Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.InternalPort == 0 {
		r.InternalPort = internalPort
	}
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("autoscaling").
		For(&v1alpha1.CollabCluster{}, changed).
		Owns(&appsv1.Deployment{}, changed).
		// A cluster whose pods answer slowly must not hold up the others.
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("registering the autoscaling controller: %w", err)
	}
	return nil
}

// Reconcile looks at the load of one cluster and takes one step towards the number of pods that it needs.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cluster := &v1alpha1.CollabCluster{}
	err := r.Client.Get(ctx, request.NamespacedName, cluster)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the CollabCluster: %w", err)
	}
	if gone := apierrors.IsNotFound(err); gone || cluster.DeletionTimestamp != nil {
		r.forget(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	if cluster.Spec.Editor == nil || cluster.Spec.Editor.Autoscaling == nil {
		r.forget(request.NamespacedName)
		return ctrl.Result{}, r.retire(ctx, cluster)
	}

	period, err := r.scale(ctx, cluster, r.remember(cluster))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		// What the caches showed is no more. They will catch up.
		return ctrl.Result{RequeueAfter: drainPeriod}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	// The jitter keeps the clusters of one operator from being looked at all at once.
	return ctrl.Result{RequeueAfter: period - period/10 + rand.N(period/5)}, nil
}

func (r *Reconciler) remember(cluster *v1alpha1.CollabCluster) *state {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	name := client.ObjectKeyFromObject(cluster)
	if s := r.clusters[name]; s != nil && s.uid == cluster.UID {
		return s
	}
	if r.clusters == nil {
		r.clusters = map[types.NamespacedName]*state{}
	}
	s := &state{uid: cluster.UID, lastScale: cluster.Status.Editor.LastScaleTime}
	r.clusters[name] = s
	return s
}

func (r *Reconciler) forget(cluster types.NamespacedName) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.clusters, cluster)
}

// retire takes back what autoscaling has said about a cluster that does not want it anymore.
func (r *Reconciler) retire(ctx context.Context, cluster *v1alpha1.CollabCluster) error {
	if meta.FindStatusCondition(cluster.Status.Conditions, v1alpha1.ConditionScalingActive) == nil {
		return nil
	}
	pods, err := r.pods(ctx, cluster)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if draining(pod) {
			if err := r.annotate(ctx, pod, false); client.IgnoreNotFound(err) != nil {
				return err
			}
		}
	}
	// An apply that names nothing removes all that this field manager owns.
	return r.applyStatus(ctx, cluster, applyv1alpha1.CollabClusterStatus())
}

// scale takes one step and returns the time until the next.
func (r *Reconciler) scale(ctx context.Context, cluster *v1alpha1.CollabCluster, s *state) (time.Duration, error) {
	deployment := &appsv1.Deployment{}
	name := client.ObjectKey{Namespace: cluster.Namespace, Name: child.ObjectName(cluster.Name, child.Editor)}
	err := r.Client.Get(ctx, name, deployment)
	if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(deployment, cluster) {
		return scrapePeriod, nil // The cluster's controller creates it, or tells of the conflict.
	}
	if err != nil {
		return 0, fmt.Errorf("reading the editor Deployment: %w", err)
	}
	pods, err := r.pods(ctx, cluster)
	if err != nil {
		return 0, err
	}

	samples, states, cause := r.look(ctx, pods)
	l := limitsOf(cluster.Spec.Editor.Autoscaling)
	replicas := valueOr(deployment.Spec.Replicas, 1)
	d := recommend(l, replicas, samples, &s.history, r.Clock.Now())
	if err := r.markEmptied(ctx, cluster, states); err != nil {
		return 0, err
	}
	todo := next(d.Replicas, replicas, settled(deployment, replicas, len(pods)), states)

	for _, pod := range pods {
		switch {
		case pod.Name == todo.Drain:
			log.FromContext(ctx).Info("Emptying an editor pod before it is removed", "pod", pod.Name)
			err = r.annotate(ctx, pod, true)
		case slices.Contains(todo.Undrain, pod.Name):
			log.FromContext(ctx).Info("Keeping an editor pod that was to be removed", "pod", pod.Name)
			err = r.annotate(ctx, pod, false)
		}
		if err != nil {
			return 0, err
		}
	}
	if todo.Replicas != 0 {
		if err := r.setReplicas(ctx, deployment, replicas, todo.Replicas); err != nil {
			return 0, err
		}
		now := metav1.NewTime(r.Clock.Now()).Rfc3339Copy()
		s.lastScale = &now
		s.history.scaled(now.Time, todo.Replicas-replicas)
		log.FromContext(ctx).Info("Scaled the editor pods",
			"from", replicas, "to", todo.Replicas, "connections", d.Connections)
		r.Recorder.Eventf(cluster, deployment, corev1.EventTypeNormal, v1alpha1.EventScaled, "Scale",
			"Scaled the editor pods from %d to %d: %d connections, %d per pod wanted",
			replicas, todo.Replicas, d.Connections, l.Target)
	}
	if err := r.report(ctx, cluster, s, d, l, cause); err != nil {
		return 0, err
	}
	if d.Replicas < replicas {
		return drainPeriod, nil
	}
	return scrapePeriod, nil
}

// pods are the editor pods that the Deployment counts: those that neither leave nor have ended.
func (r *Reconciler) pods(ctx context.Context, cluster *v1alpha1.CollabCluster) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := r.Client.List(ctx, &list,
		client.InNamespace(cluster.Namespace), client.MatchingLabels(child.Selector(cluster.Name, child.Editor)))
	if err != nil {
		return nil, fmt.Errorf("listing the editor pods: %w", err)
	}
	var pods []*corev1.Pod
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// look reads the load of the ready pods. The error says why some could not be read.
func (r *Reconciler) look(ctx context.Context, pods []*corev1.Pod) ([]sample, []podState, error) {
	samples, states := make([]sample, len(pods)), make([]podState, len(pods))
	var serving []*corev1.Pod
	var index []int
	for i, pod := range pods {
		states[i] = podState{
			Name: pod.Name, Ready: ready(pod), Created: pod.CreationTimestamp.Time, Draining: draining(pod),
		}
		samples[i].Ready = states[i].Ready
		if states[i].Ready && pod.Status.PodIP != "" {
			serving, index = append(serving, pod), append(index, i)
		}
	}
	loads, err := scrape(ctx, r.HTTP, r.InternalPort, serving)
	for k, report := range loads {
		if report != nil {
			samples[index[k]].Readable, samples[index[k]].Connections = true, report.Connections
			states[index[k]].Connections = report.Connections
		}
	}
	return samples, states, err
}

// markEmptied finds out which draining pods own no shard anymore.
func (r *Reconciler) markEmptied(ctx context.Context, cluster *v1alpha1.CollabCluster, states []podState) error {
	if !slices.ContainsFunc(states, func(s podState) bool { return s.Draining }) {
		return nil
	}
	shardMap := &v1alpha1.ShardMap{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(cluster), shardMap)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the ShardMap: %w", err)
	}
	owners := map[string]bool{}
	for _, shard := range shardMap.Spec.Shards {
		owners[shard.Owner] = true
	}
	for i := range states {
		states[i].Emptied = !owners[states[i].Name]
	}
	return nil
}

// setReplicas sets the Deployment's replicas, and makes them this field manager's. It fails with a conflict if they are
// not what the cache has shown.
func (r *Reconciler) setReplicas(ctx context.Context, deployment *appsv1.Deployment, seen, target int32) error {
	live := &autoscalingv1.Scale{}
	if err := r.Client.SubResource("scale").Get(ctx, deployment, live); err != nil {
		return fmt.Errorf("reading the scale of the editor Deployment: %w", err)
	}
	if live.Spec.Replicas != seen {
		return apierrors.NewConflict(appsv1.Resource("deployments"), deployment.Name,
			fmt.Errorf("it has %d replicas, not %d", live.Spec.Replicas, seen))
	}
	scale := applyautoscalingv1.Scale().
		WithName(deployment.Name).
		WithNamespace(deployment.Namespace).
		WithResourceVersion(live.ResourceVersion).
		WithSpec(applyautoscalingv1.ScaleSpec().WithReplicas(target))
	err := r.Client.SubResource("scale").Apply(ctx, applyappsv1.Deployment(deployment.Name, deployment.Namespace),
		&client.SubResourceApplyOptions{SubResourceBody: scale}, client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("scaling the editor Deployment to %d: %w", target, err)
	}
	return nil
}

// annotate marks a pod for removal, or takes the marks away.
func (r *Reconciler) annotate(ctx context.Context, pod *corev1.Pod, drain bool) error {
	marked := pod.DeepCopy()
	if drain {
		metav1.SetMetaDataAnnotation(&marked.ObjectMeta, sharding.DrainingAnnotation, "true")
		metav1.SetMetaDataAnnotation(&marked.ObjectMeta, corev1.PodDeletionCost, drainingCost)
	} else {
		delete(marked.Annotations, sharding.DrainingAnnotation)
		delete(marked.Annotations, corev1.PodDeletionCost)
	}
	if err := r.Client.Patch(ctx, marked, client.MergeFrom(pod), client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("annotating pod %s: %w", pod.Name, err)
	}
	return nil
}

// report writes autoscaling's part of the status, if it has changed.
func (r *Reconciler) report(
	ctx context.Context, cluster *v1alpha1.CollabCluster, s *state, d decision, l limits, cause error,
) error {
	healthy, reason, message := d.status(l)
	condition := metav1.Condition{
		Type: v1alpha1.ConditionScalingActive, Status: metav1.ConditionFalse, Reason: reason, Message: message,
		ObservedGeneration: cluster.Generation,
	}
	if healthy {
		condition.Status = metav1.ConditionTrue
	}
	now := r.Clock.Now()
	conditions := slices.Clone(cluster.Status.Conditions)
	changed := meta.SetStatusCondition(&conditions, condition)
	condition = *meta.FindStatusCondition(conditions, condition.Type)
	if changed && !healthy {
		log.FromContext(ctx).Info("Autoscaling does not see the load", "unreadable", d.Unreadable, "cause", fmt.Sprint(cause))
	}

	connections := cluster.Status.Editor.Connections
	if d.Unreadable == 0 && (connections == nil || *connections != d.Connections) {
		connections = &d.Connections
		changed = changed || now.Sub(s.statusWritten) >= statusPeriod
	}
	editor := applyv1alpha1.EditorStatus()
	if connections != nil {
		editor.WithConnections(*connections)
	}
	if s.lastScale != nil {
		editor.WithLastScaleTime(*s.lastScale)
		changed = changed || !s.lastScale.Equal(cluster.Status.Editor.LastScaleTime)
	}
	if !changed {
		return nil
	}
	err := r.applyStatus(ctx, cluster, applyv1alpha1.CollabClusterStatus().WithEditor(editor).WithConditions(
		applymetav1.Condition().
			WithType(condition.Type).WithStatus(condition.Status).WithReason(condition.Reason).
			WithMessage(condition.Message).WithObservedGeneration(condition.ObservedGeneration).
			WithLastTransitionTime(condition.LastTransitionTime)))
	if err == nil {
		s.statusWritten = now
	}
	return err
}

func (r *Reconciler) applyStatus(
	ctx context.Context, cluster *v1alpha1.CollabCluster, status *applyv1alpha1.CollabClusterStatusApplyConfiguration,
) error {
	configuration := applyv1alpha1.CollabCluster(cluster.Name, cluster.Namespace).WithUID(cluster.UID).WithStatus(status)
	err := r.Client.Status().Apply(ctx, configuration, client.FieldOwner(FieldManager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("writing autoscaling's part of the status: %w", err)
	}
	return nil
}

// settled says that the Deployment's controller has done what it should: exactly the desired pods are there, all of the
// newest template.
func settled(deployment *appsv1.Deployment, replicas int32, pods int) bool {
	return deployment.Status.ObservedGeneration >= deployment.Generation &&
		deployment.Status.UpdatedReplicas == replicas && pods == int(replicas)
}

// draining says that autoscaling has marked the pod for removal. A pod that somebody else drains is left alone.
func draining(pod *corev1.Pod) bool {
	return pod.Annotations[sharding.DrainingAnnotation] == "true" &&
		pod.Annotations[corev1.PodDeletionCost] == drainingCost
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
