package crdt

import (
	"cmp"
	"slices"
	"sync"

	"collab.dev/operator/editor/crdt/lib0"
)

// section is the structs of one client that are to be integrated.
type section struct {
	client uint64
	run    *run
	next   int  // The next struct of run.
	more   runs // Of what waited, what comes then.
	freed  int  // What runs took that are done.

	first    run
	from, to int // Where first is in applyScratch.wires.
}

// take returns the next struct.
func (s *section) take() (step, bool) {
	for s.next == len(s.run.wires) {
		if len(s.more) == 0 {
			return step{}, false
		}
		s.freed += s.run.bytes
		s.run, s.next = s.more.take(), 0
	}
	s.next++
	return step{s, s.run, s.next - 1}, true
}

func (s *section) done() bool { return s.next == len(s.run.wires) && len(s.more) == 0 }

// left takes the runs out that are not integrated.
func (s *section) left() runs {
	if s.next < len(s.run.wires) {
		s.run.wires = s.run.wires[s.next:]
		s.more.add(s.run)
	} else {
		s.freed += s.run.bytes
	}
	left := s.more
	s.run, s.next, s.more = &run{}, 0, nil
	return left
}

// step is a struct of a section.
type step struct {
	section *section
	run     *run
	index   int
}

func (s step) wire() *wire { return &s.run.wires[s.index] }

// giveBack makes the struct the next of its section again.
func (s step) giveBack() {
	if s.run == s.section.run {
		s.section.next = min(s.section.next, s.index)
		return
	}
	// Structs that wait for each other, which no client makes.
	s.section.more.add(&run{wires: s.run.wires[s.index:], aux: s.run.aux, turn: s.run.turn})
}

// applyScratch is what applying an update needs.
type applyScratch struct {
	wires    []wire
	sections []section
	deletes  deleteSet
	stack    []step
	v1       decoderV1
	reader   structReader
}

// scratchPool keeps scratch space for the next update, of whatever document.
var scratchPool = sync.Pool{New: func() any { return new(applyScratch) }}

// maxPooled bounds the structs for which scratch space is kept.
const maxPooled = 1 << 16

// release lets go of the update.
func (a *applyScratch) release() {
	if max(cap(a.wires), cap(a.sections), cap(a.deletes), cap(a.reader.clients)) > maxPooled {
		return
	}
	clear(a.wires)
	clear(a.sections)
	clear(a.reader.aux)
	a.v1.d = lib0.Decoder{}
	a.reader.dec = nil
	if a.reader.known != nil {
		a.reader.known = nil
	}
	scratchPool.Put(a)
}

// decode reads a whole update, of no more structs than the budget, into the scratch space. It changes nothing else.
func (a *applyScratch) decode(dec structDecoder, budget uint64) error {
	a.reader.reset(dec, budget)
	a.wires, a.sections, a.deletes = a.wires[:0], a.sections[:0], a.deletes[:0]
	for {
		n := len(a.wires)
		if n == cap(a.wires) {
			// The section says how many structs there are, and may lie.
			a.wires = slices.Grow(a.wires, int(min(a.reader.structs, uint64(dec.rest().Len()/8)))+1)
		}
		a.wires = a.wires[:n+1]
		w := &a.wires[n]
		if !a.reader.next(w) {
			a.wires = a.wires[:n]
			break
		}
		s := len(a.sections) - 1
		if s < 0 || a.sections[s].client != w.client {
			a.sections = append(a.sections, section{client: w.client, from: n})
			s++
		}
		a.sections[s].to = n + 1
	}
	if a.reader.err != nil {
		return a.reader.err
	}
	var err error
	if a.deletes, err = readDeleteSet(dec, a.deletes); err != nil {
		return err
	}
	sortSections(a.sections)
	for i := range a.sections {
		s := &a.sections[i]
		s.first.wires, s.first.aux = a.wires[s.from:s.to], a.reader.aux
		s.run = &s.first
	}
	return nil
}

