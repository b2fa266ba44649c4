//go:build controlplane

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/cluster"
	"collab.dev/operator/controllers/editor"
	"collab.dev/operator/test/controlplane"
)

const patience = 60 * time.Second

var (
	// api is the administrator's client.
	api client.Client
	// operator is the configuration with the operator's rights and no more.
	operator *rest.Config
	// writes counts the requests of the operator to the API server that were not reads.
	writes counter
	// looks counts how often a reconciliation asked for a Redis primary.
	looks  atomic.Int64
	images = child.Images{Editor: "editor:1", Redis: "redis:1", Postgres: "postgres:1", HAProxy: "haproxy:1"}
)

// counter counts requests.
type counter struct {
	total atomic.Int64
	last  atomic.Value
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
	stop, err := startOperator(server)
	code := 1
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

// startOperator runs the reconciler with the rights of the operator's role.
func startOperator(server *controlplane.Server) (stop func() error, err error) {
	config, err := server.Operator(context.Background())
	if err != nil {
		return nil, err
	}
	operator = rest.CopyConfig(config)
	operator.QPS = -1
	operator.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &counting{next: next}
	})
	scheme, err := controlplane.Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(operator, ctrl.Options{
		Scheme:  scheme,
		Cache:   cluster.CacheOptions(nil),
		Client:  client.Options{FieldValidation: "Strict"},
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return nil, err
	}
	reconciler := &cluster.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: mgr.GetEventRecorder(child.ManagedBy), Images: images,
		Primary: firstPod, Clock: clock.RealClock{},
	}
	if err := reconciler.SetupWithManager(mgr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

// counting is a transport that notes in writes every request that is not a read.
type counting struct{ next http.RoundTripper }

func (c *counting) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet {
		writes.total.Add(1)
		writes.last.Store(request.Method + " " + request.URL.Path)
	}
	return c.next.RoundTrip(request)
}

// firstPod plays the Sentinels: the first pod is the primary's.
func firstPod(_ context.Context, sentinels []string, password string) (string, error) {
	looks.Add(1)
	if len(password) != 32 {
		return "", fmt.Errorf("the password has %d characters", len(password))
	}
	host, _, err := net.SplitHostPort(slices.Min(sentinels))
	return host, err
}

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespace makes a namespace of the test's own.
func namespace(t *testing.T) string {
	t.Helper()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	must(t, api.Create(t.Context(), object))
	return object.Name
}

// create makes a CollabCluster docs and removes it at the end without ceremony.
func create(t *testing.T, namespace string, spec v1alpha1.CollabClusterSpec) *v1alpha1.CollabCluster {
	t.Helper()
	created := &v1alpha1.CollabCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "docs", Namespace: namespace}, Spec: spec,
	}
	must(t, api.Create(t.Context(), created))
	return created
}

// get reads an object into a new T.
func get[T any, P interface {
	*T
	client.Object
}](ctx context.Context, namespace, name string) (P, error) {
	object := P(new(T))
	return object, api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
}

// awaitObject waits until an object exists and belongs to the CollabCluster.
func awaitObject[T any, P interface {
	*T
	client.Object
}](t *testing.T, owner *v1alpha1.CollabCluster, name string) P {
	t.Helper()
	var object P
	eventually(t, func() error {
		var err error
		if object, err = get[T, P](t.Context(), owner.Namespace, name); err != nil {
			return err
		}
		if !metav1.IsControlledBy(object, owner) {
			return fmt.Errorf("%T %s is not controlled by the CollabCluster", object, name)
		}
		return nil
	})
	return object
}

// awaitCondition waits until a condition of docs has the status and the reason and speaks of the present generation.
func awaitCondition(t *testing.T, namespace, name string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	eventually(t, func() error {
		cluster, err := get[v1alpha1.CollabCluster](t.Context(), namespace, "docs")
		if err != nil {
			return err
		}
		condition := meta.FindStatusCondition(cluster.Status.Conditions, name)
		if condition == nil || condition.Status != status || condition.Reason != reason ||
			condition.ObservedGeneration != cluster.Generation {
			return fmt.Errorf("condition %s is %+v, want %s with reason %s", name, condition, status, reason)
		}
		return nil
	})
}

