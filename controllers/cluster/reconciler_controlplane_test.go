//go:build controlplane

package cluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/autoscaling"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/cluster"
	"collab.dev/operator/controllers/postgres"
	"collab.dev/operator/controllers/redis"
	"collab.dev/operator/controllers/sharding"
	"collab.dev/operator/test/controlplane"
)

func TestACollabClusterGetsItsChildrenAndBecomesReady(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{DeletionPolicy: v1alpha1.DeletionDelete})
	for _, name := range []string{"docs-editor", "docs-haproxy"} {
		awaitObject[appsv1.Deployment](t, owner, name)
		awaitObject[corev1.Service](t, owner, name)
		awaitObject[policyv1.PodDisruptionBudget](t, owner, name)
	}
	for _, name := range []string{"docs-postgres", "docs-redis"} {
		awaitObject[appsv1.StatefulSet](t, owner, name)
		awaitObject[corev1.Service](t, owner, name)
		awaitObject[policyv1.PodDisruptionBudget](t, owner, name)
	}
	for _, name := range []string{"docs-editor", "docs-postgres"} {
		awaitObject[corev1.ServiceAccount](t, owner, name)
		awaitObject[rbacv1.Role](t, owner, name)
		awaitObject[rbacv1.RoleBinding](t, owner, name)
	}
	password := regexp.MustCompile(`^[A-Za-z0-9]{32}$`)
	for name, keys := range map[string][]string{
		"docs-postgres-credentials": postgres.CredentialKeys(), "docs-redis-credentials": redis.CredentialKeys(),
	} {
		secret := awaitObject[corev1.Secret](t, owner, name)
		for _, key := range keys {
			if !password.Match(secret.Data[key]) {
				t.Errorf("%s of %s is not 32 letters and digits", key, name)
			}
		}
	}
	peer := awaitObject[corev1.Secret](t, owner, "docs-peer-tls")
	pair, err := tls.X509KeyPair(peer.Data["tls.crt"], peer.Data["tls.key"])
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(peer.Data["ca.crt"])
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err = pair.Leaf.Verify(x509.VerifyOptions{
			DNSName: "peer.docs." + owner.Namespace + ".collab.dev", Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		must(t, err)
	}
	if len(peer.Data) != 3 {
		t.Errorf("docs-peer-tls has %d keys, want 3: the authority's key is none of the pods' business", len(peer.Data))
	}

	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	awaitEvent(t, owner, v1alpha1.EventCreated, "StatefulSet docs-postgres")
	playControllers(t, owner)
	for _, condition := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionPostgresReady, v1alpha1.ConditionRedisReady,
		v1alpha1.ConditionEditorReady, v1alpha1.ConditionShardsAssigned,
	} {
		awaitCondition(t, owner.Namespace, condition, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
	ready, err := get[v1alpha1.CollabCluster](t.Context(), owner.Namespace, "docs")
	must(t, err)
	if ready.Status.Redis.Primary != "docs-redis-0" || ready.Status.Postgres.Primary != "docs-postgres-0" ||
		ready.Status.Shards.Summary != "256/256" || ready.Status.Editor.Summary != "2/2" {
		t.Errorf("the status is %+v", ready.Status)
	}

	// A pod that loses its readiness takes its shards with it.
	pod, err := get[corev1.Pod](t.Context(), owner.Namespace, "docs-editor-0")
	must(t, err)
	pod.Status.Conditions[0].Status = corev1.ConditionFalse
	must(t, api.Status().Update(t.Context(), pod))
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionShardsAssigned, metav1.ConditionFalse,
		v1alpha1.ReasonShardsUnassigned)
}

