//go:build controlplane

package sharding_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/autoscaling"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/cluster"
	"collab.dev/operator/controllers/sharding"
	"collab.dev/operator/test/controlplane"
)

const patience = 90 * time.Second

var (
	api    client.Client
	epochs fakeEpochs
	// port is where all the pods of the tests answer probes, each at its own loopback address.
	port int
)

// fakeEpochs answers with a number, or not at all while it is negative.
type fakeEpochs struct{ highest, asked atomic.Int64 }

func (e *fakeEpochs) HighestEpoch(context.Context, *v1alpha1.CollabCluster) (int64, error) {
	e.asked.Add(1)
	if highest := e.highest.Load(); highest >= 0 {
		return highest, nil
	}
	return 0, errors.New("PostgreSQL does not answer")
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	os.Exit(run(m))
}

func run(m *testing.M) int {
	server, err := controlplane.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	api = server.Client
	code := 1
	stop, err := startControllers(server)
	if err == nil {
		code = m.Run()
		err = stop()
	}
	if err = errors.Join(err, server.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// startControllers runs the sharding and the autoscaling controller.
func startControllers(server *controlplane.Server) (stop func() error, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port = free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		return nil, err
	}
	scheme, err := controlplane.Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(server.Config, ctrl.Options{
		Scheme: scheme, Cache: cluster.CacheOptions(nil), Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return nil, err
	}
	epochs.highest.Store(-1)
	err = errors.Join(
		(&sharding.Reconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("sharding"), Epochs: &epochs,
			InternalPort: port,
		}).SetupWithManager(mgr),
		(&autoscaling.Reconciler{
			Client: mgr.GetClient(), Recorder: mgr.GetEventRecorder("autoscaling"), InternalPort: port,
		}).SetupWithManager(mgr),
	)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() error { cancel(); return <-done }, nil
}

// pod is an editor pod that exists in the API, with a server that plays its process.
type pod struct {
	name        string
	uid         string
	connections atomic.Int64
	kill        func()
}

// addresses counts the loopback addresses in use.
var addresses atomic.Int32

func startPod(t *testing.T, cluster, name string) *pod {
	t.Helper()
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: child.Labels(cluster, child.Editor)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "editor", Image: "editor:1"}}},
	}
	if err := api.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	p := &pod{name: name, uid: string(object.UID)}
	ip := fmt.Sprintf("127.0.7.%d", addresses.Add(1))
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/load" {
			_ = json.NewEncoder(w).Encode(map[string]any{"pod": name, "uid": p.uid, "connections": p.connections.Load()})
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	p.kill = func() { _ = server.Close(); <-done }
	object.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "editor", Ready: true,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
	}
	if err := api.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		_ = api.Delete(context.Background(), &corev1.Pod{ObjectMeta: object.ObjectMeta}, client.GracePeriodSeconds(0))
	})
	return p
}

func create(t *testing.T, cluster *v1alpha1.CollabCluster) *v1alpha1.CollabCluster {
	t.Helper()
	cluster.Namespace = "default"
	if err := api.Create(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = api.Delete(context.Background(), cluster)
		_ = api.Delete(context.Background(), &v1alpha1.ShardMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: cluster.Name}})
	})
	return cluster
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not happen that %s", what)
		}
	}
}

// shardMap reads a ShardMap; one without shards stands for none.
func shardMap(t *testing.T, name string) *v1alpha1.ShardMap {
	t.Helper()
	m := &v1alpha1.ShardMap{}
	err := api.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, m)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return m
}

func owned(m *v1alpha1.ShardMap) map[string]int {
	counts := map[string]int{}
	for _, s := range m.Spec.Shards {
		counts[s.Owner]++
	}
	return counts
}

func hasEvent(t *testing.T, reason, text string) bool {
	t.Helper()
	var list corev1.EventList
	if err := api.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
		return e.Reason == reason && strings.Contains(e.Message, text)
	})
}

