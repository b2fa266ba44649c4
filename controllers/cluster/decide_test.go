package cluster

import (
	"crypto/tls"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

func TestThePeerCertificateIsRenewedAtTwoThirdsOfItsTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	name := PeerName("docs", "team")
	ca, err := authority(nil, name, start)
	if err != nil {
		t.Fatal(err)
	}
	first, err := peerCertificate(nil, ca, name, start)
	if err != nil {
		t.Fatal(err)
	}
	otherCA, err := authority(nil, name, start)
	if err != nil {
		t.Fatal(err)
	}
	broken := maps.Clone(first)
	broken[keyPrivateKey] = []byte("not a key")
	for label, test := range map[string]struct {
		present, ca map[string][]byte
		name        string
		after       time.Duration
		renewed     bool
	}{
		"at once":                {first, ca, name, 0, false},
		"before two thirds":      {first, ca, name, peerValidity*2/3 - time.Hour, false},
		"after two thirds":       {first, ca, name, peerValidity*2/3 + time.Hour, true},
		"long after":             {first, ca, name, peerValidity * 2, true},
		"of another authority":   {first, otherCA, name, 0, true},
		"of another name":        {first, ca, PeerName("docs", "other"), 0, true},
		"with a broken key":      {broken, ca, name, 0, true},
		"near the CA's own time": {first, ca, name, authorityValidity - time.Hour, true},
	} {
		t.Run(label, func(t *testing.T) {
			now := start.Add(test.after)
			got, err := peerCertificate(test.present, test.ca, test.name, now)
			if err != nil {
				t.Fatal(err)
			}
			if renewed := string(got[keyCertificate]) != string(test.present[keyCertificate]); renewed != test.renewed {
				t.Errorf("renewed: %t, want %t", renewed, test.renewed)
			}
			pair, err := tls.X509KeyPair(got[keyCertificate], got[keyPrivateKey])
			if err != nil {
				t.Fatal(err)
			}
			if now.After(pair.Leaf.NotAfter) || len(got) != 3 {
				t.Errorf("the result has %d keys and ends at %v", len(got), pair.Leaf.NotAfter)
			}
		})
	}
	if again, err := authority(ca, name, start.Add(authorityValidity/2)); err != nil ||
		string(again[keyCACertificate]) != string(ca[keyCACertificate]) {
		t.Errorf("the authority was replaced (%v)", err)
	}
}

// pod is a pod of docs with a UID of its name.
func pod(component child.Component, name string, ready corev1.ConditionStatus) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-" + name), Labels: child.Selector("docs", component),
		},
		Status: corev1.PodStatus{
			PodIP:      "10.0.0.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
		},
	}
}

func TestAShardCountsOnlyWithAReadyOwner(t *testing.T) {
	ready := pod(child.Editor, "a", corev1.ConditionTrue)
	unready := pod(child.Editor, "b", corev1.ConditionFalse)
	shards := func(owners ...string) *v1alpha1.ShardMap {
		shardMap := &v1alpha1.ShardMap{}
		for _, name := range []string{"a", "b"} {
			shardMap.Spec.Members = append(shardMap.Spec.Members, v1alpha1.ShardMember{Name: name, UID: "uid-" + name})
		}
		for i, owner := range owners {
			shardMap.Spec.Shards = append(shardMap.Spec.Shards, v1alpha1.ShardAssignment{Shard: int32(i), Owner: owner})
		}
		return shardMap
	}
	reborn := *ready.DeepCopy()
	reborn.UID = "another"
	for label, test := range map[string]struct {
		shardMap *v1alpha1.ShardMap
		pods     []corev1.Pod
		assigned int32
		reason   string
	}{
		"all":                          {shards("a", "a"), []corev1.Pod{ready, unready}, 2, v1alpha1.ReasonReady},
		"one of an unready pod":        {shards("a", "b"), []corev1.Pod{ready, unready}, 1, v1alpha1.ReasonShardsUnassigned},
		"one of no pod":                {shards("a", ""), []corev1.Pod{ready}, 1, v1alpha1.ReasonShardsUnassigned},
		"a pod of the same name":       {shards("a", "a"), []corev1.Pod{reborn}, 0, v1alpha1.ReasonShardsUnassigned},
		"no map and no pods":           {nil, nil, 0, v1alpha1.ReasonNoEditorPods},
		"no map, but pods":             {nil, []corev1.Pod{ready}, 0, v1alpha1.ReasonEpochsUnknown},
		"a map, but no pods":           {shards("a", "a"), nil, 0, v1alpha1.ReasonNoEditorPods},
		"a map, but only unready pods": {shards("b", "b"), []corev1.Pod{unready}, 0, v1alpha1.ReasonNoEditorPods},
	} {
		t.Run(label, func(t *testing.T) {
			status, condition := observeShards(2, test.shardMap, test.pods)
			if status.Assigned != test.assigned || status.Total != 2 || condition.Reason != test.reason ||
				(condition.Status == metav1.ConditionTrue) != (test.assigned == 2) {
				t.Errorf("got %+v and %+v, want %d assigned and reason %s", status, condition, test.assigned, test.reason)
			}
		})
	}
}

