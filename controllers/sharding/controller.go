// Package sharding keeps the ShardMap of each CollabCluster: it watches editor pods, by the API and by probing them,
// and gives every shard an owner that is alive. It owns the ShardMap and the failure detector. Who gets which shard is
// decided by package assignment; it must not know how pods come to be or what they do with their shards.
package sharding

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/editor"
	"collab.dev/operator/controllers/sharding/assignment"
)

const (
	// plannedMoves is how many shards are moved between live pods at once, and movePause the least time between two
	// such batches: a pod with 256 shards is emptied in two seconds, and a new one is not hit by all of them together.
	plannedMoves = 32
	movePause    = 250 * time.Millisecond

	// epochsPause is the time between two attempts to learn the highest epoch.
	epochsPause = 2 * time.Second
	// conflictPause lets the cache catch up with a ShardMap that somebody else has written.
	conflictPause = 50 * time.Millisecond
	// foreignPause is the time between two looks at a ShardMap that is in the way and not in the cache.
	foreignPause = 15 * time.Second

	// restartsAnnotation on a ShardMap holds the container restarts of those members that had any, as a JSON object:
	// with the UID they tell whether a member is still the process that the shards were given to.
	restartsAnnotation = "collab.dev/restarts"
)

// Reconciler keeps the ShardMaps.
type Reconciler struct {
	// Client reads from the caches of CollabClusters, ShardMaps, Deployments and Pods, and writes ShardMaps. Required.
	Client client.Client
	// Live reads from the API server. Required.
	Live client.Reader
	// Recorder records Events on CollabClusters. Required.
	Recorder events.EventRecorder
	// Epochs tells where the epochs of a new ShardMap start. Required.
	Epochs EpochSource
	// InternalPort is the port at which pods are probed; 8081 if it is 0.
	InternalPort int

	detector *Detector

	mutex sync.Mutex
	// moved is when shards of a cluster were last moved by plan.
	moved map[types.NamespacedName]time.Time
}

// +kubebuilder:rbac:groups=collab.dev,resources=collabclusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=collab.dev,resources=shardmaps,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller and its failure detector.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.InternalPort == 0 {
		r.InternalPort = internalPort
	}
	// The verdicts of the detector go straight to the controller's queue, which neither blocks nor drops.
	var queue atomic.Pointer[workqueue.TypedRateLimitingInterface[reconcile.Request]]
	r.detector = NewDetector(func(cluster types.NamespacedName) {
		if q := queue.Load(); q != nil {
			(*q).Add(reconcile.Request{NamespacedName: cluster})
		}
	})
	if err := mgr.Add(r.detector); err != nil {
		return fmt.Errorf("adding the failure detector: %w", err)
	}
	verdicts := source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Store(&q)
		return nil
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("sharding").
		For(&v1alpha1.CollabCluster{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		// Whoever it belongs to: the one that is in the way may go.
		Watches(&v1alpha1.ShardMap{}, &handler.EnqueueRequestForObject{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(clusterOfEditor)).
		WatchesRawSource(verdicts).
		// A cluster whose PostgreSQL does not answer must not hold up the others.
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("registering the sharding controller: %w", err)
	}
	return nil
}

// clusterOfEditor maps an editor pod to its cluster.
func clusterOfEditor(_ context.Context, pod client.Object) []reconcile.Request {
	labels := pod.GetLabels()
	if labels[child.LabelComponent] != string(child.Editor) || labels[child.LabelInstance] == "" {
		return nil
	}
	cluster := types.NamespacedName{Namespace: pod.GetNamespace(), Name: labels[child.LabelInstance]}
	return []reconcile.Request{{NamespacedName: cluster}}
}

// Reconcile brings one cluster's ShardMap in line with its pods.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, request)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	return result, err
}

