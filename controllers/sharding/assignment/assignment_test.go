package assignment_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"collab.dev/operator/controllers/sharding/assignment"
)

var unlimited = assignment.Limits{}

func TestAJoiningMemberTakesExactlyItsShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := shardCount(t)
		n := rapid.IntRange(1, 40).Draw(t, "members")
		before := assignment.Assign(named(n), assignment.New(shards, 7), unlimited).Shards

		after := assignment.Assign(named(n+1), before, unlimited)
		if want := shards / (n + 1); after.Moved != want || after.Reassigned != 0 {
			t.Fatalf("moved %d shards and reassigned %d, want %d and 0", after.Moved, after.Reassigned, want)
		}
		checkBalance(t, after.Shards, named(n+1))
		checkTransition(t, before, after.Shards, named(n+1))
	})
}

func TestTheShardsOfADeadMemberAndNoOthersGoToAllSurvivors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := shardCount(t)
		n := rapid.IntRange(2, 40).Draw(t, "members")
		members := named(n)
		before := assignment.Assign(members, assignment.New(shards, 1), unlimited).Shards
		dead := rapid.IntRange(0, n-1).Draw(t, "dead")
		survivors := slices.Delete(slices.Clone(members), dead, dead+1)

		after := assignment.Assign(survivors, before, assignment.Limits{PlannedMoves: 1})
		lost := loads(before)[members[dead].Name]
		if after.Reassigned != lost || after.Moved != 0 || after.Pending != 0 {
			t.Fatalf("reassigned %d, moved %d, pending %d; the dead member owned %d", after.Reassigned, after.Moved, after.Pending, lost)
		}
		heirs := map[string]bool{}
		for i := range before {
			switch {
			case before[i].Owner != members[dead].Name:
				if after.Shards[i] != before[i] {
					t.Fatalf("shard %d of a survivor changed from %+v to %+v", i, before[i], after.Shards[i])
				}
			case after.Shards[i].PreviousOwner != "":
				t.Fatalf("shard %d is to be handed over by the dead %q", i, after.Shards[i].PreviousOwner)
			default:
				heirs[after.Shards[i].Owner] = true
			}
		}
		if want := min(lost, n-1); len(heirs) < want-1 {
			t.Fatalf("%d shards went to %d survivors of %d", lost, len(heirs), n-1)
		}
		checkBalance(t, after.Shards, survivors)
	})
}

func TestALeavingMemberHandsOverWhatItOwnsWithinTheLimit(t *testing.T) {
	members := named(4)
	before := assignment.Assign(members, assignment.New(256, 1), unlimited).Shards
	members[1].Leaving = true
	limits := assignment.Limits{PlannedMoves: 10}
	moved := 0
	for shards := before; ; {
		result := assignment.Assign(members, shards, limits)
		if result.Moved > 10 {
			t.Fatalf("moved %d shards at once, the limit is 10", result.Moved)
		}
		if want := 64 - moved - result.Moved; result.Pending != want {
			t.Fatalf("%d moves pending, want %d", result.Pending, want)
		}
		for i := range shards {
			if shards[i].Owner != result.Shards[i].Owner && result.Shards[i].PreviousOwner != members[1].Name {
				t.Fatalf("shard %d: nobody is asked to hand it over: %+v", i, result.Shards[i])
			}
		}
		moved, shards = moved+result.Moved, result.Shards
		if result.Pending == 0 {
			if moved != 64 {
				t.Fatalf("moved %d shards, want the 64 of the leaving member", moved)
			}
			checkBalance(t, shards, members)
			return
		}
	}
}

func TestANegativeLimitAllowsNoPlannedMove(t *testing.T) {
	before := assignment.Assign(named(2), assignment.New(64, 1), unlimited).Shards
	result := assignment.Assign(named(4), before, assignment.Limits{PlannedMoves: -1})
	if result.Moved != 0 || result.Pending != 32 || !reflect.DeepEqual(result.Shards, before) {
		t.Fatalf("moved %d shards, %d pending", result.Moved, result.Pending)
	}
}

func TestEverybodyLeavingKeepsItsShards(t *testing.T) {
	members := named(3)
	before := assignment.Assign(members, assignment.New(64, 1), unlimited).Shards
	for i := range members {
		members[i].Leaving = true
	}
	if after := assignment.Assign(members, before, unlimited); !reflect.DeepEqual(after.Shards, before) {
		t.Fatal("shards changed although there was nobody to take them")
	}
}

func TestARestartedMemberGetsANewEpoch(t *testing.T) {
	before := assignment.Assign(named(1), assignment.New(16, 1), unlimited).Shards
	restarted := []assignment.Member{{Name: "m00", Restarted: true}}
	after := assignment.Assign(restarted, before, unlimited).Shards
	for i := range after {
		if want := (assignment.Shard{Owner: "m00", Epoch: before[i].Epoch + 1}); after[i] != want {
			t.Fatalf("shard %d is %+v, want %+v", i, after[i], want)
		}
	}
}