// sortSections sorts sections by client, the highest last, which is where integration starts.
func sortSections(sections []section) {
	rising := func(a, b section) int { return cmp.Compare(a.client, b.client) }
	if !slices.IsSortedFunc(sections, rising) {
		slices.SortFunc(sections, rising)
	}
}

// findSection returns the section of a client, or nil.
func findSection(sections []section, client uint64) *section {
	i, ok := slices.BinarySearchFunc(sections, client, func(s section, client uint64) int {
		return cmp.Compare(s.client, client)
	})
	if !ok {
		return nil
	}
	return &sections[i]
}

// reserve makes room for what is new in a large update, to the byte where a client is new.
func (d *Doc) reserve(a *applyScratch) {
	const large = 64
	if len(a.wires) < large {
		return
	}
	items := 0
	for i := range a.sections {
		s := &a.sections[i]
		wires := s.first.wires
		state := d.stateOf(s.client)
		if wires[0].clock > state {
			continue // It has to wait.
		}
		known, _ := slices.BinarySearchFunc(wires, state, func(w wire, state uint32) int {
			return cmp.Compare(w.end(), state+1)
		})
		items += len(wires) - known
		if len(wires) < large || state > 0 {
			continue
		}
		units, bytes := 0, 0
		for i := range wires {
			if wires[i].kind == kindString {
				units += int(wires[i].length)
			} else {
				bytes += len(wires[i].data)
			}
		}
		c := d.clients[d.makeClient(s.client)]
		c.text.grow(units)
		c.blob = slices.Grow(c.blob, bytes)
	}
	d.items.reserve(items)
}

// ApplyUpdate integrates an update in format v1; origin is handed to observers. Parts that build upon something that
// is missing wait until that arrives. On an error, which wraps ErrInvalidUpdate, the document is unchanged.
func (d *Doc) ApplyUpdate(update []byte, origin any) error {
	_, err := d.Apply(update, origin)
	return err
}

// Apply is ApplyUpdate, and reports whether the document knows more than before. An update that waits for others is
// news too. Within a transaction it always reports true.
func (d *Doc) Apply(update []byte, origin any) (changed bool, err error) {
	a := takeScratch()
	a.v1.d = lib0.NewDecoder(update)
	return d.apply(a, &a.v1, foreignBudget(len(update)), origin)
}

// ApplyUpdateV2 is ApplyUpdate for format v2.
func (d *Doc) ApplyUpdateV2(update []byte, origin any) error {
	_, err := d.apply(takeScratch(), newDecoderV2(update), foreignBudget(len(update)), origin)
	return err
}

func takeScratch() *applyScratch {
	a, _ := scratchPool.Get().(*applyScratch)
	return a
}

func (d *Doc) apply(a *applyScratch, dec structDecoder, budget uint64, origin any) (changed bool, err error) {
	defer a.release()
	if err := a.decode(dec, budget); err != nil {
		return false, err
	}
	if d.tx != nil {
		d.tx.local = false
		d.integrateUpdate(d.tx, a)
		return true, nil
	}
	tx := d.begin(origin, false)
	d.pending.news = false
	d.integrateUpdate(tx, a)
	changed = len(tx.touched) > 0 || len(tx.deletes) > 0 || d.pending.news
	d.end(tx)
	return changed, nil
}

