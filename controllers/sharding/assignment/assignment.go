// Package assignment decides which member owns which shard. It owns the rules of balance, of least movement and of
// epochs, and nothing else: it knows neither Kubernetes nor clocks, keeps no state and is deterministic.
package assignment

import (
	"cmp"
	"slices"
)

// Member is a process that is alive. One that is not in the list of members is dead.
type Member struct {
	// Name identifies the member.
	Name string
	// Leaving members are alive, so that they can hand over, but must give up what they own.
	Leaving bool
	// Restarted members have lost what they owned: their process is another one than that of the current assignment.
	Restarted bool
	// Outdated members will be replaced by the rollout that is under way.
	Outdated bool
}

// Shard is the assignment of one shard; its number is its index.
type Shard struct {
	// Owner is the name of the owning member, empty while there is none.
	Owner string
	// PreviousOwner is the live member that a planned move took the shard from, empty if it is gone.
	PreviousOwner string
	// Epoch rises by one whenever Owner changes, or the owner's process does.
	Epoch int64
}

// Limits bound what one call of Assign changes.
type Limits struct {
	// PlannedMoves is the greatest number of shards taken from members that are alive; 0 for no limit, negative for
	// none. The shards of dead members are always reassigned at once.
	PlannedMoves int
	// Desired is the number of members that there will be after a rollout. Members of the new template take no more
	// than their share of this many from outdated ones, so that later ones need not take it from them again.
	Desired int
}

// Result is a new assignment and how it differs from the old one.
type Result struct {
	// Shards is the new assignment.
	Shards []Shard
	// Reassigned counts the shards that got an owner because they had none that was alive.
	Reassigned int
	// Moved counts the shards that were moved between live members.
	Moved int
	// Pending counts the planned moves that Limits.PlannedMoves left for later.
	Pending int
}

// New is the assignment of n shards that nobody owns yet.
func New(n int, epoch int64) []Shard {
	shards := make([]Shard, n)
	for i := range shards {
		shards[i].Epoch = epoch
	}
	return shards
}

// Assign computes the next assignment. It leaves current alone.
//
// The shards of dead members go to the least loaded members at once. Leaving members are emptied, and members differ
// by one shard at most, in as few moves as that takes. While a rollout is under way, members of the new template are
// filled to their share from outdated ones, which are emptied one after the other, and nothing else is balanced: a
// shard moves once in a rollout, not twice. Nothing moves that does not have to.
func Assign(members []Member, current []Shard, limits Limits) Result {
	p := newPlan(members, current, limits)
	p.placeOrphans()
	if len(p.receivers) == 0 {
		return p.result
	}
	p.emptyLeaving()
	if p.share > 0 {
		p.fillNew()
	} else {
		p.balance()
	}
	return p.result
}

// member is a member with the shards that it owns, in the order in which they are given away.
type member struct {
	Member
	owned []int
}

type plan struct {
	limits Limits
	result Result

	members   []*member
	assigned  []*member // may own shards, outdated or not
	receivers []*member // should own shards: assigned, or the new ones of them during a rollout
	outdated  []*member // during a rollout, those that should not
	share     int       // of a new member during a rollout, else 0
	orphans   []int
}