func (r *Reconciler) reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cluster := &v1alpha1.CollabCluster{}
	err := r.Client.Get(ctx, request.NamespacedName, cluster)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the CollabCluster: %w", err)
	}
	if gone := apierrors.IsNotFound(err); gone || cluster.DeletionTimestamp != nil {
		r.detector.Watch(request.NamespacedName, nil)
		r.remember(request.NamespacedName, 0)
		if gone {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, r.dissolve(ctx, cluster)
	}

	shardMap := &v1alpha1.ShardMap{}
	err = r.Client.Get(ctx, request.NamespacedName, shardMap)
	switch {
	case apierrors.IsNotFound(err):
		return r.create(ctx, cluster)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("reading the ShardMap: %w", err)
	case !metav1.IsControlledBy(shardMap, cluster):
		// The cluster's controller tells of it.
		return ctrl.Result{RequeueAfter: foreignPause}, nil
	case shardMap.DeletionTimestamp != nil:
		return ctrl.Result{}, nil
	}
	return r.assign(ctx, cluster, shardMap)
}

// dissolve takes the shards of a CollabCluster that is being deleted from its pods, which flush and close them. Nobody is
// going to take them over, and pods that are told to stop wait until they own nothing.
func (r *Reconciler) dissolve(ctx context.Context, cluster *v1alpha1.CollabCluster) error {
	shardMap := &v1alpha1.ShardMap{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(cluster), shardMap)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading the ShardMap: %w", err)
	case !metav1.IsControlledBy(shardMap, cluster) || shardMap.DeletionTimestamp != nil:
		return nil
	}
	current, err := shardsOf(shardMap)
	if err != nil {
		return reconcile.TerminalError(err)
	}
	next := shardMap.DeepCopy()
	next.Spec = v1alpha1.ShardMapSpec{Shards: entries(assignment.Assign(nil, current, assignment.Limits{}).Shards)}
	setRestarts(next, nil)
	_, err = r.write(ctx, shardMap, next)
	return err
}

// adopt makes a ShardMap visible again that is not in the cache because somebody removed its labels, and leaves one
// that belongs to somebody else alone.
func (r *Reconciler) adopt(
	ctx context.Context, cluster *v1alpha1.CollabCluster, shardMap *v1alpha1.ShardMap,
) (ctrl.Result, error) {
	if !metav1.IsControlledBy(shardMap, cluster) {
		return ctrl.Result{RequeueAfter: foreignPause}, nil
	}
	labelled := shardMap.DeepCopy()
	for key, value := range child.Labels(cluster.Name, child.Editor) {
		metav1.SetMetaDataLabel(&labelled.ObjectMeta, key, value)
	}
	if maps.Equal(shardMap.Labels, labelled.Labels) || shardMap.DeletionTimestamp != nil {
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	log.FromContext(ctx).Info("Labelling the shard map, whose labels somebody removed")
	_, err := r.write(ctx, shardMap, labelled)
	return ctrl.Result{}, err
}

// create writes a new ShardMap, whose shards nobody owns yet.
func (r *Reconciler) create(ctx context.Context, cluster *v1alpha1.CollabCluster) (ctrl.Result, error) {
	present := &v1alpha1.ShardMap{}
	switch err := r.Live.Get(ctx, client.ObjectKeyFromObject(cluster), present); {
	case err == nil:
		return r.adopt(ctx, cluster, present)
	case !apierrors.IsNotFound(err):
		return ctrl.Result{}, fmt.Errorf("reading the ShardMap from the API server: %w", err)
	}
	highest, err := r.Epochs.HighestEpoch(ctx, cluster)
	if err != nil {
		log.FromContext(ctx).Info("The shard map waits for PostgreSQL to tell the epochs it has seen", "cause", err.Error())
		return ctrl.Result{RequeueAfter: epochsPause}, nil
	}
	count := int(editor.Shards(cluster))
	owner := metav1.NewControllerRef(cluster, v1alpha1.GroupVersion.WithKind("CollabCluster"))
	shardMap := &v1alpha1.ShardMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       cluster.Namespace,
			Name:            cluster.Name,
			Labels:          child.Labels(cluster.Name, child.Editor),
			OwnerReferences: []metav1.OwnerReference{*owner},
		},
		Spec: v1alpha1.ShardMapSpec{Shards: entries(assignment.New(count, highest+1))},
	}
	if err := r.Client.Create(ctx, shardMap, client.FieldOwner(child.ManagedBy)); err != nil {
		return ctrl.Result{}, fmt.Errorf("creating the ShardMap: %w", err)
	}
	log.FromContext(ctx).Info("Created the shard map", "shards", count, "epoch", highest+1)
	return ctrl.Result{}, nil
}