// integrateUpdate brings a decoded update into the document, and what waited for it. It cannot fail.
func (d *Doc) integrateUpdate(tx *Transaction, a *applyScratch) {
	d.reserve(a)
	p := &d.pending
	missing := d.integrateStructs(tx, a.sections, &a.stack, func(s *section) {
		// Yjs decides whether to try again what waits before it adds what has to wait now.
		for _, r := range s.left() {
			p.addStructs(s.client, r.wires, r.aux)
		}
	})
	retry := false
	if !p.empty() {
		retry = d.look(tx)
	}
	if len(missing) > 0 {
		p.require(missing)
	}
	unapplied := d.applyDeletes(tx, a.deletes)
	if len(p.deletes) > 0 {
		d.applyWaitingDeletes(tx)
	}
	if len(unapplied) > 0 {
		p.addDeletes(unapplied)
	}
	if retry {
		d.retry(tx)
		d.applyWaitingDeletes(tx)
	}
	p.advanced = p.advanced[:0]
	if len(missing) == 0 {
		return
	}
	for client, clock := range missing {
		if clock < int64(d.stateOf(client)) { // Structs waited for each other, which no client makes.
			p.advanced = append(p.advanced, client)
		}
	}
}

// integrateStructs integrates what it can, in the order of causes and effects. It hands sections of which something is
// left to rest and returns, for each client of which something is missing, the clock that its state has to pass.
func (d *Doc) integrateStructs(
	tx *Transaction, sections []section, scratch *[]step, rest func(*section),
) (missing map[uint64]int64) {
	stack := (*scratch)[:0]
	current := len(sections) - 1
	// giveUp leaves the structs on the stack, and what follows them, to rest.
	giveUp := func(client uint64, clock int64) {
		if missing == nil {
			missing = map[uint64]int64{}
		}
		if known, ok := missing[client]; !ok || known > clock {
			missing[client] = clock
		}
		for _, s := range stack {
			s.giveBack()
		}
		for _, s := range stack {
			if !s.section.done() {
				rest(s.section)
			}
		}
		stack = stack[:0]
	}
	var at step
	have := false
	for {
		if !have {
			if n := len(stack); n > 0 {
				at = stack[n-1]
				stack = stack[:n-1]
			} else {
				for current >= 0 && !have {
					if at, have = sections[current].take(); !have {
						current--
					}
				}
				if !have {
					break
				}
			}
		}
		have = false
		w := at.wire()
		if w.kind == kindSkip {
			continue
		}
		state := d.stateOf(w.client)
		if state < w.clock {
			stack = append(stack, at)
			giveUp(w.client, int64(w.clock)-1)
			continue
		}
		if state >= w.end() {
			continue // Known already.
		}
		if client, ok := d.missing(w); ok {
			stack = append(stack, at)
			s := findSection(sections, client)
			if s != nil {
				at, have = s.take()
			}
			if !have {
				giveUp(client, int64(d.stateOf(client)))
			}
			continue
		}
		d.integrateWire(tx, w, at.run.aux, state-w.clock)
	}
	if cap(stack) > 0 {
		clear(stack[:cap(stack)])
		*scratch = stack
	}
	return missing
}

// look reports whether something came that the structs that wait were missing.
func (d *Doc) look(tx *Transaction) bool {
	for _, t := range tx.touched {
		if d.pending.wantsBefore(d.clients[t.client].id, d.clients[t.client].state) {
			return true
		}
	}
	for _, client := range d.pending.advanced {
		if d.pending.wantsBefore(client, d.stateOf(client)) {
			return true
		}
	}
	return false
}

// retry integrates what it can of the structs that wait.
func (d *Doc) retry(tx *Transaction) {
	p := &d.pending
	sections := make([]section, 0, len(p.structs))
	for client, q := range p.structs {
		sections = append(sections, section{client: client, run: q.runs.take(), more: q.runs})
		q.runs = nil
	}
	sortSections(sections)
	var stack []step
	p.missing = d.integrateStructs(tx, sections, &stack, func(s *section) {
		p.structs[s.client].runs = s.left()
	})
	for i := range sections {
		s := &sections[i]
		s.left()
		p.bytes -= s.freed
		if len(p.structs[s.client].runs) == 0 {
			delete(p.structs, s.client)
		}
	}
}