func newPlan(members []Member, current []Shard, limits Limits) *plan {
	p := &plan{limits: limits, result: Result{Shards: slices.Clone(current)}}
	byName := make(map[string]*member, len(members))
	for _, m := range members {
		entry := &member{Member: m}
		p.members = append(p.members, entry)
		byName[m.Name] = entry
	}
	slices.SortFunc(p.members, func(a, b *member) int { return cmp.Compare(a.Name, b.Name) })

	for _, m := range p.members {
		switch {
		case m.Leaving:
		case m.Outdated:
			p.outdated = append(p.outdated, m)
			p.assigned = append(p.assigned, m)
		default:
			p.receivers = append(p.receivers, m)
			p.assigned = append(p.assigned, m)
		}
	}
	switch {
	case len(p.receivers) == 0:
		p.receivers, p.outdated = p.assigned, nil
	case len(p.outdated) > 0:
		n := max(limits.Desired, len(p.receivers))
		p.share = (len(current) + n - 1) / n
	}

	for i := range p.result.Shards {
		shard := &p.result.Shards[i]
		if previous := byName[shard.PreviousOwner]; previous == nil || previous.Restarted {
			shard.PreviousOwner = ""
		}
		owner := byName[shard.Owner]
		if owner == nil || owner.Restarted {
			p.orphans = append(p.orphans, i)
			continue
		}
		owner.owned = append(owner.owned, i)
	}
	// What has moved least often is given away first.
	for _, m := range p.members {
		slices.SortStableFunc(m.owned, func(a, b int) int { return cmp.Compare(current[a].Epoch, current[b].Epoch) })
	}
	return p
}

// placeOrphans gives the shards without a live owner to the least loaded members.
func (p *plan) placeOrphans() {
	for _, i := range p.orphans {
		shard := &p.result.Shards[i]
		to := p.receiver()
		if to == nil {
			if shard.Owner != "" {
				*shard = Shard{Epoch: shard.Epoch + 1}
			}
			continue
		}
		*shard = Shard{Owner: to.Name, Epoch: shard.Epoch + 1}
		to.owned = append(to.owned, i)
		p.result.Reassigned++
	}
}

// emptyLeaving moves everything off the leaving members.
func (p *plan) emptyLeaving() {
	for _, m := range p.members {
		for m.Leaving && len(m.owned) > 0 {
			p.move(m, p.receiver())
		}
	}
}

// fillNew gives the members of the new template their share. Outdated members are emptied one after the other, the
// emptiest first, so that some have nothing left to move when they are stopped.
func (p *plan) fillNew() {
	for {
		var from *member
		for _, m := range p.outdated {
			if len(m.owned) > 0 && (from == nil || len(m.owned) < len(from.owned)) {
				from = m
			}
		}
		to := least(p.receivers)
		if from == nil || len(to.owned) >= p.share {
			return
		}
		p.move(from, to)
	}
}

// balance moves shards from the most loaded member to the least loaded until they differ by one at most.
func (p *plan) balance() {
	for {
		from, to := most(p.receivers), least(p.receivers)
		if len(from.owned)-len(to.owned) <= 1 {
			return
		}
		p.move(from, to)
	}
}

// move makes a planned move of one shard, or counts it as pending where the limit is reached: the plan goes on as if
// it had been made, because the next call goes on from there.
func (p *plan) move(from, to *member) {
	i := from.owned[0]
	from.owned = from.owned[1:]
	to.owned = append(to.owned, i)
	if p.limits.PlannedMoves != 0 && p.result.Moved >= p.limits.PlannedMoves {
		p.result.Pending++
		return
	}
	p.result.Moved++
	p.result.Shards[i] = Shard{Owner: to.Name, PreviousOwner: from.Name, Epoch: p.result.Shards[i].Epoch + 1}
}

// receiver is the member that the next shard without a home goes to, nil if there is none. In a rollout it is one of
// the new template, unless all of those hold twice their share already: shards had better move twice than crush the
// first new member.
func (p *plan) receiver() *member {
	to := least(p.receivers)
	if p.share > 0 && len(to.owned) >= 2*p.share {
		return least(p.assigned)
	}
	return to
}

// least is the first of the members with the fewest shards, nil if there are no members.
func least(members []*member) *member {
	if len(members) == 0 {
		return nil
	}
	return slices.MinFunc(members, func(a, b *member) int { return cmp.Compare(len(a.owned), len(b.owned)) })
}

// most is the first of the members with the most shards.
func most(members []*member) *member {
	return slices.MaxFunc(members, func(a, b *member) int { return cmp.Compare(len(a.owned), len(b.owned)) })
}