// assign gives the shards of an existing ShardMap to the pods that are alive.
func (r *Reconciler) assign(
	ctx context.Context, cluster *v1alpha1.CollabCluster, shardMap *v1alpha1.ShardMap,
) (ctrl.Result, error) {
	var pods corev1.PodList
	err := r.Client.List(ctx, &pods,
		client.InNamespace(cluster.Namespace), client.MatchingLabels(child.Selector(cluster.Name, child.Editor)))
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("listing the editor pods: %w", err)
	}
	current, err := shardsOf(shardMap)
	if err != nil {
		return ctrl.Result{}, reconcile.TerminalError(err)
	}

	name := client.ObjectKeyFromObject(cluster)
	seen := observe(pods.Items, membersOf(shardMap), r.detector.Failed(name), r.InternalPort)
	r.detector.Watch(name, seen.processes)
	// Reconciliations are as frequent as events, planned moves are not.
	limits, pause := assignment.Limits{PlannedMoves: plannedMoves}, r.pause(name)
	if pause > 0 {
		limits.PlannedMoves = -1
	}
	if slices.ContainsFunc(seen.members, func(m assignment.Member) bool { return m.Outdated }) {
		if limits.Desired, err = r.desired(ctx, cluster); err != nil {
			return ctrl.Result{}, err
		}
	}
	result := assignment.Assign(seen.members, current, limits)

	next := shardMap.DeepCopy()
	next.Spec = v1alpha1.ShardMapSpec{Shards: entries(result.Shards)}
	for _, member := range slices.Sorted(maps.Keys(seen.entries)) {
		next.Spec.Members = append(next.Spec.Members, seen.entries[member])
	}
	setRestarts(next, seen.restarts)
	again := ctrl.Result{}
	if result.Pending > 0 {
		again.RequeueAfter = cmp.Or(pause, movePause)
	}
	if written, err := r.write(ctx, shardMap, next); !written || err != nil {
		return again, err
	}
	r.report(ctx, cluster, current, result, seen)
	if pause == 0 {
		r.remember(name, result.Moved)
	}
	return again, nil
}

// write replaces a ShardMap by the next one, if that differs. The resource version that was read is the precondition:
// whoever else has written, nothing is overwritten.
func (r *Reconciler) write(ctx context.Context, shardMap, next *v1alpha1.ShardMap) (written bool, err error) {
	if slices.Equal(shardMap.Spec.Shards, next.Spec.Shards) &&
		slices.Equal(shardMap.Spec.Members, next.Spec.Members) &&
		maps.Equal(shardMap.Annotations, next.Annotations) && maps.Equal(shardMap.Labels, next.Labels) {
		return false, nil
	}
	if err := r.Client.Update(ctx, next, client.FieldOwner(child.ManagedBy)); err != nil {
		return false, fmt.Errorf("updating the ShardMap: %w", err)
	}
	return true, nil
}

// pause is the time until shards of a cluster may be moved by plan again.
func (r *Reconciler) pause(cluster types.NamespacedName) time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	moved, found := r.moved[cluster]
	if !found {
		return 0
	}
	return max(0, movePause-time.Since(moved))
}

// remember notes that shards of a cluster have just been moved by plan, or that none had to be.
func (r *Reconciler) remember(cluster types.NamespacedName, moves int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if moves == 0 {
		delete(r.moved, cluster)
		return
	}
	if r.moved == nil {
		r.moved = map[types.NamespacedName]time.Time{}
	}
	r.moved[cluster] = time.Now()
}