func TestAChangedChildIsRepaired(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{})
	set := awaitObject[appsv1.StatefulSet](t, owner, "docs-redis")
	service := awaitObject[corev1.Service](t, owner, "docs-editor")
	account := awaitObject[corev1.ServiceAccount](t, owner, "docs-postgres")
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)

	replicas := *set.Spec.Replicas
	must(t, api.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":1}}`))))
	eventually(t, func() error {
		found, err := get[appsv1.StatefulSet](t.Context(), owner.Namespace, set.Name)
		if err == nil && *found.Spec.Replicas != replicas {
			err = fmt.Errorf("docs-redis has %d replicas, want %d", *found.Spec.Replicas, replicas)
		}
		return err
	})
	awaitEvent(t, owner, v1alpha1.EventRepaired, "StatefulSet docs-redis")

	must(t, api.Delete(t.Context(), service))
	if again := awaitObject[corev1.Service](t, owner, service.Name); again.UID == service.UID {
		t.Error("the Service was not deleted")
	}

	// Without its labels an object is not in the operator's cache.
	must(t, api.Patch(t.Context(), account, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":null}}`))))
	eventually(t, func() error {
		found, err := get[corev1.ServiceAccount](t.Context(), owner.Namespace, account.Name)
		if err == nil && found.Labels[child.LabelManagedBy] != child.ManagedBy {
			err = fmt.Errorf("the ServiceAccount has the labels %v", found.Labels)
		}
		return err
	})
}

func TestASteadyStateMakesNoWrites(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{})
	playControllers(t, owner)
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	makesNoWrites(t, owner)
}

// TestASteadyStateMakesNoWritesWhileShardsAndPodsAreWatched runs the two other controllers too, which probe the pods,
// read their load and keep a real ShardMap.
func TestASteadyStateMakesNoWritesWhileShardsAndPodsAreWatched(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{Editor: &v1alpha1.EditorSpec{
		Autoscaling: &v1alpha1.AutoscalingSpec{
			MinReplicas: ptr.To[int32](2), MaxReplicas: 4, TargetConnectionsPerPod: ptr.To[int32](3),
		},
	}})
	var reads atomic.Int64
	port := serveEditors(t, owner, "127.0.8", 2, &reads)
	scheme, err := controlplane.Scheme()
	must(t, err)
	mgr, err := ctrl.NewManager(operator, ctrl.Options{
		Scheme: scheme, Cache: cluster.CacheOptions([]string{owner.Namespace}),
		Client: client.Options{FieldValidation: "Strict"}, Metrics: metricsserver.Options{BindAddress: "0"},
	})
	must(t, err)
	recorder := mgr.GetEventRecorder(child.ManagedBy)
	must(t, (&sharding.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: recorder, Epochs: noEpochs{}, InternalPort: port,
	}).SetupWithManager(mgr))
	must(t, (&autoscaling.Reconciler{
		Client: mgr.GetClient(), Recorder: recorder, InternalPort: port,
	}).SetupWithManager(mgr))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		cancel()
		must(t, <-ended)
	}()

	playKubernetes(t, owner, "127.0.8")
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionScalingActive, metav1.ConditionTrue, v1alpha1.ReasonReady)
	// A number of connections alone is written every ten seconds at most.
	eventually(t, func() error {
		found, err := get[v1alpha1.CollabCluster](t.Context(), owner.Namespace, "docs")
		if err == nil && ptr.Deref(found.Status.Editor.Connections, 0) != 6 {
			err = fmt.Errorf("the status is %+v", found.Status.Editor)
		}
		return err
	})
	before := reads.Load()
	makesNoWrites(t, owner)
	// Each pod every five seconds, and a little.
	if made := reads.Load() - before; made < 4 {
		t.Errorf("the load was read only %d times", made)
	}
}

// noEpochs plays a PostgreSQL that has seen none.
type noEpochs struct{}

func (noEpochs) HighestEpoch(context.Context, *v1alpha1.CollabCluster) (int64, error) { return 0, nil }

// serveEditors plays the processes of editor pods, which have three connections each, and returns their port.
func serveEditors(
	t *testing.T, owner *v1alpha1.CollabCluster, network string, count int, reads *atomic.Int64,
) (port int) {
	t.Helper()
	for i := range count {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("%s.%d:%d", network, i+1, port))
		must(t, err)
		port = listener.Addr().(*net.TCPAddr).Port
		server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/load" {
					return
				}
				reads.Add(1)
				pod, err := get[corev1.Pod](r.Context(), owner.Namespace, fmt.Sprintf("docs-editor-%d", i))
				if err != nil {
					http.Error(w, err.Error(), http.StatusServiceUnavailable)
					return
				}
				_, _ = fmt.Fprintf(w, `{"pod": %q, "uid": %q, "connections": 3}`, pod.Name, pod.UID)
			})}
		done := make(chan struct{})
		go func() { defer close(done); _ = server.Serve(listener) }()
		t.Cleanup(func() { _ = server.Close(); <-done })
	}
	return port
}