// applyWaitingDeletes applies the deletions that waited for structs that came.
func (d *Doc) applyWaitingDeletes(tx *Transaction) {
	p := &d.pending
	var clients []uint64
	note := func(client uint64, state uint32) {
		if have := p.deletes[client]; have != nil && (*have)[0].from < state {
			clients = append(clients, client)
		}
	}
	for _, t := range tx.touched {
		note(d.clients[t.client].id, d.clients[t.client].state)
	}
	for _, client := range p.advanced {
		note(client, d.stateOf(client))
	}
	slices.SortFunc(clients, func(a, b uint64) int { return cmp.Compare(b, a) })
	for _, client := range slices.Compact(clients) {
		index, _ := d.clientOf(client)
		have := p.deletes[client]
		for _, s := range have.takeBefore(d.clients[index].state) {
			d.deleteRange(tx, index, s.from, s.to)
		}
		if len(*have) == 0 {
			delete(p.deletes, client)
		}
	}
}

// missing returns a client of which the struct needs more than the document has.
func (d *Doc) missing(w *wire) (uint64, bool) {
	if w.flags&(wireOrigin|wireParent) != 0 && w.originClient != w.client &&
		w.originClock >= d.stateOf(w.originClient) {
		return w.originClient, true
	}
	if w.flags&wireRight != 0 && w.rightClient != w.client && w.rightClock >= d.stateOf(w.rightClient) {
		return w.rightClient, true
	}
	return 0, false
}

// integrateWire adds the struct, without its first offset clocks, to the document, which has all that it refers to.
func (d *Doc) integrateWire(tx *Transaction, w *wire, aux []wireAux, offset uint32) {
	c := d.makeClient(w.client)
	if w.kind == kindGC {
		d.addGC(tx, c, w.clock+offset, w.length-offset)
		return
	}
	it := item{
		clock: w.clock + offset, length: w.length - offset, client: c,
		originClient: noClient, rightClient: noClient, kind: w.kind,
	}
	collected := false
	if w.flags&wireOrigin != 0 {
		it.originClient, _ = d.clientOf(w.originClient)
		it.originClock = w.originClock
		it.left = d.cleanEnd(tx, it.originClient, it.originClock)
		collected = d.item(it.left).kind == kindGC
	}
	if w.flags&wireRight != 0 {
		it.rightClient, _ = d.clientOf(w.rightClient)
		it.rightClock = w.rightClock
		it.right = d.rightOf(tx, &it)
		collected = collected || d.item(it.right).kind == kindGC
	}
	switch {
	case collected:
	case w.flags&wireRoot != 0:
		it.place = d.placeOf(d.rootNode(d.keys.intern(aux[w.aux-1].root)), w, aux)
	case w.flags&wireParent != 0:
		pc, _ := d.clientOf(w.originClient)
		if parent := d.item(d.find(pc, w.originClock)); parent.kind == kindType {
			it.place = d.placeOf(nodeRef(parent.content), w, aux)
		}
	case it.left != 0:
		it.place = d.item(it.left).place
	case it.right != 0:
		it.place = d.item(it.right).place
	}
	if offset > 0 {
		it.left = d.cleanEnd(tx, c, it.clock-1)
		it.originClient, it.originClock = c, it.clock-1
		collected = collected || d.item(it.left).kind == kindGC
		it.place = d.item(it.left).place // It is another one if somebody lies about what came before.
	}
	if collected || it.place == noPlace {
		d.addGC(tx, c, it.clock, it.length)
		return
	}
	if d.extend(tx, &it, w, offset) {
		return
	}
	d.storeWire(&it, w, aux, offset)
	r := ref(d.items.alloc())
	*d.item(r) = it
	d.integrate(tx, r)
}

// rightOf returns the item that starts at the right origin: mostly it is the neighbor of the one on the left.
func (d *Doc) rightOf(tx *Transaction, it *item) ref {
	if it.left != 0 {
		if r := d.item(it.left).right; r != 0 {
			if right := d.item(r); right.client == it.rightClient && right.clock == it.rightClock {
				return r
			}
		}
	}
	return d.cleanStart(tx, it.rightClient, it.rightClock)
}

