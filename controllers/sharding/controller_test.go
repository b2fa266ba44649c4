package sharding

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/sharding/assignment"
)

func TestRestartsSurviveInTheShardMap(t *testing.T) {
	shardMap := &v1alpha1.ShardMap{Spec: v1alpha1.ShardMapSpec{Members: []v1alpha1.ShardMember{
		{Name: "a", UID: "uid-a"}, {Name: "b", UID: "uid-b"},
	}}}
	setRestarts(shardMap, map[string]int32{"b": 3})
	members := membersOf(shardMap)
	if members["a"] != (recorded{uid: "uid-a"}) || members["b"] != (recorded{uid: "uid-b", restarts: 3}) {
		t.Errorf("members are %+v", members)
	}
	setRestarts(shardMap, nil)
	if len(shardMap.Annotations) != 0 {
		t.Errorf("annotations are left: %v", shardMap.Annotations)
	}
}

func TestADamagedShardMapIsNotGuessedAt(t *testing.T) {
	shardMap := &v1alpha1.ShardMap{Spec: v1alpha1.ShardMapSpec{Shards: []v1alpha1.ShardAssignment{{Shard: 0}, {Shard: 7}}}}
	if _, err := shardsOf(shardMap); err == nil {
		t.Error("a map of 2 shards with a shard 7 was accepted")
	}
}

// BenchmarkSteadyState is what a reconciliation computes when nothing has changed.
func BenchmarkSteadyState(b *testing.B) {
	var pods []corev1.Pod
	for i := range 100 {
		pods = append(pods, editorPod(fmt.Sprintf("pod-%03d", i)))
	}
	o := observe(pods, nil, nil, 1)
	shards := assignment.Assign(o.members, assignment.New(1024, 1), assignment.Limits{}).Shards
	shardMap := &v1alpha1.ShardMap{Spec: v1alpha1.ShardMapSpec{Shards: entries(shards)}}
	for b.Loop() {
		current, err := shardsOf(shardMap)
		if err != nil {
			b.Fatal(err)
		}
		seen := observe(pods, membersOf(shardMap), nil, 1)
		result := assignment.Assign(seen.members, current, assignment.Limits{PlannedMoves: plannedMoves})
		next := shardMap.DeepCopy()
		next.Spec.Shards = entries(result.Shards)
		if !slices.Equal(shardMap.Spec.Shards, next.Spec.Shards) {
			b.Fatal("a steady state changed")
		}
	}
}
