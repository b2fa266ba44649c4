package crdt

import (
	"cmp"
	"container/heap"
	"errors"
	"slices"
)

// MergeUpdates joins updates in format v1 into one, without a document: a peer that applies it knows as much as one
// that applied them all. The work grows with n log n.
func MergeUpdates(updates [][]byte) ([]byte, error) { return mergeUpdates(updates, formatV1) }

// MergeUpdatesV2 is MergeUpdates for format v2.
func MergeUpdatesV2(updates [][]byte) ([]byte, error) { return mergeUpdates(updates, formatV2) }

func mergeUpdates(updates [][]byte, f format) ([]byte, error) {
	if len(updates) == 1 {
		return updates[0], nil
	}
	merged, err := mergeOrdered(updates, f)
	if !errors.Is(err, errUnordered) {
		return merged, err
	}
	ordered := make([][]byte, len(updates))
	for i, u := range updates {
		if ordered[i], err = order(u, f); err != nil {
			return nil, err
		}
	}
	return mergeOrdered(ordered, f.ofOurs())
}

// errUnordered reports an update whose clients do not fall, as merging wants them to. Yjs always writes them so.
var errUnordered = errors.New("clients are not in falling order")

// order returns the update with its clients in falling order.
func order(update []byte, f format) ([]byte, error) {
	r := f.open(update)
	defer r.close()
	var pieces []piece
	if err := r.eachStruct(func(p *piece) { pieces = append(pieces, *p) }); err != nil {
		return nil, err
	}
	if !r.unordered {
		return update, nil
	}
	set, err := readDeleteSet(r.dec, nil)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(b.client, a.client) })
	out := structWriter{e: f.encoder(len(update))}
	for i := range pieces {
		out.write(&pieces[i], 0)
	}
	return out.finish(grouped(set)), nil
}

func mergeOrdered(updates [][]byte, f format) ([]byte, error) {
	size := 0
	for _, u := range updates {
		size += len(u)
	}
	m := merger{out: structWriter{e: f.encoder(size)}}
	var err error
	if len(updates) < manyUpdates {
		short := &shortQueue{readers: make([]*lazyReader, 0, len(updates))}
		defer short.close()
		m.queue, err = short, short.open(&m, f, updates)
	} else {
		m.queue, err = newLongQueue(&m, f, updates)
	}
	if err != nil {
		return nil, err
	}
	if err := m.run(); err != nil {
		return nil, err
	}
	return m.out.finish(m.deletes.normalize()), nil
}

// merger merges updates just as Yjs does, because two updates can tell the same in different ways, and which of them
// is taken decides about the bytes.
type merger struct {
	queue    mergeQueue
	out      structWriter
	deletes  deleteSet
	distinct int   // How many of the deletions are known to differ.
	current  piece // What is written next, once it is known that nothing has to be joined with it.
	started  bool
}

// mergeQueue hands out the update whose next struct has the highest client and of that the lowest clock.
type mergeQueue interface {
	// first returns that update, or nil if all are read. What it returned before is put back in order.
	first() (*lazyReader, error)
}

// next moves an update to its next struct. At its end it reads the deletions.
func (m *merger) next(r *lazyReader) error {
	err := r.advanceUnskipped()
	switch {
	case err != nil:
	case r.unordered:
		err = errUnordered
	case r.done:
		err = m.readDeletes(r)
	}
	return err
}

// readDeletes reads the deletions of an update. Most are those of other updates as well, so that they are sorted
// whenever they are twice as many as before.
func (m *merger) readDeletes(r *lazyReader) (err error) {
	if m.deletes, err = readDeleteSet(r.dec, m.deletes); err != nil {
		return err
	}
	const few = 1 << 10
	if len(m.deletes) > few+2*m.distinct {
		m.deletes = m.deletes.normalize()
		m.distinct = len(m.deletes)
	}
	return nil
}

func (m *merger) flush() { m.out.write(&m.current, 0) }

// accept makes the struct of r the current one and moves on.
func (m *merger) accept(r *lazyReader) error {
	m.current, m.started = r.current, true
	return m.next(r)
}