// makesNoWrites waits until the operator is done with what made the CollabCluster ready, and counts what it writes after.
func makesNoWrites(t *testing.T, owner *v1alpha1.CollabCluster) {
	t.Helper()
	const duration = 20 * time.Second
	// The Events of the first minutes are written in the background.
	quiet, count := time.Now(), writes.total.Load()
	eventually(t, func() error {
		if now := writes.total.Load(); now != count {
			quiet, count = time.Now(), now
		}
		if calm := time.Since(quiet); calm < 3*time.Second {
			return fmt.Errorf("the last write was %v ago: %v", calm, writes.last.Load())
		}
		return nil
	})

	// Every change of a child's status is an event that leads to a reconciliation.
	before := looks.Load()
	for until := time.Now().Add(duration); time.Now().Before(until); time.Sleep(250 * time.Millisecond) {
		deployment, err := get[appsv1.Deployment](t.Context(), owner.Namespace, "docs-haproxy")
		must(t, err)
		deployment.Status.Conditions[0].Message = time.Now().String()
		must(t, api.Status().Update(t.Context(), deployment))
	}
	reconciled := looks.Load() - before
	t.Logf("%d reconciliations in %v made %d writes", reconciled, duration, writes.total.Load()-count)
	if reconciled < 20 {
		t.Errorf("there were only %d reconciliations", reconciled)
	}
	if made := writes.total.Load() - count; made != 0 {
		t.Errorf("a steady state made %d writes, the last of them %v", made, writes.last.Load())
	}
}

func TestAForeignObjectIsNeverAdopted(t *testing.T) {
	ns := namespace(t)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "docs-editor", Namespace: ns},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 12345}}},
	}
	// Even our own labels do not make somebody's Service ours.
	labelled := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: "docs-redis", Namespace: ns, Labels: maps.Clone(child.Labels("docs", child.Redis)),
		},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 12345}}},
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "docs-postgres-credentials", Namespace: ns},
		StringData: map[string]string{"superuser-password": "secret"},
	}
	shards := &v1alpha1.ShardMap{ObjectMeta: metav1.ObjectMeta{Name: "docs", Namespace: ns}}
	for shard := range int32(16) {
		shards.Spec.Shards = append(shards.Spec.Shards, v1alpha1.ShardAssignment{Shard: shard, Epoch: 1})
	}
	foreign := []client.Object{service, labelled, secret, shards}
	for _, object := range foreign {
		must(t, api.Create(t.Context(), object))
	}
	owner := create(t, ns, v1alpha1.CollabClusterSpec{})
	for _, condition := range []string{
		v1alpha1.ConditionEditorReady, v1alpha1.ConditionRedisReady, v1alpha1.ConditionPostgresReady,
		v1alpha1.ConditionShardsAssigned, v1alpha1.ConditionReady,
	} {
		awaitCondition(t, ns, condition, metav1.ConditionFalse, v1alpha1.ReasonNameConflict)
	}
	awaitEvent(t, owner, v1alpha1.EventConflict, "ShardMap docs belongs to somebody else")
	awaitEvent(t, owner, v1alpha1.EventConflict, "Service docs-editor belongs to somebody else")
	// The rest is made all the same.
	awaitObject[appsv1.Deployment](t, owner, "docs-editor")
	awaitObject[corev1.Secret](t, owner, "docs-peer-tls")

	for _, object := range foreign {
		version := object.GetResourceVersion()
		must(t, api.Get(t.Context(), client.ObjectKeyFromObject(object), object))
		if object.GetResourceVersion() != version {
			t.Errorf("%T %s was changed", object, object.GetName())
		}
		must(t, api.Delete(t.Context(), object))
	}
	awaitObject[corev1.Service](t, owner, "docs-editor")
	awaitCondition(t, ns, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
}

