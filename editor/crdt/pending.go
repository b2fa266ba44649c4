package crdt

import (
	"cmp"
	"container/heap"
	"slices"
)

// pending is what a document cannot use yet: structs and deletions that arrived before what they build upon. Adding to
// it and taking from it costs about as much as what is added or taken, however much else waits: whoever fills a gap
// in many small steps must not make us look at everything in each of them.
type pending struct {
	structs map[uint64]*queue
	// missing holds, for each client of which the structs need something, the clock that its state has to pass.
	missing map[uint64]int64
	deletes map[uint64]*clocks
	turns   int // Numbers the runs.
	bytes   int // What the structs take in memory.
	// advanced are the clients of which structs came since the document looked after what waits.
	advanced []uint64
	news     bool // Whether something came that was not there.
}

func (p *pending) empty() bool { return len(p.structs)+len(p.deletes) == 0 }

// note notes that structs of a client came.
func (p *pending) note(client uint64) {
	if n := len(p.advanced); !p.empty() && (n == 0 || p.advanced[n-1] != client) {
		p.advanced = append(p.advanced, client)
	}
}

// queue is the structs of one client that wait. Runs of different updates may overlap.
type queue struct {
	runs runs
	have clocks // What was ever in the runs.
}

// run is structs of one client that follow each other without a gap.
type run struct {
	wires []wire
	aux   []wireAux
	turn  int
	bytes int
}

func (r *run) clock() uint32 { return r.wires[0].clock }

func (r *run) end() uint32 { return r.wires[len(r.wires)-1].end() }

// own makes a run of structs, whose bytes belong to somebody else.
func own(wires []wire, aux []wireAux) *run {
	r := &run{wires: slices.Clone(wires)}
	size := 0
	for i := range wires {
		size += len(wires[i].data)
		if n := wires[i].aux; n != 0 {
			size += len(aux[n-1].root) + len(aux[n-1].sub) + len(aux[n-1].key)
		}
	}
	all := make([]byte, 0, size)
	keep := func(b []byte) []byte {
		from := len(all)
		all = append(all, b...)
		return all[from:len(all):len(all)]
	}
	for i := range r.wires {
		w := &r.wires[i]
		w.data = keep(w.data)
		if n := w.aux; n != 0 {
			s := aux[n-1]
			r.aux = append(r.aux, wireAux{root: keep(s.root), sub: keep(s.sub), key: keep(s.key)})
			w.aux = uint32(len(r.aux))
		}
	}
	const perRun, perWire, perAux = 160, 80, 72
	r.bytes = perRun + perWire*len(r.wires) + perAux*len(r.aux) + size
	return r
}

// runs is a heap of runs. The one that starts first is first, and of several the one that came first, unless just one
// of them is garbage: then Yjs takes what came last.
type runs []*run

func (h runs) Len() int { return len(h) }

func (h runs) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.clock() != b.clock() {
		return a.clock() < b.clock()
	}
	if (a.wires[0].kind == kindGC) != (b.wires[0].kind == kindGC) {
		return a.turn > b.turn
	}
	return a.turn < b.turn
}

func (h runs) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *runs) Push(x any) {
	r, _ := x.(*run)
	*h = append(*h, r)
}

// Pop implements heap.Interface.
func (h *runs) Pop() any {
	old := *h
	n := len(old) - 1
	r := old[n]
	old[n] = nil
	*h = old[:n]
	return r
}

func (h *runs) add(r *run) { heap.Push(h, r) }

func (h *runs) take() *run {
	r, _ := heap.Pop(h).(*run)
	return r
}

// wantsBefore reports whether the structs need something of a client, and got it with the state.
func (p *pending) wantsBefore(client uint64, state uint32) bool {
	clock, ok := p.missing[client]
	return ok && clock < int64(state)
}

// require adds to what is missing.
func (p *pending) require(missing map[uint64]int64) {
	if p.missing == nil {
		p.missing = make(map[uint64]int64, len(missing))
	}
	for client, clock := range missing {
		if known, ok := p.missing[client]; !ok || known > clock {
			p.missing[client] = clock
		}
	}
}

// addStructs keeps structs of one client, as far as they are not there yet.
func (p *pending) addStructs(client uint64, wires []wire, aux []wireAux) {
	q := p.structs[client]
	if q == nil {
		if p.structs == nil {
			p.structs = map[uint64]*queue{}
		}
		q = &queue{}
		p.structs[client] = q
	}
	var added clocks
	for len(wires) > 0 {
		n := 0
		for n < len(wires) && wires[n].kind != kindSkip {
			n++
		}
		if n > 0 {
			s := span{wires[0].clock, wires[n-1].end()}
			if !q.have.covers(s) {
				r := own(wires[:n], aux)
				p.turns++
				r.turn = p.turns
				p.bytes += r.bytes
				q.runs.add(r)
				added = append(added, s)
			}
		}
		wires = wires[min(n+1, len(wires)):]
	}
	if len(added) > 0 {
		p.news = true
		q.have.add(added)
	}
	if len(q.runs) == 0 {
		delete(p.structs, client)
	}
}