func (m *merger) run() error {
	for {
		r, err := m.queue.first()
		if err != nil {
			return err
		}
		if r == nil {
			break
		}
		client := r.current.client
		again := false
		if !m.started {
			err = m.accept(r)
		} else {
			again, err = m.join(r, client)
		}
		if err != nil {
			return err
		}
		if again {
			continue
		}
		for !r.done && r.current.client == client && r.current.clock == m.current.end() {
			m.flush()
			if err := m.accept(r); err != nil {
				return err
			}
		}
	}
	if m.started {
		m.flush()
	}
	return nil
}

// join brings the struct of r, of the given client, together with the current one. It returns again if there is
// nothing to do before the order of the updates is looked at anew.
func (m *merger) join(r *lazyReader, client uint64) (again bool, err error) {
	skipped := false
	for !r.done && r.current.end() <= m.current.end() && r.current.client >= m.current.client {
		skipped = true
		if err := m.next(r); err != nil {
			return false, err
		}
	}
	if r.done || r.current.client != client || skipped && r.current.clock > m.current.end() {
		return true, nil
	}
	switch end := m.current.end(); {
	case client != m.current.client:
		m.flush()
		return false, m.accept(r)
	case end < r.current.clock:
		if m.current.kind == kindSkip {
			m.current.length = r.current.end() - m.current.clock
			return false, nil
		}
		m.flush()
		m.current = piece{wire: wire{client: client, clock: end, length: r.current.clock - end, kind: kindSkip}}
		return false, nil
	default:
		overlap := end - r.current.clock
		if m.current.kind == kindGC && r.current.kind == kindGC {
			// The reader stays where it is: what was joined is skipped in the next round.
			m.current.length += r.current.length - overlap
			return false, nil
		}
		if overlap > 0 {
			if m.current.kind == kindSkip {
				m.current.length -= overlap // The other one knows more.
			} else {
				r.current.cut(overlap)
			}
		}
		m.flush()
		return false, m.accept(r)
	}
}

// before orders updates by their next structs: higher clients first, then lower clocks.
func before(a, b *piece) int {
	if a.client != b.client {
		return cmp.Compare(b.client, a.client)
	}
	return cmp.Compare(a.clock, b.clock)
}

// manyUpdates is the number of updates from which on a heap orders them. Below, the order of equals is that of
// JavaScript's sort, which matters where one update has garbage for what another one still has.
const manyUpdates = 64

// shortQueue sorts the updates anew in every round, as Yjs does.
type shortQueue struct{ readers []*lazyReader }

func (q *shortQueue) open(m *merger, f format, updates [][]byte) error {
	for _, u := range updates {
		r := f.open(u)
		q.readers = append(q.readers, r)
		if err := m.next(r); err != nil {
			return err
		}
	}
	return nil
}

// close closes the updates that were not read to their end.
func (q *shortQueue) close() {
	for _, r := range q.readers {
		r.close()
	}
}

func (q *shortQueue) first() (*lazyReader, error) {
	q.readers = slices.DeleteFunc(q.readers, func(r *lazyReader) bool {
		done := r.done
		if done {
			r.close() // From here on it is somebody else's.
		}
		return done
	})
	if len(q.readers) == 0 {
		return nil, nil
	}
	sortLikeJavaScript(q.readers)
	return q.readers[0], nil
}

// compareReaders is the order that Yjs sorts by. It contradicts itself for garbage and an item of the same clock, of
// which each is before the other.
func compareReaders(a, b *lazyReader) int {
	if c := before(&a.current, &b.current); c != 0 {
		return c
	}
	if (a.current.kind == kindGC) != (b.current.kind == kindGC) {
		return -1
	}
	return 0
}

// sortLikeJavaScript sorts fewer than 64 updates as V8 does, whose steps show with an order that contradicts itself:
// it takes the sorted run at the front, reversing it if it falls, and inserts the others by binary search.
func sortLikeJavaScript(a []*lazyReader) {
	if len(a) < 2 {
		return
	}
	run := 2
	falling := compareReaders(a[1], a[0]) < 0
	for run < len(a) && (compareReaders(a[run], a[run-1]) < 0) == falling {
		run++
	}
	if falling {
		slices.Reverse(a[:run])
	}
	for i := run; i < len(a); i++ {
		pivot := a[i]
		left, right := 0, i
		for left < right {
			mid := left + (right-left)/2
			if compareReaders(pivot, a[mid]) < 0 {
				right = mid
			} else {
				left = mid + 1
			}
		}
		copy(a[left+1:i+1], a[left:i])
		a[left] = pivot
	}
}