func TestDeletedCredentialsComeBackAndChangedOnesAreRefused(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{DeletionPolicy: v1alpha1.DeletionDelete})
	awaitObject[corev1.Secret](t, owner, "docs-postgres-credentials")
	volume(t, owner)
	for name, key := range map[string]string{
		"docs-postgres-credentials": "superuser-password", "docs-redis-credentials": redis.PasswordKey,
	} {
		before := awaitObject[corev1.Secret](t, owner, name)
		changed := before.DeepCopy()
		changed.Data[key] = []byte("another")
		if err := api.Update(t.Context(), changed); !apierrors.IsInvalid(err) {
			t.Errorf("a change of %s got %v", name, err)
		}
		must(t, api.Delete(t.Context(), before))
		var after *corev1.Secret
		eventually(t, func() error {
			var err error
			after, err = get[corev1.Secret](t.Context(), owner.Namespace, name)
			if err == nil && after.UID == before.UID {
				err = fmt.Errorf("%s is not made anew", name)
			}
			return err
		})
		if string(after.Data[key]) != string(before.Data[key]) || len(after.Data) != len(before.Data) {
			t.Errorf("%s has other passwords than before", name)
		}
		awaitGone[corev1.Secret](t, owner.Namespace, name+"-copy")
	}
	awaitEvent(t, owner, v1alpha1.EventRepaired, "Secret docs-postgres-credentials")
}

func TestLostCredentialsOfVolumesAreNotReplacedByOthers(t *testing.T) {
	ns := namespace(t)
	owner := create(t, ns, v1alpha1.CollabClusterSpec{})
	// Retained, it has no owner.
	var before *corev1.Secret
	eventually(t, func() (err error) {
		before, err = get[corev1.Secret](t.Context(), ns, "docs-postgres-credentials")
		return err
	})
	must(t, api.Delete(t.Context(), owner))
	awaitGone[v1alpha1.CollabCluster](t, ns, owner.Name)
	must(t, api.Delete(t.Context(), before))
	awaitGone[corev1.Secret](t, ns, before.Name)
	volume(t, owner)

	again := create(t, ns, v1alpha1.CollabClusterSpec{})
	awaitCondition(t, ns, v1alpha1.ConditionPostgresReady, metav1.ConditionFalse, v1alpha1.ReasonCredentialsLost)
	awaitEvent(t, again, v1alpha1.EventCredentialsLost, "data-docs-postgres-0")
	awaitGone[corev1.Secret](t, ns, before.Name)
	restored := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: before.Name, Namespace: ns, Labels: child.Labels("docs", child.Postgres)},
		Data:       before.Data,
	}
	must(t, api.Create(t.Context(), restored))
	eventually(t, func() error {
		taken, err := get[corev1.Secret](t.Context(), ns, before.Name)
		if err == nil && (!ptr.Deref(taken.Immutable, false) || len(taken.Finalizers) == 0) {
			err = fmt.Errorf("the Secret made by hand is not guarded: %+v", taken.ObjectMeta)
		}
		return err
	})
	eventually(t, func() error {
		now, err := get[v1alpha1.CollabCluster](t.Context(), ns, "docs")
		if err == nil && meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionPostgresReady).Reason ==
			v1alpha1.ReasonCredentialsLost {
			err = errors.New("credentials are lost still")
		}
		return err
	})
}

func TestDeletionLeavesWhatIsForeign(t *testing.T) {
	ns := namespace(t)
	foreign := []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "docs-redis-credentials", Namespace: ns}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "docs-postgres-config", Namespace: ns}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: "docs-postgres-sync", Namespace: ns, Labels: child.Labels("other", child.Postgres),
		}},
	}
	for _, object := range foreign {
		must(t, api.Create(t.Context(), object))
	}
	owner := create(t, ns, v1alpha1.CollabClusterSpec{DeletionPolicy: v1alpha1.DeletionDelete})
	awaitCondition(t, ns, v1alpha1.ConditionRedisReady, metav1.ConditionFalse, v1alpha1.ReasonNameConflict)
	must(t, api.Delete(t.Context(), owner))
	awaitGone[v1alpha1.CollabCluster](t, ns, owner.Name)
	for _, object := range foreign {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil ||
			object.GetDeletionTimestamp() != nil {
			t.Errorf("%T %s is gone (%v)", object, object.GetName(), err)
		}
	}
}

