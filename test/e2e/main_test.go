//go:build e2e

// Package e2e_test drives unmodified Yjs clients against a CollabCluster on a real Kubernetes while parts of it fail.
// It owns one CollabCluster in a namespace of its own, which all its tests share and the last one deletes. It must not
// know how the operator or the editor work inside: it looks at what users and their databases see.
package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kuberuntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
)

const (
	namespace   = "collab-e2e"
	clusterName = "e2e"
	shards      = 32

	minReplicas             = 3
	maxReplicas             = 5
	targetConnectionsPerPod = 10

	readyLimit  = 10 * time.Minute
	removeLimit = 5 * time.Minute
)

var (
	failoverRounds = flag.Int("failover-rounds", 3, "how often TestOwnerKillLatency kills a document's owner")

	configuration *rest.Config
	api           client.Client
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := prepare(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	// After a failure the namespace stays, for whoever wants to know why; the next run begins by removing it.
	if code == 0 {
		if err := removeNamespace(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// prepare makes the CollabCluster and waits until it is Ready.
func prepare(ctx context.Context) error {
	scheme := kuberuntime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	var err error
	configuration, err = clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return fmt.Errorf("find the cluster (make test-e2e starts one and sets KUBECONFIG): %w", err)
	}
	// Patroni may leave Endpoints behind, so that they are looked for, although they are deprecated.
	configuration.WarningHandler = rest.NoWarnings{}
	if api, err = client.New(configuration, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	if err := removeNamespace(ctx); err != nil {
		return err
	}
	if err := api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return fmt.Errorf("create the namespace %s: %w", namespace, err)
	}
	if err := api.Create(ctx, sample()); err != nil {
		return fmt.Errorf("create the CollabCluster %s/%s: %w", namespace, clusterName, err)
	}
	return awaitReady(ctx)
}

// sample is the smallest CollabCluster that can lose one of everything.
func sample() *v1alpha1.CollabCluster {
	storage := &v1alpha1.StorageSpec{Size: new(resource.MustParse("256Mi"))}
	return &v1alpha1.CollabCluster{
		ObjectMeta: metav1.ObjectMeta{Name: clusterName, Namespace: namespace},
		Spec: v1alpha1.CollabClusterSpec{
			Editor: &v1alpha1.EditorSpec{
				TerminationGracePeriodSeconds: new(int32(40)),
				Autoscaling: &v1alpha1.AutoscalingSpec{
					MinReplicas:             new(int32(minReplicas)),
					MaxReplicas:             maxReplicas,
					TargetConnectionsPerPod: new(int32(targetConnectionsPerPod)),
					ScaleDown:               &v1alpha1.ScalingRules{StabilizationWindowSeconds: new(int32(15))},
				},
			},
			Sharding:       &v1alpha1.ShardingSpec{Shards: new(int32(shards))},
			Redis:          &v1alpha1.RedisSpec{Storage: storage},
			Postgres:       &v1alpha1.PostgresSpec{Storage: storage},
			DeletionPolicy: v1alpha1.DeletionDelete,
		},
	}
}

// awaitReady waits until the CollabCluster is Ready and all shards have an owner.
func awaitReady(ctx context.Context) error {
	last := "it has no condition Ready yet"
	err := wait.PollUntilContextTimeout(ctx, time.Second, readyLimit, true, func(ctx context.Context) (bool, error) {
		var cluster v1alpha1.CollabCluster
		err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: clusterName}, &cluster)
		if err != nil {
			last = err.Error()
			return false, nil //nolint:nilerr // It is asked again, and told when time is up.
		}
		ready := meta.FindStatusCondition(cluster.Status.Conditions, "Ready")
		if ready == nil {
			return false, nil
		}
		last = fmt.Sprintf("%s: %s", ready.Reason, ready.Message)
		return ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == cluster.Generation, nil
	})
	if err != nil {
		return fmt.Errorf("the CollabCluster %s/%s is not Ready after %s: %s", namespace, clusterName, readyLimit, last)
	}
	return nil
}

// removeNamespace removes what an earlier run may have left, CollabCluster first, so that the operator can clean up.
func removeNamespace(ctx context.Context) error {
	cluster := &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{Name: clusterName, Namespace: namespace}}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	for _, object := range []client.Object{cluster, space} {
		if err := client.IgnoreNotFound(api.Delete(ctx, object)); err != nil {
			return fmt.Errorf("delete %s: %w", object.GetName(), err)
		}
		err := wait.PollUntilContextTimeout(ctx, time.Second, removeLimit, true,
			func(ctx context.Context) (bool, error) {
				err := api.Get(ctx, client.ObjectKeyFromObject(object), object)
				return apierrors.IsNotFound(err), nil
			})
		if err != nil {
			return fmt.Errorf("%s/%s is not gone after %s: look at its finalizers",
				namespace, object.GetName(), removeLimit)
		}
	}
	return nil
}