// longQueue keeps updates that were begun in a heap, and the others sorted by their first structs, unopened: most
// updates are read from start to end in one go, so that hardly more than one is open at a time.
type longQueue struct {
	m       *merger
	f       format
	updates [][]byte
	heads   []updateHead
	open    openUpdates
	current *lazyReader
	spare   *lazyReader
	turns   int
}

// updateHead is where an update starts.
type updateHead struct {
	client uint64
	clock  uint32
	index  int32
}

func newLongQueue(m *merger, f format, updates [][]byte) (*longQueue, error) {
	q := &longQueue{m: m, f: f, updates: updates, heads: make([]updateHead, 0, len(updates))}
	sorted := true
	r := &lazyReader{}
	for i, u := range updates {
		f.reopen(r, u)
		if err := r.advanceUnskipped(); err != nil {
			return nil, err
		}
		if r.done {
			if err := m.readDeletes(r); err != nil {
				return nil, err
			}
			continue
		}
		h := updateHead{r.current.client, r.current.clock, int32(i)}
		if n := len(q.heads); n > 0 && compareHeads(q.heads[n-1], h) > 0 {
			sorted = false
		}
		q.heads = append(q.heads, h)
	}
	if !sorted {
		slices.SortFunc(q.heads, compareHeads)
	}
	return q, nil
}

func compareHeads(a, b updateHead) int {
	if a.client != b.client {
		return cmp.Compare(b.client, a.client)
	}
	if a.clock != b.clock {
		return cmp.Compare(a.clock, b.clock)
	}
	return cmp.Compare(a.index, b.index)
}

func (q *longQueue) first() (*lazyReader, error) {
	if r := q.current; r != nil && !r.done {
		// Among equals, what was read last comes first: it was at the front, and sorting is stable.
		q.turns++
		heap.Push(&q.open, openUpdate{r, -q.turns})
	}
	if r := q.current; r != nil && r.done {
		q.spare = r
	}
	q.current = nil
	if len(q.heads) > 0 {
		h := q.heads[0]
		first := len(q.open) == 0
		if !first {
			top := q.open[0]
			c := compareHeads(h, updateHead{top.current.client, top.current.clock, h.index})
			first = c < 0 || c == 0 && int(h.index) < top.turn
		}
		if first {
			q.heads = q.heads[1:]
			if q.spare == nil {
				q.spare = &lazyReader{}
			}
			q.current = q.f.reopen(q.spare, q.updates[h.index])
			q.spare = nil
			return q.current, q.m.next(q.current)
		}
	}
	if len(q.open) == 0 {
		return nil, nil
	}
	u, _ := heap.Pop(&q.open).(openUpdate)
	q.current = u.lazyReader
	return q.current, nil
}

// openUpdates is a heap of updates that were begun.
type openUpdates []openUpdate

type openUpdate struct {
	*lazyReader
	turn int
}

func (h openUpdates) Len() int { return len(h) }

func (h openUpdates) Less(i, j int) bool {
	if c := before(&h[i].current, &h[j].current); c != 0 {
		return c < 0
	}
	return h[i].turn < h[j].turn
}

func (h openUpdates) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *openUpdates) Push(x any) {
	u, _ := x.(openUpdate)
	*h = append(*h, u)
}

// Pop implements heap.Interface.
func (h *openUpdates) Pop() any {
	old := *h
	n := len(old) - 1
	u := old[n]
	old[n] = openUpdate{}
	*h = old[:n]
	return u
}

// grouped orders a set by falling clients, as Yjs writes it, leaving the ranges of each client as they are.
func grouped(set deleteSet) deleteSet {
	slices.SortStableFunc(set, func(a, b deleteRange) int { return cmp.Compare(b.client, a.client) })
	return set
}