func TestDeletionGoesInOrderAndLeavesNothing(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{DeletionPolicy: v1alpha1.DeletionDelete})
	playControllers(t, owner)
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	leftByPatroni(t, owner)
	claim := volume(t, owner)

	must(t, api.Delete(t.Context(), owner))
	awaitGone[appsv1.Deployment](t, owner.Namespace, "docs-editor")
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDeleting)
	if set, err := get[appsv1.StatefulSet](t.Context(), owner.Namespace, "docs-postgres"); err != nil {
		t.Errorf("while editor pods are there, PostgreSQL is %v, %v", set, err)
	}
	stop(t, owner, child.Editor)
	awaitGone[appsv1.StatefulSet](t, owner.Namespace, "docs-postgres")
	awaitGone[appsv1.StatefulSet](t, owner.Namespace, "docs-redis")
	for _, name := range postgres.PatroniConfigMaps(owner) {
		if _, err := get[corev1.ConfigMap](t.Context(), owner.Namespace, name); err != nil {
			t.Errorf("while PostgreSQL pods are there, Patroni's ConfigMap %s: %v", name, err)
		}
	}
	stop(t, owner, child.Postgres)
	stop(t, owner, child.Redis)
	awaitGone[v1alpha1.CollabCluster](t, owner.Namespace, owner.Name)
	for _, name := range postgres.PatroniConfigMaps(owner) {
		awaitGone[corev1.ConfigMap](t, owner.Namespace, name)
	}
	awaitGone[corev1.Secret](t, owner.Namespace, "docs-postgres-credentials")
	awaitGone[corev1.Secret](t, owner.Namespace, "docs-redis-credentials")
	eventually(t, func() error {
		found, err := get[corev1.PersistentVolumeClaim](t.Context(), owner.Namespace, claim)
		if err == nil && found.DeletionTimestamp == nil {
			return fmt.Errorf("the volume %s is there", claim)
		}
		return client.IgnoreNotFound(err)
	})
}

func TestRetainedDataIsFoundAgain(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{DeletionPolicy: v1alpha1.DeletionDelete})
	awaitObject[corev1.Secret](t, owner, "docs-redis-credentials")
	before := awaitObject[corev1.Secret](t, owner, "docs-postgres-credentials")
	must(t, api.Patch(t.Context(), owner,
		client.RawPatch(types.MergePatchType, []byte(`{"spec":{"deletionPolicy":"Retain"}}`))))
	for _, name := range []string{"docs-postgres-credentials", "docs-redis-credentials"} {
		eventually(t, func() error {
			secret, err := get[corev1.Secret](t.Context(), owner.Namespace, name)
			if err == nil && len(secret.OwnerReferences) > 0 {
				err = fmt.Errorf("Secret %s has an owner, with which it would go", name)
			}
			return err
		})
	}
	leftByPatroni(t, owner)
	claim := volume(t, owner)
	must(t, api.Delete(t.Context(), owner))
	awaitGone[v1alpha1.CollabCluster](t, owner.Namespace, owner.Name)
	awaitEvent(t, owner, v1alpha1.EventDataRetained, "docs-postgres-credentials")
	for _, name := range postgres.PatroniConfigMaps(owner) {
		awaitGone[corev1.ConfigMap](t, owner.Namespace, name)
	}
	if kept, err := get[corev1.PersistentVolumeClaim](t.Context(), owner.Namespace, claim); err != nil ||
		kept.DeletionTimestamp != nil {
		t.Errorf("the volume is not kept: %v", err)
	}

	again := create(t, owner.Namespace, v1alpha1.CollabClusterSpec{DeletionPolicy: v1alpha1.DeletionDelete})
	after := awaitObject[corev1.Secret](t, again, "docs-postgres-credentials")
	if after.UID != before.UID || string(after.Data["superuser-password"]) != string(before.Data["superuser-password"]) {
		t.Error("the new CollabCluster has other credentials than the volume")
	}
}

func TestTheNumberOfEditorPodsIsTheAutoscalersOnceItIsOn(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{Editor: &v1alpha1.EditorSpec{Replicas: ptr.To[int32](4)}})
	awaitReplicas(t, owner, 4)
	// Turned on later, autoscaling starts from what is there.
	must(t, api.Patch(t.Context(), owner, client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"editor":{"replicas":null,"autoscaling":{"minReplicas":3,"maxReplicas":9}}}}`))))
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionEditorReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	awaitReplicas(t, owner, 4)
	deployment, err := get[appsv1.Deployment](t.Context(), owner.Namespace, "docs-editor")
	must(t, err)
	must(t, api.SubResource("scale").Patch(t.Context(), deployment,
		client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":7}}`)), client.FieldOwner("collab-autoscaler")))
	must(t, api.Patch(t.Context(), owner, client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"editor":{"image":"editor:2"}}}`))))
	eventually(t, func() error {
		found, err := get[appsv1.Deployment](t.Context(), owner.Namespace, "docs-editor")
		if err == nil && found.Spec.Template.Spec.Containers[0].Image != "editor:2" {
			err = fmt.Errorf("the image is %s", found.Spec.Template.Spec.Containers[0].Image)
		}
		return err
	})
	awaitReplicas(t, owner, 7)
	// Turned off, the number is the spec's again.
	must(t, api.Patch(t.Context(), owner, client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"editor":{"replicas":2,"autoscaling":null}}}`))))
	awaitReplicas(t, owner, 2)
}