func TestShardsOfTheLastDeadMemberHaveNoOwner(t *testing.T) {
	before := assignment.Assign(named(1), assignment.New(16, 1), unlimited).Shards
	without := assignment.Assign(nil, before, unlimited).Shards
	for i := range without {
		if want := (assignment.Shard{Epoch: before[i].Epoch + 1}); without[i] != want {
			t.Fatalf("shard %d is %+v, want %+v", i, without[i], want)
		}
	}
	if again := assignment.Assign(nil, without, unlimited).Shards; !reflect.DeepEqual(again, without) {
		t.Fatal("a second call without members changed the assignment")
	}
}

// A rolling update with one pod more than desired, where the pod that is stopped is one that was emptied.
func TestEachShardMovesOnceInARollout(t *testing.T) {
	for _, n := range []int{2, 3, 5, 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			const count = 240
			members := map[string]assignment.Member{}
			for i := range n {
				name := fmt.Sprintf("old%02d", i)
				members[name] = assignment.Member{Name: name, Outdated: true}
			}
			list := func() []assignment.Member { return slices.Collect(maps.Values(members)) }
			shards := assignment.Assign(list(), assignment.New(count, 1), unlimited).Shards
			start := slices.Clone(shards)
			limits := assignment.Limits{Desired: n}
			for i := range n {
				name := fmt.Sprintf("new%02d", i)
				members[name] = assignment.Member{Name: name}
				shards = assignment.Assign(list(), shards, limits).Shards
				emptied := ""
				held := loads(shards)
				for _, old := range slices.Sorted(maps.Keys(members)) {
					if members[old].Outdated && held[old] == 0 {
						emptied = old
					}
				}
				if emptied == "" {
					t.Fatalf("after new member %d no old one is empty: %v", i, held)
				}
				delete(members, emptied)
				shards = assignment.Assign(list(), shards, limits).Shards
			}
			checkBalance(t, shards, list())
			for i := range shards {
				if moves := shards[i].Epoch - start[i].Epoch; moves != 1 {
					t.Errorf("shard %d moved %d times", i, moves)
				}
			}
		})
	}
}

func TestARolloutMovesNothingToOutdatedMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "members")
		members := named(n)
		shards := assignment.Assign(members, assignment.New(256, 1), unlimited).Shards
		for i := range members {
			members[i].Outdated = true
		}
		fresh := rapid.IntRange(1, n).Draw(t, "new")
		for i := range fresh {
			members = append(members, assignment.Member{Name: fmt.Sprintf("n%02d", i)})
		}
		members[0].Leaving = rapid.Bool().Draw(t, "leaving")
		after := assignment.Assign(members, shards, assignment.Limits{Desired: n}).Shards
		for i := range after {
			if after[i].Owner != shards[i].Owner && after[i].Owner[0] != 'n' {
				t.Fatalf("shard %d moved from %q to the outdated %q", i, shards[i].Owner, after[i].Owner)
			}
		}
	})
}

func TestOrderOfMembersDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		current := drawShards(t, members)
		limits := assignment.Limits{
			PlannedMoves: rapid.IntRange(0, 50).Draw(t, "limit"), Desired: rapid.IntRange(0, 10).Draw(t, "desired"),
		}
		untouched := slices.Clone(current)
		first := assignment.Assign(members, current, limits)
		second := assignment.Assign(rapid.Permutation(members).Draw(t, "order"), current, limits)
		if !reflect.DeepEqual(first, second) {
			t.Fatal("two orders of the same members gave two assignments")
		}
		if !reflect.DeepEqual(untouched, current) {
			t.Fatal("the current assignment was written to")
		}
	})
}

func TestFromAnyStateTheAssignmentIsValidAndSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := drawMembers(t)
		shards := drawShards(t, members)
		limits := assignment.Limits{PlannedMoves: rapid.IntRange(1, 300).Draw(t, "limit"), Desired: len(members)}
		for pass := 0; ; pass++ {
			result := assignment.Assign(members, shards, limits)
			checkTransition(t, shards, result.Shards, members)
			if result.Moved > limits.PlannedMoves {
				t.Fatalf("moved %d, the limit is %d", result.Moved, limits.PlannedMoves)
			}
			for i := range members {
				members[i].Restarted = false
			}
			shards = result.Shards
			if result.Pending == 0 {
				break
			}
			if pass > len(shards) {
				t.Fatal("does not settle")
			}
		}
		if again := assignment.Assign(members, shards, limits); !reflect.DeepEqual(again.Shards, shards) {
			t.Fatal("a settled assignment changed: moves without need")
		}
		outdated := slices.ContainsFunc(members, func(m assignment.Member) bool { return m.Outdated && !m.Leaving })
		current := slices.ContainsFunc(members, func(m assignment.Member) bool { return !m.Outdated && !m.Leaving })
		if !outdated || !current {
			checkBalance(t, shards, members)
		}
	})
}