// placeOf returns the place of a struct whose parent is n.
func (d *Doc) placeOf(n nodeRef, w *wire, aux []wireAux) place {
	if w.flags&wireSub == 0 {
		return listPlace(n)
	}
	return entryPlace(d.makeEntry(n, d.keys.intern(aux[w.aux-1].sub)))
}

// extend adds a string to the item on its left where the two are sure to be merged by the end of the transaction: what
// somebody types becomes part of the last item without an item of its own.
func (d *Doc) extend(tx *Transaction, it *item, w *wire, offset uint32) bool {
	if it.kind != kindString || it.left == 0 || d.listeners.observing() {
		return false
	}
	left := d.item(it.left)
	if left.kind != kindString || left.client != it.client || left.end() != it.clock ||
		it.originClient != left.client || it.originClock != left.end()-1 || left.right != it.right ||
		left.deleted() || left.rightClient != it.rightClient || left.rightClock != it.rightClock ||
		left.place.isEntry() {
		return false
	}
	n := left.place.list()
	nd := d.node(n)
	if nd.item != 0 && d.item(nd.item).deleted() {
		return false
	}
	c := d.clients[it.client]
	tx.touch(it.client, c)
	c.storeString(cutString(w.data, offset))
	left.length += it.length
	c.state += it.length
	nd.length += it.length
	d.indexGrown(n, it.left, it.length)
	tx.markChanged(left.place)
	return true
}

// storeWire copies the content of the struct from offset on into the document.
func (d *Doc) storeWire(it *item, w *wire, aux []wireAux, offset uint32) {
	c := d.clients[it.client]
	switch w.kind {
	case kindString:
		it.content = c.storeString(cutString(w.data, offset))
		return
	case kindType:
		n := nodeRef(d.nodes.alloc())
		name := keyRef(0)
		if w.aux != 0 {
			name = d.keys.intern(aux[w.aux-1].key)
		}
		*d.node(n) = node{kind: w.typeKind, name: name}
		it.content = uint32(n)
		return
	case kindDoc:
		it.content = uint32(len(d.subdocs))
		d.subdocs = append(d.subdocs, subdocFromWire(string(aux[w.aux-1].key), w.data))
		return
	}
	it.content = uint32(len(c.blob))
	switch w.kind {
	case kindAny:
		c.blob = append(c.blob, cutValues(w.data, offset)...)
		c.mark(it)
	case kindJSON:
		c.blob = append(c.blob, cutTexts(w.data, offset)...)
		c.mark(it)
	case kindBinary:
		c.blob = lib0.AppendVarBytes(c.blob, w.data)
	case kindEmbed:
		c.blob = append(c.blob, w.data...)
	case kindFormat:
		c.blob = lib0.AppendVarUint(c.blob, uint64(d.keys.intern(aux[w.aux-1].key)))
		c.blob = append(c.blob, w.data...)
	}
}

// touch notes that the transaction adds structs of a client.
func (tx *Transaction) touch(index uint32, c *client) {
	if c.beforeSeq != tx.sequence {
		c.beforeSeq, c.before = tx.sequence, c.state
		tx.touched = append(tx.touched, touched{index, c.state})
		tx.doc.pending.note(c.id)
	}
}

// addGC adds a garbage collected range.
func (d *Doc) addGC(tx *Transaction, index, clock, length uint32) {
	r := ref(d.items.alloc())
	*d.item(r) = item{
		clock: clock, length: length, client: index, kind: kindGC,
		originClient: noClient, rightClient: noClient,
	}
	d.addStruct(tx, r)
}

// addStruct appends the item to its client's structs.
func (d *Doc) addStruct(tx *Transaction, r ref) {
	it := d.item(r)
	c := d.clients[it.client]
	tx.touch(it.client, c)
	c.deletions = c.deletions || it.deleted() || it.kind == kindDeleted
	c.structs.append(it.clock, r)
	c.state = it.end()
}

