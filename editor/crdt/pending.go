package crdt

import (
	"slices"
)

// pendingStructs are structs that wait for what they build upon.
type pendingStructs struct {
	// missing holds, for each client of which something is missing, the clock that the state has to pass.
	missing map[uint64]int64
	update  []byte // In format v2.
}

// require notes that the client's state has to pass clock.
func (p *pendingStructs) require(client uint64, clock int64) {
	if known, ok := p.missing[client]; !ok || known > clock {
		p.missing[client] = clock
	}
}

// add joins what waits since later.
func (p *pendingStructs) add(later *pendingStructs) {
	for client, clock := range later.missing {
		p.require(client, clock)
	}
	if merged, err := MergeUpdatesV2([][]byte{p.update, later.update}); err == nil { // Both are our own.
		p.update = merged
	}
}

// encodeWiresV2 encodes structs, one slice per client, as an update without deletions.
func encodeWiresV2(sections [][]wire, aux []wireAux) []byte {
	slices.SortFunc(sections, func(a, b []wire) int {
		if a[0].client > b[0].client {
			return -1
		}
		return 1
	})
	e := &encoderV2{}
	e.varUint(uint64(len(sections)))
	for _, wires := range sections {
		e.varUint(uint64(len(wires)))
		e.client(wires[0].client)
		e.varUint(uint64(wires[0].clock))
		for i := range wires {
			wires[i].write(e, aux, 0)
		}
	}
	e.varUint(0)
	return e.finish()
}

// encodeDeletesV2 encodes ranges as an update without structs, or nil if there are none.
func encodeDeletesV2(set deleteSet) []byte {
	if len(set) == 0 {
		return nil
	}
	e := &encoderV2{}
	e.varUint(0)
	set.normalize().write(e)
	return e.finish()
}