// desired is the number of editor pods that there will be after a rollout, 0 if it is not known.
func (r *Reconciler) desired(ctx context.Context, cluster *v1alpha1.CollabCluster) (int, error) {
	var deployment appsv1.Deployment
	name := client.ObjectKey{Namespace: cluster.Namespace, Name: child.ObjectName(cluster.Name, child.Editor)}
	// A Deployment that is not there has no replicas either.
	if err := r.Client.Get(ctx, name, &deployment); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("reading the editor Deployment: %w", err)
	}
	if deployment.Spec.Replicas == nil {
		return 0, nil
	}
	return int(*deployment.Spec.Replicas), nil
}

// report logs what was changed and records it as Events.
func (r *Reconciler) report(
	ctx context.Context, cluster *v1alpha1.CollabCluster,
	before []assignment.Shard, result assignment.Result, seen observation,
) {
	logger := log.FromContext(ctx)
	alive := map[string]bool{}
	for _, member := range seen.members {
		alive[member.Name] = !member.Restarted
	}
	lost := map[string]int{}
	for _, shard := range before {
		if shard.Owner != "" && !alive[shard.Owner] {
			lost[shard.Owner]++
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(lost)) {
		why := seen.dead[pod]
		if why == "" {
			why = "it is gone"
		}
		logger.Info("An editor pod failed", "pod", pod, "cause", why, "shards", lost[pod])
		r.Recorder.Eventf(cluster, nil, corev1.EventTypeWarning, v1alpha1.EventPodFailed, "Reassign",
			"Editor pod %s failed (%s): its %d shards were taken from it", pod, why, lost[pod])
	}
	if result.Reassigned+result.Moved == 0 {
		return
	}
	logger.Info("Assigned shards", "reassigned", result.Reassigned, "moved", result.Moved, "pending", result.Pending,
		"members", len(seen.members))
	if result.Moved > 0 {
		r.Recorder.Eventf(cluster, nil, corev1.EventTypeNormal, v1alpha1.EventShardsMoved, "Move",
			"Moved %d shards between editor pods; %d more to follow", result.Moved, result.Pending)
	}
}

// shardsOf reads the assignment from a ShardMap.
func shardsOf(shardMap *v1alpha1.ShardMap) ([]assignment.Shard, error) {
	shards := make([]assignment.Shard, len(shardMap.Spec.Shards))
	for _, s := range shardMap.Spec.Shards {
		if int(s.Shard) >= len(shards) {
			return nil, fmt.Errorf("ShardMap %s is damaged: shard %d is not one of its %d shards; delete it and it is rebuilt",
				shardMap.Name, s.Shard, len(shards))
		}
		shards[s.Shard] = assignment.Shard{Owner: s.Owner, PreviousOwner: s.PreviousOwner, Epoch: s.Epoch}
	}
	return shards, nil
}

// entries is the assignment as a ShardMap lists it.
func entries(shards []assignment.Shard) []v1alpha1.ShardAssignment {
	list := make([]v1alpha1.ShardAssignment, len(shards))
	for i, s := range shards {
		list[i] = v1alpha1.ShardAssignment{Shard: int32(i), Owner: s.Owner, PreviousOwner: s.PreviousOwner, Epoch: s.Epoch}
	}
	return list
}

// membersOf reads from a ShardMap which processes its members are.
func membersOf(shardMap *v1alpha1.ShardMap) map[string]recorded {
	var restarts map[string]int32
	if text := shardMap.Annotations[restartsAnnotation]; text != "" {
		// An unreadable annotation means that no restart is known, which costs its members a new epoch.
		_ = json.NewDecoder(strings.NewReader(text)).Decode(&restarts)
	}
	members := make(map[string]recorded, len(shardMap.Spec.Members))
	for _, member := range shardMap.Spec.Members {
		members[member.Name] = recorded{uid: types.UID(member.UID), restarts: restarts[member.Name]}
	}
	return members
}

// setRestarts records the restarts of the members that had any.
func setRestarts(shardMap *v1alpha1.ShardMap, restarts map[string]int32) {
	if len(restarts) == 0 {
		delete(shardMap.Annotations, restartsAnnotation)
		return
	}
	text, err := json.Marshal(restarts)
	if err != nil { // A map of strings to numbers cannot fail to encode.
		panic(err)
	}
	metav1.SetMetaDataAnnotation(&shardMap.ObjectMeta, restartsAnnotation, string(text))
}