func TestShardsFollowThePodsThatAreAlive(t *testing.T) {
	epochs.highest.Store(-1)
	create(t, &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{Name: "docs"}})
	first, second := startPod(t, "docs", "docs-a"), startPod(t, "docs", "docs-b")
	if m := shardMap(t, "docs"); len(m.Spec.Shards) != 0 {
		t.Fatal("there is a shard map although the epochs are not known")
	}
	epochs.highest.Store(41)
	await(t, "both pods own half of the shards", func() bool {
		counts := owned(shardMap(t, "docs"))
		return counts[first.name] == 128 && counts[second.name] == 128
	})
	before := shardMap(t, "docs")
	for _, s := range before.Spec.Shards {
		if s.Epoch <= 41 {
			t.Fatalf("shard %d starts at epoch %d, PostgreSQL has seen 41", s.Shard, s.Epoch)
		}
	}

	fallen := before.DeepCopy()
	fallen.Spec.Shards[7].Epoch--
	if err := api.Update(t.Context(), fallen); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "must never fall") {
		t.Errorf("an update with a falling epoch got %v", err)
	}

	killed := time.Now()
	first.kill()
	await(t, "the surviving pod owns all shards", func() bool { return owned(shardMap(t, "docs"))[second.name] == 256 })
	t.Logf("reassigned %v after the process was killed", time.Since(killed))
	after := shardMap(t, "docs")
	for i, s := range after.Spec.Shards {
		if was := before.Spec.Shards[i]; was.Owner == first.name && (s.Epoch <= was.Epoch || s.PreviousOwner != "") {
			t.Errorf("shard %d went from %+v to %+v", i, was, s)
		} else if was.Owner == second.name && s != was {
			t.Errorf("shard %d of the survivor changed from %+v to %+v", i, was, s)
		}
	}
	if len(after.Spec.Members) != 1 {
		t.Errorf("members are %+v", after.Spec.Members)
	}
	await(t, "an Event tells of the failed pod", func() bool { return hasEvent(t, v1alpha1.EventPodFailed, "docs-a failed (it refuses") })

	third := startPod(t, "docs", "docs-c")
	await(t, "a new pod gets its share", func() bool { return owned(shardMap(t, "docs"))[third.name] == 128 })
	for _, s := range shardMap(t, "docs").Spec.Shards {
		if s.Owner == third.name && s.PreviousOwner != second.name {
			t.Errorf("shard %d is not handed over: %+v", s.Shard, s)
		}
	}
	epochs.highest.Store(1000)
	if err := api.Delete(t.Context(), shardMap(t, "docs")); err != nil {
		t.Fatal(err)
	}
	await(t, "a deleted shard map is rebuilt above PostgreSQL's epochs", func() bool {
		m := shardMap(t, "docs")
		return owned(m)[third.name] == 128 && m.Spec.Shards[0].Epoch > 1000
	})
}

func TestAShardMapWithoutItsLabelsIsLabelledAgain(t *testing.T) {
	epochs.highest.Store(0)
	create(t, &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{Name: "stripped"}})
	first := startPod(t, "stripped", "stripped-a")
	await(t, "the pod owns all shards", func() bool { return owned(shardMap(t, "stripped"))[first.name] == 256 })
	before := shardMap(t, "stripped")
	// If it were created anew, PostgreSQL would have to be asked.
	epochs.highest.Store(-1)
	stripped := before.DeepCopy()
	stripped.Labels = nil
	if err := api.Update(t.Context(), stripped); err != nil {
		t.Fatal(err)
	}
	second := startPod(t, "stripped", "stripped-b")
	await(t, "a new pod gets its share", func() bool { return owned(shardMap(t, "stripped"))[second.name] == 128 })
	if after := shardMap(t, "stripped"); after.UID != before.UID || after.Labels[child.LabelManagedBy] != child.ManagedBy {
		t.Errorf("the ShardMap has the labels %v", after.Labels)
	}
}

func TestAForeignShardMapIsLeftAloneAndItsPlaceTakenWhenItGoes(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"labelled": child.Labels("labelled", child.Editor),
		// Of this one no event tells that it has gone.
		"plain": nil,
	} {
		t.Run(name, func(t *testing.T) {
			epochs.highest.Store(0)
			foreign := &v1alpha1.ShardMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels}}
			for shard := range int32(16) {
				foreign.Spec.Shards = append(foreign.Spec.Shards, v1alpha1.ShardAssignment{Shard: shard, Epoch: 1})
			}
			if err := api.Create(t.Context(), foreign); err != nil {
				t.Fatal(err)
			}
			asked := epochs.asked.Load()
			create(t, &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{Name: name}})
			p := startPod(t, name, name+"-a")
			// Half a second is ten times the pause after a lost race.
			time.Sleep(500 * time.Millisecond)
			if m := shardMap(t, name); m.ResourceVersion != foreign.ResourceVersion {
				t.Errorf("the foreign ShardMap was changed: %+v", m)
			}
			if n := epochs.asked.Load() - asked; n != 0 {
				t.Errorf("PostgreSQL was asked %d times for a ShardMap that cannot be made", n)
			}
			if err := api.Delete(t.Context(), foreign); err != nil {
				t.Fatal(err)
			}
			await(t, "the pod owns all shards", func() bool { return owned(shardMap(t, name))[p.name] == 256 })
		})
	}
}