func TestAThousandEventsKeepBalanceAndMoveNoMoreThanNeeded(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 0))
		members, next := named(3), 3
		shards := assignment.Assign(members, assignment.New(256, 1), unlimited).Shards
		for event := range 1000 {
			var want int
			if n := len(members); n < 2 || n < 30 && random.IntN(2) == 0 {
				members = append(members, assignment.Member{Name: fmt.Sprintf("m%02d", next)})
				next++
				want = len(shards) / len(members)
			} else {
				dead := random.IntN(n)
				want = loads(shards)[members[dead].Name]
				members = slices.Delete(slices.Clone(members), dead, dead+1)
			}
			result := assignment.Assign(members, shards, unlimited)
			if got := result.Moved + result.Reassigned; got != want {
				t.Fatalf("seed %d, event %d: %d shards changed owner, the least is %d", seed, event, got, want)
			}
			checkTransition(t, shards, result.Shards, members)
			checkBalance(t, result.Shards, members)
			shards = result.Shards
		}
	}
}

func BenchmarkSettled1024ShardsOn100Members(b *testing.B) {
	members := named(100)
	shards := assignment.Assign(members, assignment.New(1024, 1), unlimited).Shards
	for b.Loop() {
		assignment.Assign(members, shards, unlimited)
	}
}

// fataler is what rapid.T and testing.T have in common here.
type fataler interface {
	Fatalf(format string, args ...any)
}

func checkBalance(t fataler, shards []assignment.Shard, members []assignment.Member) {
	held := loads(shards)
	low, high := len(shards), 0
	for _, m := range members {
		if !m.Leaving {
			low, high = min(low, held[m.Name]), max(high, held[m.Name])
		}
	}
	if high > 0 && high-low > 1 {
		t.Fatalf("unbalanced: %v", held)
	}
}

func checkTransition(t fataler, before, after []assignment.Shard, members []assignment.Member) {
	byName := map[string]assignment.Member{}
	assignable := false
	for _, m := range members {
		byName[m.Name] = m
		assignable = assignable || !m.Leaving
	}
	for i, now := range after {
		owner, alive := byName[now.Owner]
		if assignable && !alive || now.Owner != "" && !alive {
			t.Fatalf("shard %d is owned by nobody who is alive: %+v", i, now)
		}
		if assignable && now.Owner != before[i].Owner && owner.Leaving {
			t.Fatalf("shard %d was given to the leaving %q", i, now.Owner)
		}
		changed := now.Owner != before[i].Owner || now.Owner != "" && owner.Restarted
		if want := before[i].Epoch + map[bool]int64{true: 1}[changed]; now.Epoch != want {
			t.Fatalf("shard %d went from %+v to %+v: its epoch should be %d", i, before[i], now, want)
		}
		if previous, alive := byName[now.PreviousOwner]; now.PreviousOwner != "" && (!alive || previous.Restarted) {
			t.Fatalf("shard %d is to be handed over by %q, which is gone", i, now.PreviousOwner)
		}
		if now.PreviousOwner != "" && now.PreviousOwner == now.Owner {
			t.Fatalf("shard %d is to be handed over by its owner", i)
		}
	}
}

func loads(shards []assignment.Shard) map[string]int {
	held := map[string]int{}
	for _, s := range shards {
		held[s.Owner]++
	}
	return held
}

func named(n int) []assignment.Member {
	members := make([]assignment.Member, n)
	for i := range members {
		members[i].Name = fmt.Sprintf("m%02d", i)
	}
	return members
}

func shardCount(t *rapid.T) int {
	return rapid.SampledFrom([]int{16, 32, 64, 128, 256, 512, 1024}).Draw(t, "shards")
}

func drawMembers(t *rapid.T) []assignment.Member {
	members := named(rapid.IntRange(0, 12).Draw(t, "members"))
	for i := range members {
		members[i].Leaving = rapid.IntRange(0, 4).Draw(t, "leaving") == 0
		members[i].Restarted = rapid.IntRange(0, 6).Draw(t, "restarted") == 0
		members[i].Outdated = rapid.IntRange(0, 3).Draw(t, "outdated") == 0
	}
	return members
}

// drawShards draws an assignment to the members, to dead ones and to nobody.
func drawShards(t *rapid.T, members []assignment.Member) []assignment.Shard {
	owners := []string{"", "dead1", "dead2"}
	for _, m := range members {
		owners = append(owners, m.Name)
	}
	shards := make([]assignment.Shard, rapid.SampledFrom([]int{16, 64}).Draw(t, "shards"))
	for i := range shards {
		shards[i].Owner = rapid.SampledFrom(owners).Draw(t, "owner")
		if previous := rapid.SampledFrom(owners).Draw(t, "previous"); previous != shards[i].Owner {
			shards[i].PreviousOwner = previous
		}
		shards[i].Epoch = rapid.Int64Range(1, 9).Draw(t, "epoch")
	}
	return shards
}
