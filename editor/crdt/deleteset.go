package crdt

import (
	"cmp"
	"slices"
)

// deleteRange is a range of clocks of one client that were deleted.
type deleteRange struct {
	client        uint64
	clock, length uint32
}

func (r deleteRange) end() uint32 { return r.clock + r.length }

// deleteSet is a list of ranges. It is sorted, by falling client and rising clock, and free of touching ranges once
// normalize was called.
type deleteSet []deleteRange

func (s deleteSet) normalize() deleteSet {
	if len(s) < 2 {
		return s
	}
	slices.SortFunc(s, func(a, b deleteRange) int {
		if a.client != b.client {
			return cmp.Compare(b.client, a.client)
		}
		return cmp.Compare(a.clock, b.clock)
	})
	n := 1
	for _, r := range s[1:] {
		last := &s[n-1]
		if last.client == r.client && last.end() >= r.clock {
			last.length = max(last.length, r.end()-last.clock)
			continue
		}
		s[n] = r
		n++
	}
	return s[:n]
}

// clients returns the clients in the order in which they appear.
func (s deleteSet) clients() []uint64 {
	var out []uint64
	seen := map[uint64]bool{}
	for i := range s {
		if id := s[i].client; (i == 0 || s[i-1].client != id) && !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// of returns the ranges of one client of the normalized set.
func (s deleteSet) of(client uint64) deleteSet {
	from, _ := slices.BinarySearchFunc(s, client, func(r deleteRange, c uint64) int { return cmp.Compare(c, r.client) })
	to := from
	for to < len(s) && s[to].client == client {
		to++
	}
	return s[from:to]
}

// has reports whether the normalized set has the id.
func (s deleteSet) has(client uint64, clock uint32) bool {
	i, found := slices.BinarySearchFunc(s, deleteRange{client: client, clock: clock}, func(r, id deleteRange) int {
		if r.client != id.client {
			return cmp.Compare(id.client, r.client)
		}
		switch {
		case r.end() <= id.clock:
			return -1
		case r.clock > id.clock:
			return 1
		}
		return 0
	})
	_ = i
	return found
}

// write encodes the set, whose ranges of one client must be adjacent and whose clients must fall.
func (s deleteSet) write(e deleteSetEncoder) {
	clients := 0
	for i := range s {
		if i == 0 || s[i-1].client != s[i].client {
			clients++
		}
	}
	e.varUint(uint64(clients))
	for i := 0; i < len(s); {
		n := i + 1
		for n < len(s) && s[n].client == s[i].client {
			n++
		}
		e.resetDeletes()
		e.varUint(s[i].client)
		e.varUint(uint64(n - i))
		for ; i < n; i++ {
			e.deleteClock(uint64(s[i].clock))
			e.deleteLength(uint64(s[i].length))
		}
	}
}

// readDeleteSet appends the ranges of an encoded set, in the order in which they stand there. Empty ranges, which
// delete nothing, are left out.
func readDeleteSet(d deleteSetDecoder, set deleteSet) (deleteSet, error) {
	rest := d.rest()
	for clients := rest.VarUint(); clients > 0 && d.err() == nil; clients-- {
		d.resetDeletes()
		client := rest.VarUint()
		for n := rest.VarUint(); n > 0; n-- {
			clock := d.deleteClock()
			length := d.deleteLength()
			if err := d.err(); err != nil {
				return set, invalid(err)
			}
			if clock > MaxClock || length > MaxClock-clock {
				return set, ErrTooLarge
			}
			if length > 0 {
				set = append(set, deleteRange{client, uint32(clock), uint32(length)})
			}
		}
	}
	if err := d.err(); err != nil {
		return set, invalid(err)
	}
	return set, nil
}

// deleted returns the document's deletions.
func (d *Doc) deleted() deleteSet {
	var set deleteSet
	for _, i := range d.descending() {
		c := d.clients[i]
		if !c.deletions {
			continue
		}
		open := false
		for _, block := range c.structs.blocks {
			for _, e := range block {
				it := d.item(e.ref)
				switch {
				case !it.deleted():
					open = false
				case open:
					set[len(set)-1].length += it.length
				default:
					set = append(set, deleteRange{c.id, it.clock, it.length})
					open = true
				}
			}
		}
	}
	return set
}