func TestADeletedClustersPodsOwnNothing(t *testing.T) {
	epochs.highest.Store(0)
	cluster := create(t, &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{
		Name: "deleted", Finalizers: []string{"example.com/wait"},
	}})
	p := startPod(t, "deleted", "deleted-a")
	await(t, "the pod owns all shards", func() bool { return owned(shardMap(t, "deleted"))[p.name] == 256 })
	before := shardMap(t, "deleted")
	if err := api.Delete(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	await(t, "nobody owns a shard", func() bool { return owned(shardMap(t, "deleted"))[""] == 256 })
	after := shardMap(t, "deleted")
	for i, shard := range after.Spec.Shards {
		if shard.Epoch <= before.Spec.Shards[i].Epoch {
			t.Fatalf("shard %d went from %+v to %+v", i, before.Spec.Shards[i], shard)
		}
	}
	if len(after.Spec.Members) > 0 {
		t.Errorf("members are %+v", after.Spec.Members)
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := api.Patch(t.Context(), cluster, patch); err != nil {
		t.Fatal(err)
	}
}

func TestPodsFollowTheConnections(t *testing.T) {
	epochs.highest.Store(0)
	cluster := create(t, &v1alpha1.CollabCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "scaled"},
		Spec: v1alpha1.CollabClusterSpec{Editor: &v1alpha1.EditorSpec{Autoscaling: &v1alpha1.AutoscalingSpec{
			MinReplicas: ptr.To[int32](1), MaxReplicas: 3, TargetConnectionsPerPod: ptr.To[int32](10),
			ScaleDown: &v1alpha1.ScalingRules{StabilizationWindowSeconds: ptr.To[int32](0)},
		}}},
	})
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "scaled-editor", Labels: child.Labels("scaled", child.Editor),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cluster, v1alpha1.GroupVersion.WithKind("CollabCluster"))}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: child.Selector("scaled", child.Editor)},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: child.Labels("scaled", child.Editor)},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "editor", Image: "editor:1"}}}},
		},
	}
	if err := api.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.Background(), deployment) })
	pods, started, removed := map[string]*pod{}, 0, []string{}
	load := int64(45)

	// play does what Kubernetes would: it gives the Deployment its pods. A pod that is removed must own nothing.
	play := func() int32 {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); err != nil {
			t.Fatal(err)
		}
		for len(pods) < int(*deployment.Spec.Replicas) {
			started++
			name := fmt.Sprintf("scaled-%d", started)
			pods[name] = startPod(t, "scaled", name)
		}
		var list corev1.PodList
		if err := api.List(t.Context(), &list, client.MatchingLabels(child.Selector("scaled", child.Editor))); err != nil {
			t.Fatal(err)
		}
		marked := 0
		for _, p := range list.Items {
			if p.Annotations[sharding.DrainingAnnotation] != "true" || p.Annotations[corev1.PodDeletionCost] != "-1000" {
				continue
			}
			if marked++; marked > 1 {
				t.Fatal("two pods are being emptied at once")
			}
			if len(pods) > int(*deployment.Spec.Replicas) {
				if n := owned(shardMap(t, "scaled"))[p.Name]; n > 0 {
					t.Errorf("pod %s goes with %d shards", p.Name, n)
				}
				if err := api.Delete(t.Context(), &p, client.GracePeriodSeconds(0)); err != nil {
					t.Fatal(err)
				}
				delete(pods, p.Name)
				removed = append(removed, p.Name)
			}
		}
		for _, p := range pods {
			p.connections.Store(load / int64(len(pods)))
		}
		n := int32(len(pods))
		if s := deployment.Status; s.ObservedGeneration != deployment.Generation || s.Replicas != n {
			deployment.Status = appsv1.DeploymentStatus{ObservedGeneration: deployment.Generation, Replicas: n, UpdatedReplicas: n}
			if err := api.Status().Update(t.Context(), deployment); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
				t.Fatal(err)
			}
		}
		return n
	}
	status := func() (*v1alpha1.CollabCluster, *metav1.Condition) {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(cluster), cluster); err != nil {
			t.Fatal(err)
		}
		return cluster, meta.FindStatusCondition(cluster.Status.Conditions, v1alpha1.ConditionScalingActive)
	}

	await(t, "three pods, the maximum, share 45 connections", func() bool { return play() == 3 })
	await(t, "the condition tells of the limit", func() bool {
		play()
		c, condition := status()
		return condition != nil && condition.Reason == v1alpha1.ReasonScalingLimited && c.Status.Editor.Connections != nil &&
			*c.Status.Editor.Connections == 45 && c.Status.Editor.LastScaleTime != nil
	})
	await(t, "all pods own shards", func() bool { play(); return owned(shardMap(t, "scaled"))["scaled-3"] > 80 })
	load = 6
	await(t, "one pod is left for 6 connections", func() bool { return play() == 1 })
	if len(removed) != 2 {
		t.Errorf("removed %v, want two pods", removed)
	}
	await(t, "Events tell of both directions", func() bool {
		return hasEvent(t, v1alpha1.EventScaled, "from 1 to 3") && hasEvent(t, v1alpha1.EventScaled, "from 2 to 1")
	})

	cluster, _ = status()
	cluster.Spec.Editor = &v1alpha1.EditorSpec{Replicas: ptr.To[int32](2)}
	if err := api.Update(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	await(t, "nothing is said of autoscaling anymore", func() bool {
		c, condition := status()
		return condition == nil && c.Status.Editor.Connections == nil
	})
}