// conflictScratch remembers the items that an integration passed: each by the number of its turn.
type conflictScratch struct {
	passed []ref
	// turns has the first of them by item, once there are many and somebody asks.
	turns map[ref]int
}

const manyConflicts = 16

func (s *conflictScratch) reset() {
	s.passed = s.passed[:0]
	if len(s.turns) > 0 {
		s.turns = nil
	}
}

// turn returns the number of r's turn, or -1.
func (s *conflictScratch) turn(r ref) int {
	if len(s.passed) < manyConflicts {
		return slices.Index(s.passed, r)
	}
	if s.turns == nil {
		s.turns = make(map[ref]int, 2*len(s.passed))
	}
	for i := len(s.turns); i < len(s.passed); i++ {
		s.turns[s.passed[i]] = i
	}
	if i, ok := s.turns[r]; ok {
		return i
	}
	return -1
}

// integrate links the item, whose left and right are what its origins name, into its place.
func (d *Doc) integrate(tx *Transaction, r ref) {
	it := d.item(r)
	if it.left == 0 && (it.right == 0 || d.item(it.right).left != 0) ||
		it.left != 0 && d.item(it.left).right != it.right {
		it.left = d.resolveConflict(it)
	}
	if it.left != 0 {
		left := d.item(it.left)
		it.right = left.right
		left.right = r
	} else {
		it.right = d.firstOf(it.place)
		if it.place.isEntry() {
			d.entry(it.place.entry()).first = r
		} else {
			d.node(it.place.list()).start = r
		}
	}
	if it.right != 0 {
		d.item(it.right).left = r
	} else {
		d.setLast(it.place, r)
		if it.place.isEntry() && it.left != 0 {
			d.deleteItem(tx, it.left) // It was the value of the entry until now.
		}
	}
	if !it.place.isEntry() {
		if it.kind.countable() {
			d.node(it.place.list()).length += it.length
		}
		d.indexInserted(it.place.list(), r)
	}
	d.addStruct(tx, r)
	switch it.kind {
	case kindDeleted:
		it.flags |= flagDeleted
		tx.deletes = append(tx.deletes, deleteRange{d.clients[it.client].id, it.clock, it.length})
	case kindType:
		d.node(nodeRef(it.content)).item = r
	case kindFormat:
		d.node(d.nodeOf(it.place)).hasFormatting = true
		d.formatted = true
	case kindDoc:
		d.integrateSubdoc(tx, it)
	}
	tx.markChanged(it.place)
	holder := d.node(d.nodeOf(it.place)).item
	if holder != 0 && d.item(holder).deleted() || it.place.isEntry() && it.right != 0 {
		d.deleteItem(tx, r)
	}
}

// firstOf returns the first item of a place.
func (d *Doc) firstOf(p place) ref {
	if !p.isEntry() {
		return d.node(p.list()).start
	}
	return d.entry(p.entry()).first
}

// resolveConflict returns the item behind which it belongs among those that were inserted at the same place
// concurrently. This is the algorithm YATA as Yjs implements it.
func (d *Doc) resolveConflict(it *item) ref {
	left := it.left
	var o ref
	if left != 0 {
		o = d.item(left).right
	} else {
		o = d.firstOf(it.place)
	}
	passed := &d.conflicts
	passed.reset()
	conflicting := 0 // Items conflict whose turn is not before this one.
	id := d.ids[it.client]
	for o != 0 && o != it.right {
		passed.passed = append(passed.passed, o)
		other := d.item(o)
		if it.originClient == other.originClient && (!it.hasOrigin() || it.originClock == other.originClock) {
			if d.ids[other.client] < id {
				left = o
				conflicting = len(passed.passed)
			} else if it.rightClient == other.rightClient &&
				(!it.hasRightOrigin() || it.rightClock == other.rightClock) {
				break
			}
		} else {
			if !other.hasOrigin() {
				break
			}
			turn := passed.turn(d.find(other.originClient, other.originClock))
			if turn < 0 {
				break
			}
			if turn < conflicting {
				left = o
				conflicting = len(passed.passed)
			}
		}
		o = other.right
	}
	return left
}