// addDeletes keeps ranges to be deleted.
func (p *pending) addDeletes(set deleteSet) {
	set = set.normalize()
	for i := 0; i < len(set); {
		client := set[i].client
		have := p.deletes[client]
		if have == nil {
			if p.deletes == nil {
				p.deletes = map[uint64]*clocks{}
			}
			have = &clocks{}
			p.deletes[client] = have
		}
		var added clocks
		for ; i < len(set) && set[i].client == client; i++ {
			if s := (span{set[i].clock, set[i].end()}); !have.covers(s) {
				added = append(added, s)
			}
		}
		if len(added) > 0 {
			p.news = true
			have.add(added)
		}
	}
}

// deleteSet returns the deletions, normalized.
func (p *pending) deleteSet() deleteSet {
	var set deleteSet
	for client, have := range p.deletes {
		for _, s := range *have {
			set = append(set, deleteRange{client, s.from, s.to - s.from})
		}
	}
	return set.normalize()
}

// updates returns what waits as updates, without what a peer knows.
func (p *pending) updates(f format, known StateVector) [][]byte {
	var out [][]byte
	if len(p.deletes) > 0 {
		e := f.encoder(64)
		e.varUint(0)
		p.deleteSet().write(e)
		out = append(out, e.finish())
	}
	var all []*run
	for _, q := range p.structs {
		all = append(all, q.runs...)
	}
	slices.SortFunc(all, func(a, b *run) int { return cmp.Compare(a.turn, b.turn) })
	for _, r := range all {
		if clock := known[r.wires[0].client]; clock < uint64(r.end()) {
			out = append(out, r.encode(f.encoder(r.bytes), uint32(clock)))
		}
	}
	return out
}

// encode returns the structs from a clock on as an update.
func (r *run) encode(e structEncoder, from uint32) []byte {
	wires := r.wires
	for wires[0].end() <= from {
		wires = wires[1:]
	}
	w := &wires[0]
	from = max(from, w.clock)
	e.varUint(1)
	e.varUint(uint64(len(wires)))
	e.client(w.client)
	e.varUint(uint64(from))
	w.write(e, r.aux, from-w.clock)
	for i := range wires[1:] {
		wires[1+i].write(e, r.aux, 0)
	}
	e.varUint(0)
	return e.finish()
}

// clocks is a set of one client's clocks, as sorted ranges that do not touch each other.
type clocks []span

type span struct{ from, to uint32 }

// reaching returns the index of the first range that ends at a clock or behind.
func (c clocks) reaching(clock uint32) int {
	i, _ := slices.BinarySearchFunc(c, clock, func(s span, clock uint32) int { return cmp.Compare(s.to, clock) })
	return i
}

// covers reports whether the set has all of s.
func (c clocks) covers(s span) bool {
	i := c.reaching(s.to)
	return i < len(c) && c[i].from <= s.from
}

// add adds sorted ranges.
func (c *clocks) add(more clocks) {
	const few = 8
	if len(more) > few {
		*c = union(*c, more)
		return
	}
	for _, s := range more {
		from := c.reaching(s.from)
		to := from
		for ; to < len(*c) && (*c)[to].from <= s.to; to++ {
			s.from, s.to = min(s.from, (*c)[to].from), max(s.to, (*c)[to].to)
		}
		*c = slices.Replace(*c, from, to, s)
	}
}

func union(a, b clocks) clocks {
	out := make(clocks, 0, len(a)+len(b))
	for len(a)+len(b) > 0 {
		if len(a) == 0 || len(b) > 0 && b[0].from < a[0].from {
			a, b = b, a
		}
		s := a[0]
		a = a[1:]
		if n := len(out); n > 0 && out[n-1].to >= s.from {
			out[n-1].to = max(out[n-1].to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// takeBefore removes what is before a clock and returns it.
func (c *clocks) takeBefore(clock uint32) clocks {
	n := c.reaching(clock)
	taken := slices.Clone((*c)[:n])
	*c = (*c)[n:]
	if len(*c) > 0 && (*c)[0].from < clock {
		taken = append(taken, span{(*c)[0].from, clock})
		if (*c)[0].from = clock; (*c)[0].to == clock {
			*c = (*c)[1:]
		}
	}
	return taken
}