func TestDeletionWaitsForPodsButNotForEver(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cluster := &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{
		Name: "docs", UID: "1", DeletionTimestamp: &metav1.Time{Time: start},
	}}
	owned := metav1.ObjectMeta{Name: "docs-editor", OwnerReferences: []metav1.OwnerReference{{
		UID: "1", Controller: ptr.To(true),
	}}}
	foreign := metav1.ObjectMeta{Name: "docs-editor"}
	ready := corev1.ConditionTrue
	for label, test := range map[string]struct {
		seen  observation
		after time.Duration
		want  stage
	}{
		"everything": {observation{
			deployments: []appsv1.Deployment{{ObjectMeta: owned}}, sets: []appsv1.StatefulSet{{ObjectMeta: owned}},
		}, 0, editorsGo},
		"an editor pod":         {observation{pods: []corev1.Pod{pod(child.Editor, "a", ready)}}, 0, editorsGo},
		"a foreign Deployment":  {observation{deployments: []appsv1.Deployment{{ObjectMeta: foreign}}}, 0, cleanUp},
		"a StatefulSet":         {observation{sets: []appsv1.StatefulSet{{ObjectMeta: owned}}}, 0, storesGo},
		"a foreign StatefulSet": {observation{sets: []appsv1.StatefulSet{{ObjectMeta: foreign}}}, 0, cleanUp},
		"a PostgreSQL pod":      {observation{pods: []corev1.Pod{pod(child.Postgres, "p", ready)}}, 0, storesGo},
		"a Redis pod":           {observation{pods: []corev1.Pod{pod(child.Redis, "r", ready)}}, 0, storesGo},
		"a HAProxy pod":         {observation{pods: []corev1.Pod{pod(child.HAProxy, "h", ready)}}, 0, cleanUp},
		"a pod in time": {observation{pods: []corev1.Pod{pod(child.Redis, "r", ready)}},
			deletionTimeout - time.Second, storesGo},
		"a pod that does not stop": {observation{pods: []corev1.Pod{pod(child.Redis, "r", ready)}},
			deletionTimeout + time.Second, cleanUp},
		"nothing": {observation{}, 0, cleanUp},
	} {
		t.Run(label, func(t *testing.T) {
			if got := deletionStage(cluster, test.seen, start.Add(test.after)); got != test.want {
				t.Errorf("got stage %d, want %d", got, test.want)
			}
		})
	}
}

func TestThePrimaryIsFoundByNameOrAddress(t *testing.T) {
	pods := []corev1.Pod{pod(child.Redis, "docs-redis-0", corev1.ConditionTrue)}
	for host, want := range map[string]string{
		"docs-redis-0.docs-redis.team.svc": "docs-redis-0", "docs-redis-0": "docs-redis-0", "10.0.0.1": "docs-redis-0",
		"docs-redis-1.docs-redis.team.svc": "", "10.0.0.2": "", "": "",
	} {
		if got := podOf(host, pods); got != want {
			t.Errorf("host %q is pod %q, want %q", host, got, want)
		}
	}
}

func TestPasswordsAreLongAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		password, err := newPassword()
		if err != nil || len(password) != passwordLength || seen[password] {
			t.Fatalf("got %q, %v", password, err)
		}
		seen[password] = true
	}
}