// applyDeletes deletes the ranges, as far as the document has them, and returns the others.
func (d *Doc) applyDeletes(tx *Transaction, set deleteSet) (unapplied deleteSet) {
	for _, r := range set {
		index, ok := d.clientOf(r.client)
		state := uint32(0)
		if ok {
			state = d.clients[index].state
		}
		if r.clock >= state {
			unapplied = append(unapplied, r)
			continue
		}
		if r.end() > state {
			unapplied = append(unapplied, deleteRange{r.client, state, r.end() - state})
		}
		d.deleteRange(tx, index, r.clock, min(r.end(), state))
	}
	return unapplied
}

// deleteRange deletes the items in a range of clocks, all of which exist.
func (d *Doc) deleteRange(tx *Transaction, index, clock, end uint32) {
	c := d.clients[index]
	s := c.structs.find(clock)
	for {
		r := c.structs.at(s)
		it := d.item(r)
		if !it.deleted() {
			if it.clock < clock {
				r = d.split(tx, s, r, clock-it.clock)
				it = d.item(r)
				s = c.structs.find(clock)
			}
			if end < it.end() {
				d.split(tx, s, r, end-it.clock)
			}
			d.deleteItem(tx, r)
		}
		clock = it.end()
		if clock >= end {
			return
		}
		var ok bool
		if s, ok = c.structs.next(s); !ok || c.structs.clockAt(s) != clock {
			s = c.structs.find(clock) // A block was halved.
		}
	}
}

// deleteItem marks an item as deleted, and what it contains.
func (d *Doc) deleteItem(tx *Transaction, r ref) {
	if d.item(r).deleted() {
		return
	}
	d.markDeleted(tx, r)
	if d.item(r).kind != kindType {
		return
	}
	// Types nest as deeply as a peer likes, so this does not recurse.
	path := []walk{d.walkInto(r)}
	for len(path) > 0 {
		r := path[len(path)-1].next(d)
		if r == 0 {
			path = path[:len(path)-1]
			continue
		}
		it := d.item(r)
		if it.deleted() {
			if it.clock < tx.before(it.client) {
				// It becomes part of the garbage of its parent, and can be merged with that.
				tx.merge = append(tx.merge, id{it.client, it.clock})
			}
			continue
		}
		d.markDeleted(tx, r)
		if it.kind == kindType {
			path = append(path, d.walkInto(r))
		}
	}
}

// walk goes through the items of a type: its list and then the newest items of its entries.
type walk struct {
	item  ref
	entry entryRef
}

func (d *Doc) walkInto(r ref) walk {
	nd := d.node(nodeRef(d.item(r).content))
	return walk{nd.start, nd.firstEntry}
}

// next returns the next item, or 0 at the end.
func (w *walk) next(d *Doc) ref {
	if r := w.item; r != 0 {
		w.item = d.item(r).right
		return r
	}
	for w.entry != 0 {
		e := d.entry(w.entry)
		w.entry = e.next
		if e.item != 0 {
			return e.item
		}
	}
	return 0
}

// markDeleted marks a single item as deleted.
func (d *Doc) markDeleted(tx *Transaction, r ref) {
	it := d.item(r)
	if !it.place.isEntry() && it.kind.countable() {
		d.node(it.place.list()).length -= it.length
		d.indexHidden(it.place.list(), r)
	}
	it.flags |= flagDeleted
	d.clients[it.client].deletions = true
	tx.deletes = append(tx.deletes, deleteRange{d.ids[it.client], it.clock, it.length})
	tx.markChanged(it.place)
	if it.kind == kindDoc {
		d.deleteSubdoc(tx, it)
	}
}
