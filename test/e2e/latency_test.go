//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
)

// TestOwnerKillLatency measures how long it takes from the SIGKILL of a document's owner until an edit that is made
// right after it is stored: until another client on another pod sees it, and until PostgreSQL has it. It prints the
// least, median and greatest time and fails only if an edit is not stored at all.
func TestOwnerKillLatency(t *testing.T) {
	var seen, stored []time.Duration
	for round := range *failoverRounds {
		document := fmt.Sprintf("e2e/latency-%d", round)
		inOthers, inDatabase := ownerKillLatency(t, document)
		t.Logf("round %d: seen by another client after %s, in PostgreSQL after %s", round+1, inOthers, inDatabase)
		seen, stored = append(seen, inOthers), append(stored, inDatabase)
	}
	if len(seen) == 0 {
		t.Skip("-failover-rounds is 0")
	}
	t.Logf("seen by another client: %s", summary(seen))
	t.Logf("stored in PostgreSQL:   %s", summary(stored))
}

func summary(times []time.Duration) string {
	slices.Sort(times)
	return fmt.Sprintf("min %s, median %s, max %s of %d",
		times[0], times[len(times)/2], times[len(times)-1], len(times))
}

func ownerKillLatency(t *testing.T, document string) (inOthers, inDatabase time.Duration) {
	t.Helper()
	owner := awaitOwner(t, document).Owner
	var others []corev1.Pod
	for _, pod := range awaitEditors(t, minReplicas) {
		if pod.Name != owner {
			others = append(others, pod)
		}
	}
	if len(others) < 2 {
		t.Fatalf("there are only %d ready editor pods besides the owner %s", len(others), owner)
	}
	c := startClients(t)
	c.connect(t, "writer", podHost(others[0]), document)
	c.connect(t, "reader", podHost(others[1]), document)
	c.typeTokens(t, "writer", "before", 1, 0)
	awaitToken(t, c, "reader", "before-0;")
	c.typed(t, "writer")

	connection, err := database(t.Context(), t)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close(context.WithoutCancel(t.Context())) }()
	before := int64(0)
	await(t, time.Minute, func() error {
		before, err = lastStored(t.Context(), connection, document)
		if err == nil && before == 0 {
			return fmt.Errorf("PostgreSQL has nothing of %s", document)
		}
		return err
	})

	killEditor(t, owner)
	killed := time.Now()
	c.typeTokens(t, "writer", "after", 1, 0)
	awaitToken(t, c, "reader", "after-0;")
	inOthers = time.Since(killed)
	for {
		last, err := lastStored(t.Context(), connection, document)
		if err != nil {
			t.Fatal(err)
		}
		if last > before {
			break
		}
		if time.Since(killed) > time.Minute {
			t.Fatalf("PostgreSQL does not have the edit a minute after %s was killed", owner)
		}
		time.Sleep(5 * time.Millisecond)
	}
	inDatabase = time.Since(killed)

	// The kubelet waits longer each time before it restarts the same container; a new pod begins at zero.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: owner, Namespace: namespace}}
	if err := client.IgnoreNotFound(api.Delete(t.Context(), pod, client.GracePeriodSeconds(0))); err != nil {
		t.Fatal(err)
	}
	await(t, time.Minute, func() error {
		var shardMap v1alpha1.ShardMap
		get(t, clusterName, &shardMap)
		for _, member := range shardMap.Spec.Members {
			if member.Name == owner {
				return fmt.Errorf("the ShardMap still has the deleted pod %s", owner)
			}
		}
		return nil
	})
	return inOthers, inDatabase
}

// awaitToken waits until the client has the token, looking more often than await: this is being measured.
func awaitToken(t *testing.T, c *clients, name, token string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		text, err := c.text(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, token) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("client %s does not have %s after a minute", name, token)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
