//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"collab.dev/operator/api/v1alpha1"
)

const (
	typingClients = 5
	keystroke     = 50 * time.Millisecond
	// convergence bounds the time from the last edit, or the end of a failure, until everybody has everything.
	convergence = 2 * time.Minute
)

// session is a group of clients that type into one document.
type session struct {
	*clients
	document string
	names    []string
	want     tokens
}

// join connects a client for each host to the document.
func join(t *testing.T, document string, hosts []string) *session {
	t.Helper()
	s := &session{clients: startClients(t), document: document, want: tokens{}}
	for i, host := range hosts {
		name := fmt.Sprintf("%c", 'a'+i)
		s.connect(t, name, host, document)
		s.names = append(s.names, name)
	}
	return s
}

// overPods are hosts for count clients, spread over the pods; with a pod to avoid, its clients go through the Service,
// so that they come back on another pod when that one dies.
func overPods(t *testing.T, count int, avoid string) []string {
	t.Helper()
	pods := awaitEditors(t, minReplicas)
	hosts := make([]string, 0, count)
	for i := range count {
		if pod := pods[i%len(pods)]; pod.Name == avoid {
			hosts = append(hosts, serviceHost(t, clusterName+"-editor", 80))
		} else {
			hosts = append(hosts, podHost(pod))
		}
	}
	return hosts
}

// throughService are hosts for count clients that survive the loss of any pod.
func throughService(t *testing.T, count int) []string {
	t.Helper()
	hosts := make([]string, count)
	for i := range hosts {
		hosts[i] = serviceHost(t, clusterName+"-editor", 80)
	}
	return hosts
}

// typeUntilStopped lets every client type until finish.
func (s *session) typeUntilStopped(t *testing.T) {
	t.Helper()
	for _, name := range s.names {
		s.typeTokens(t, name, name, 1<<20, keystroke)
	}
}

// awaitProgress waits until every client has typed this many tokens more.
func (s *session) awaitProgress(t *testing.T, more int) {
	t.Helper()
	goals := map[string]int{}
	for _, name := range s.names {
		goals[name] = s.count(t, name) + more
	}
	await(t, time.Minute, func() error {
		for name, goal := range goals {
			if typed := s.count(t, name); typed < goal {
				return fmt.Errorf("%s has typed %d of %d tokens", name, typed, goal)
			}
		}
		return nil
	})
}

func (s *session) count(t *testing.T, name string) int {
	t.Helper()
	var state struct{ Typed int }
	s.must(t, request{"op": "state", "client": name}, &state)
	return state.Typed
}

// finish ends the typing and checks that every edit of every client is in every client, in a client that joins afresh
// on each pod, and in PostgreSQL, in the same order everywhere.
func (s *session) finish(t *testing.T) {
	t.Helper()
	for _, name := range s.names {
		s.want[name] = s.stop(t, name)
	}
	s.check(t)
}

func (s *session) check(t *testing.T) {
	t.Helper()
	text := ""
	same := func(name string) error {
		other, err := s.text(name)
		if err != nil {
			return err
		}
		if err := s.want.check(other); err != nil {
			return fmt.Errorf("the text of client %s: %w", name, err)
		}
		if text == "" {
			text = other
		}
		if other != text {
			return fmt.Errorf("client %s has the tokens in another order", name)
		}
		return nil
	}
	await(t, convergence, func() error {
		text = ""
		for _, name := range s.names {
			if err := same(name); err != nil {
				return err
			}
		}
		return nil
	})
	for _, pod := range awaitEditors(t, minReplicas) {
		fresh := "fresh-" + pod.Name
		s.begin(t, fresh, podHost(pod), s.document)
		await(t, convergence, func() error { return same(fresh) })
		s.disconnect(t, fresh)
	}
	await(t, convergence, func() error {
		updates, err := storedUpdates(t, s.document)
		if err != nil {
			return fmt.Errorf("read %s from PostgreSQL: %w", s.document, err)
		}
		stored, err := s.replay(updates)
		if err != nil {
			return err
		}
		if err := s.want.check(stored); err != nil {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
		if stored != text {
			return fmt.Errorf("PostgreSQL has the tokens of %s in another order than the clients", s.document)
		}
		return nil
	})
}

func TestClientsOnDifferentPodsEndWithTheSameText(t *testing.T) {
	const each = 100
	s := join(t, "e2e/converge", overPods(t, typingClients, ""))
	for _, name := range s.names {
		s.typeTokens(t, name, name, each, 5*time.Millisecond)
	}
	for _, name := range s.names {
		if s.want[name] = s.typed(t, name); s.want[name] != each {
			t.Fatalf("client %s has typed %d of %d tokens", name, s.want[name], each)
		}
	}
	s.check(t)
}

func TestEditsSurviveTheDeathOfTheOwner(t *testing.T) {
	const document = "e2e/owner"
	before := awaitOwner(t, document)
	s := join(t, document, overPods(t, typingClients, before.Owner))
	s.typeUntilStopped(t)
	s.awaitProgress(t, 20)
	// Rebalancing may have moved the shard while the clients connected.
	before = awaitOwner(t, document)
	killEditor(t, before.Owner)
	awaitNewOwner(t, document, before)
	s.awaitProgress(t, 20)
	s.finish(t)
}

func TestEditsSurviveTheLossOfThePrimaries(t *testing.T) {
	s := join(t, "e2e/primaries", overPods(t, typingClients, ""))
	s.typeUntilStopped(t)
	for _, store := range []func(*v1alpha1.CollabCluster) v1alpha1.StoreStatus{
		func(c *v1alpha1.CollabCluster) v1alpha1.StoreStatus { return c.Status.Postgres },
		func(c *v1alpha1.CollabCluster) v1alpha1.StoreStatus { return c.Status.Redis },
	} {
		s.awaitProgress(t, 20)
		primary := store(cluster(t)).Primary
		if primary == "" {
			t.Fatal("the CollabCluster's status does not name the primary")
		}
		deletePod(t, primary)
		awaitPrimary(t, primary, store)
		s.awaitProgress(t, 20)
	}
	s.finish(t)
	if err := awaitReady(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPodsFollowConnectionsWithoutLosingEdits(t *testing.T) {
	s := join(t, "e2e/scaling", throughService(t, typingClients))
	s.typeUntilStopped(t)
	idle := minReplicas * targetConnectionsPerPod * 5 / 4
	host := serviceHost(t, clusterName+"-editor", 80)
	for i := range idle {
		s.begin(t, fmt.Sprintf("idle-%d", i), host, fmt.Sprintf("e2e/idle-%d", i%8))
	}
	awaitEditors(t, minReplicas+1)
	s.awaitProgress(t, 20)
	for i := range idle {
		s.disconnect(t, fmt.Sprintf("idle-%d", i))
	}
	await(t, 4*time.Minute, func() error {
		if ready := len(editors(t)); ready != minReplicas {
			return fmt.Errorf("%d editor pods are ready, not %d", ready, minReplicas)
		}
		return nil
	})
	s.awaitProgress(t, 20)
	s.finish(t)
}
