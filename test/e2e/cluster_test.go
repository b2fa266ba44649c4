//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
)

// get reads an object of the test's namespace.
func get(t *testing.T, name string, object client.Object) {
	t.Helper()
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
		t.Fatal(err)
	}
}

func cluster(t *testing.T) *v1alpha1.CollabCluster {
	t.Helper()
	found := &v1alpha1.CollabCluster{}
	get(t, clusterName, found)
	return found
}

// assignment is who owns the document's shard.
func assignment(t *testing.T, document string) v1alpha1.ShardAssignment {
	t.Helper()
	var shardMap v1alpha1.ShardMap
	get(t, clusterName, &shardMap)
	number := int32(xxhash.Sum64String(document) & (shards - 1))
	for _, shard := range shardMap.Spec.Shards {
		if shard.Shard == number {
			return shard
		}
	}
	t.Fatalf("the ShardMap has no shard %d", number)
	return v1alpha1.ShardAssignment{}
}

// awaitOwner waits until the document's shard has an owner.
func awaitOwner(t *testing.T, document string) v1alpha1.ShardAssignment {
	t.Helper()
	var owned v1alpha1.ShardAssignment
	await(t, time.Minute, func() error {
		if owned = assignment(t, document); owned.Owner == "" {
			return fmt.Errorf("shard %d of %s has no owner", owned.Shard, document)
		}
		return nil
	})
	return owned
}

// awaitNewOwner waits until the document's shard belongs to somebody else at a higher epoch.
func awaitNewOwner(t *testing.T, document string, before v1alpha1.ShardAssignment) {
	t.Helper()
	await(t, time.Minute, func() error {
		now := assignment(t, document)
		if now.Owner == "" || now.Owner == before.Owner || now.Epoch <= before.Epoch {
			return fmt.Errorf("shard %d of %s belongs to %q at epoch %d and belonged to %q at epoch %d",
				now.Shard, document, now.Owner, now.Epoch, before.Owner, before.Epoch)
		}
		return nil
	})
}

// editors are the editor pods that are ready.
func editors(t *testing.T) []corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	if err := api.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{
		"app.kubernetes.io/instance": clusterName, "app.kubernetes.io/component": "editor",
	}); err != nil {
		t.Fatal(err)
	}
	var ready []corev1.Pod
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil && isReady(pod) {
			ready = append(ready, pod)
		}
	}
	return ready
}

func isReady(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitEditors waits until at least count editor pods are ready and returns them.
func awaitEditors(t *testing.T, count int) []corev1.Pod {
	t.Helper()
	var ready []corev1.Pod
	await(t, 3*time.Minute, func() error {
		if ready = editors(t); len(ready) < count {
			return fmt.Errorf("%d of %d editor pods are ready", len(ready), count)
		}
		return nil
	})
	return ready
}

// podHost is where the pod serves clients.
func podHost(pod corev1.Pod) string { return pod.Status.PodIP + ":8080" }

// serviceHost is where the Service of this name serves the port.
func serviceHost(t *testing.T, name string, port int) string {
	t.Helper()
	var service corev1.Service
	get(t, name, &service)
	return service.Spec.ClusterIP + ":" + strconv.Itoa(port)
}

// killEditor sends SIGKILL to the editor's process of this pod. Nodes share the machine's kernel, so that their
// processes are visible here; the pod's UID in the environment tells them apart.
func killEditor(t *testing.T, pod string) {
	t.Helper()
	var found corev1.Pod
	get(t, pod, &found)
	wanted := []byte("POD_UID=" + string(found.UID))
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environments {
		// A process that has ended meanwhile cannot be read, and is none that could be killed.
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for variable := range bytes.SplitSeq(content, []byte{0}) {
			if !bytes.Equal(variable, wanted) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatalf("kill the editor of %s: %v", pod, err)
			}
			return
		}
	}
	t.Fatalf("the editor of %s is not among this machine's processes (these tests must run as root on it)", pod)
}

// deletePod deletes the pod and returns when it is gone, or replaced by one of the same name.
func deletePod(t *testing.T, name string) {
	t.Helper()
	var pod corev1.Pod
	get(t, name, &pod)
	uid := pod.UID
	if err := api.Delete(t.Context(), &pod); err != nil {
		t.Fatal(err)
	}
	await(t, 2*time.Minute, func() error {
		err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &pod)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil && pod.UID == uid {
			return fmt.Errorf("the pod %s is not gone", name)
		}
		return nil
	})
}

// awaitPrimary waits until a store reports a primary other than this one.
func awaitPrimary(t *testing.T, other string, store func(*v1alpha1.CollabCluster) v1alpha1.StoreStatus) {
	t.Helper()
	await(t, 2*time.Minute, func() error {
		if primary := store(cluster(t)).Primary; primary == "" || primary == other {
			return fmt.Errorf("the primary is %q and was %q", primary, other)
		}
		return nil
	})
}

// database connects to the PostgreSQL primary the way the editors do.
func database(ctx context.Context, t *testing.T) (*pgx.Conn, error) {
	t.Helper()
	var secret corev1.Secret
	get(t, clusterName+"-postgres-credentials", &secret)
	config, err := pgx.ParseConfig("postgres://collab@" + serviceHost(t, clusterName+"-haproxy", 5432) +
		"/collab?sslmode=disable&connect_timeout=5")
	if err != nil {
		return nil, err
	}
	config.Password = string(secret.Data["collab-password"])
	return pgx.ConnectConfig(ctx, config)
}