// awaitEvent waits for an Event on the CollabCluster whose note holds the text.
func awaitEvent(t *testing.T, cluster *v1alpha1.CollabCluster, reason, text string) {
	t.Helper()
	eventually(t, func() error {
		var events corev1.EventList
		if err := api.List(t.Context(), &events, client.InNamespace(cluster.Namespace)); err != nil {
			return err
		}
		for _, event := range events.Items {
			if event.Reason == reason && event.InvolvedObject.UID == cluster.UID && strings.Contains(event.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("among %d Events is no %s with %q", len(events.Items), reason, text)
	})
}

// pods plays kubelet: it makes ready pods of a component, in a network of their own.
func pods(
	t *testing.T, owner *v1alpha1.CollabCluster, component child.Component, template map[string]string, count int32,
	network string,
) {
	t.Helper()
	for i := range count {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name:      fmt.Sprintf("%s-%d", child.ObjectName(owner.Name, component), i),
				Namespace: owner.Namespace,
				Labels:    map[string]string{},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "none"}}},
		}
		for key, value := range template {
			pod.Labels[key] = value
		}
		if component == child.Postgres {
			// Patroni tells by this label who is what.
			pod.Labels["role"] = map[bool]string{true: "primary", false: "replica"}[i == 0]
		}
		must(t, api.Create(t.Context(), pod))
		pod.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: fmt.Sprintf("%s.%d", network, i+1),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		}
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
		must(t, api.Status().Update(t.Context(), pod))
	}
}

// playControllers does what the controllers of Kubernetes and the sharding reconciler would do, so that all is well.
func playControllers(t *testing.T, owner *v1alpha1.CollabCluster) {
	t.Helper()
	playKubernetes(t, owner, "10.0.1")
	playSharding(t, owner)
}

// playKubernetes does what the controllers of Kubernetes would do. Editor pods are in the network of that beginning.
func playKubernetes(t *testing.T, owner *v1alpha1.CollabCluster, network string) {
	t.Helper()
	for _, component := range []child.Component{child.Postgres, child.Redis} {
		set := awaitObject[appsv1.StatefulSet](t, owner, child.ObjectName(owner.Name, component))
		count := *set.Spec.Replicas
		pods(t, owner, component, set.Spec.Template.Labels, count, fmt.Sprintf("10.0.1%d", len(component)))
		set.Status = appsv1.StatefulSetStatus{
			ObservedGeneration: set.Generation, Replicas: count, ReadyReplicas: count, CurrentReplicas: count,
			UpdatedReplicas: count, AvailableReplicas: count, CurrentRevision: "1", UpdateRevision: "1",
		}
		must(t, api.Status().Update(t.Context(), set))
	}
	for _, component := range []child.Component{child.HAProxy, child.Editor} {
		deployment := awaitObject[appsv1.Deployment](t, owner, child.ObjectName(owner.Name, component))
		count := *deployment.Spec.Replicas
		pods(t, owner, component, deployment.Spec.Template.Labels, count,
			map[child.Component]string{child.HAProxy: "10.0.2", child.Editor: network}[component])
		// The operator may be handing the number of pods over to the autoscaler.
		eventually(t, func() error {
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); err != nil {
				return err
			}
			deployment.Status = appsv1.DeploymentStatus{
				ObservedGeneration: deployment.Generation, Replicas: count, ReadyReplicas: count, UpdatedReplicas: count,
				AvailableReplicas: count,
				Conditions: []appsv1.DeploymentCondition{
					{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"},
				},
			}
			return api.Status().Update(t.Context(), deployment)
		})
	}
}

// playSharding gives all shards to the first editor pod.
func playSharding(t *testing.T, owner *v1alpha1.CollabCluster) {
	t.Helper()
	pod, err := get[corev1.Pod](t.Context(), owner.Namespace, child.ObjectName(owner.Name, child.Editor)+"-0")
	must(t, err)
	shardMap := &v1alpha1.ShardMap{ObjectMeta: metav1.ObjectMeta{
		Name: owner.Name, Namespace: owner.Namespace, Labels: child.Labels(owner.Name, child.Editor),
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(owner, v1alpha1.GroupVersion.WithKind("CollabCluster")),
		},
	}}
	shardMap.Spec.Members = []v1alpha1.ShardMember{{Name: pod.Name, UID: string(pod.UID), Address: "10.0.0.1:8082"}}
	for shard := range editor.Shards(owner) {
		shardMap.Spec.Shards = append(shardMap.Spec.Shards,
			v1alpha1.ShardAssignment{Shard: shard, Owner: pod.Name, Epoch: 1})
	}
	must(t, api.Create(t.Context(), shardMap))
}