func TestAutoscalingStartsWithMinReplicas(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{Editor: &v1alpha1.EditorSpec{
		Autoscaling: &v1alpha1.AutoscalingSpec{MinReplicas: ptr.To[int32](3), MaxReplicas: 9},
	}})
	awaitObject[appsv1.Deployment](t, owner, "docs-editor")
	before := looks.Load()
	playControllers(t, owner)
	eventually(t, func() error {
		if looks.Load() < before+3 {
			return fmt.Errorf("%d reconciliations", looks.Load()-before)
		}
		return nil
	})
	awaitReplicas(t, owner, 3)
}

func TestWhatTheAutoscalerReportsStaysInTheStatus(t *testing.T) {
	owner := create(t, namespace(t), v1alpha1.CollabClusterSpec{})
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	report := &v1alpha1.CollabCluster{
		TypeMeta:   metav1.TypeMeta{APIVersion: "collab.dev/v1alpha1", Kind: "CollabCluster"},
		ObjectMeta: metav1.ObjectMeta{Name: "docs", Namespace: owner.Namespace},
	}
	must(t, api.Status().Patch(t.Context(), report, client.RawPatch(types.ApplyPatchType, []byte(`{
		"apiVersion": "collab.dev/v1alpha1", "kind": "CollabCluster", "metadata": {"name": "docs"},
		"status": {"editor": {"connections": 42}, "conditions": [{"type": "ScalingActive", "status": "True",
			"reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}`)),
		client.FieldOwner("collab-autoscaler")))
	playControllers(t, owner)
	awaitCondition(t, owner.Namespace, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	found, err := get[v1alpha1.CollabCluster](t.Context(), owner.Namespace, "docs")
	must(t, err)
	if found.Status.Editor.Connections == nil || *found.Status.Editor.Connections != 42 ||
		meta.FindStatusCondition(found.Status.Conditions, v1alpha1.ConditionScalingActive) == nil {
		t.Errorf("the status is %+v", found.Status)
	}
}

// awaitReplicas waits until the editor Deployment has the number of replicas, and checks that it keeps it.
func awaitReplicas(t *testing.T, owner *v1alpha1.CollabCluster, want int32) {
	t.Helper()
	check := func() error {
		deployment, err := get[appsv1.Deployment](t.Context(), owner.Namespace, "docs-editor")
		if err == nil && *deployment.Spec.Replicas != want {
			err = fmt.Errorf("docs-editor has %d replicas, want %d", *deployment.Spec.Replicas, want)
		}
		return err
	}
	eventually(t, check)
	for range 20 {
		time.Sleep(50 * time.Millisecond)
		must(t, check())
	}
}

// leftByPatroni makes the ConfigMaps that Patroni makes without an owner.
func leftByPatroni(t *testing.T, owner *v1alpha1.CollabCluster) {
	t.Helper()
	for _, name := range postgres.PatroniConfigMaps(owner) {
		must(t, api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: owner.Namespace, Labels: child.Labels(owner.Name, child.Postgres),
		}}))
	}
}

// volume makes a claim as the StatefulSet controller does.
func volume(t *testing.T, owner *v1alpha1.CollabCluster) string {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: "data-docs-postgres-0", Namespace: owner.Namespace, Labels: child.Selector(owner.Name, child.Postgres),
		},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}},
	}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	must(t, api.Create(t.Context(), claim))
	return claim.Name
}

// stop plays kubelet: the component's pods end.
func stop(t *testing.T, owner *v1alpha1.CollabCluster, component child.Component) {
	t.Helper()
	must(t, api.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(owner.Namespace),
		client.MatchingLabels(child.Selector(owner.Name, component)), client.GracePeriodSeconds(0)))
}

func awaitGone[T any, P interface {
	*T
	client.Object
}](t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, func() error {
		object, err := get[T, P](t.Context(), namespace, name)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("%T %s is still there", object, name)
	})
}
