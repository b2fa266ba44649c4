package crdt

// id names a clock of a client by the client's index.
type id struct{ client, clock uint32 }

// touched tells that a transaction added structs of a client, and from which clock on.
type touched struct{ client, before uint32 }

// Transaction bundles changes: observers and the update event see them as one. It is valid until the function that it
// was given to returns.
type Transaction struct {
	doc      *Doc
	origin   any
	local    bool
	sequence uint64

	touched []touched
	deletes deleteSet
	merge   []id    // What was split, for merging it again.
	changed []place // The lists and the map entries that changed, in order, with repetitions.

	subdocsAdded   []uint32 // Indices of Doc.subdocs.
	subdocsRemoved []*Subdoc

	cleanFormats bool
	deletedFrom  []uint64    // The clients of which items were deleted, in the order of the first deletions.
	splitFor     []*Snapshot // Snapshots along which structs were split already.
}

// Origin returns what the caller of Transact or ApplyUpdate named as the origin of the change.
func (tx *Transaction) Origin() any { return tx.origin }

// Local reports whether the change was made on this document rather than received.
func (tx *Transaction) Local() bool { return tx.local }

// Doc returns the document.
func (tx *Transaction) Doc() *Doc { return tx.doc }

// Changed returns the types of which the list or an entry of the map was changed directly, without those that were
// created or deleted by the transaction.
func (tx *Transaction) Changed() []Shared {
	var out []Shared
	for _, c := range tx.changes() {
		out = append(out, tx.doc.shared(c.node))
	}
	return out
}

// Keep protects what the transaction deleted from garbage collection, together with the types that hold it, so that it
// can be brought back, as an undo manager of Yjs does. It is for the listeners of OnTransaction.
func (tx *Transaction) Keep() {
	d := tx.doc
	for _, r := range tx.deletes {
		index, ok := d.clientOf(r.client)
		if !ok {
			continue
		}
		d.eachIn(tx, index, r, func(at ref) {
			for at != 0 {
				it := d.item(at)
				if it.kind == kindGC || it.keep() {
					return
				}
				it.flags |= flagKeep
				at = d.node(d.nodeOf(it.place)).item
			}
		})
	}
}

// nodeChange is a type and what changed of it.
type nodeChange struct {
	node nodeRef
	list bool
	keys []keyRef
}

// changes groups the changes by type, in the order in which each was changed first.
func (tx *Transaction) changes() []nodeChange {
	d := tx.doc
	var out []nodeChange
	at := map[nodeRef]int{}
	seen := map[place]bool{}
	for _, p := range tx.changed {
		n := d.nodeOf(p)
		if seen[p] || d.nodeDeleted(n) {
			continue
		}
		seen[p] = true
		i, ok := at[n]
		if !ok {
			i = len(out)
			at[n] = i
			out = append(out, nodeChange{node: n})
		}
		if p.isEntry() {
			out[i].keys = append(out[i].keys, d.entry(p.entry()).key)
		} else {
			out[i].list = true
		}
	}
	return out
}

// nodeDeleted reports whether the type is no part of the document any more.
func (d *Doc) nodeDeleted(n nodeRef) bool {
	nd := d.node(n)
	return nd.collected || (nd.item != 0 && d.item(nd.item).deleted())
}

// Transact runs f and then tells observers, collects garbage and emits an update for all that f did. Within a
// transaction it just runs f. The origin is handed on to observers.
func (d *Doc) Transact(origin any, f func(tx *Transaction)) {
	if d.tx != nil {
		f(d.tx)
		return
	}
	tx := d.begin(origin, true)
	defer d.end(tx)
	f(tx)
}

// begin starts a transaction; none must be running.
func (d *Doc) begin(origin any, local bool) *Transaction {
	tx := d.idle
	d.idle = nil
	if tx == nil {
		tx = &Transaction{doc: d}
	}
	d.sequence++
	tx.origin, tx.local, tx.sequence = origin, local, d.sequence
	d.tx = tx
	d.queue = append(d.queue, tx)
	return tx
}

// end finishes the running transaction. What observers change in turn is queued and finished afterwards.
func (d *Doc) end(tx *Transaction) {
	d.tx = nil
	if d.queue[0] != tx {
		return
	}
	d.cleanUpAll()
}

// cleanUpAll finishes the transactions of the queue, also if observers panic.
func (d *Doc) cleanUpAll() {
	done := false
	defer func() {
		if !done {
			d.pop()
			if len(d.queue) > 0 {
				d.cleanUpAll()
			}
		}
	}()
	for len(d.queue) > 0 {
		d.cleanUp(d.queue)
		d.pop()
	}
	done = true
}

// pop takes the first transaction out of the queue.
func (d *Doc) pop() {
	if len(d.queue) > 1 {
		d.queue = d.queue[1:]
		return
	}
	last := d.queue[0]
	d.queue = d.queue[:0]
	if !d.listeners.observing() {
		last.reset()
		d.idle = last
	}
}

// reset prepares a transaction for reuse.
func (tx *Transaction) reset() {
	*tx = Transaction{
		doc: tx.doc, touched: tx.touched[:0], deletes: tx.deletes[:0], merge: tx.merge[:0], changed: tx.changed[:0],
	}
}

// before returns the state of a client when the transaction began.
func (tx *Transaction) before(index uint32) uint32 {
	d := tx.doc
	c := d.clients[index]
	if c.beforeSeq == tx.sequence {
		return c.before
	}
	if c.beforeSeq < tx.sequence {
		return c.state
	}
	// A later transaction of the queue touched the client: the first that did knows.
	for _, t := range d.queue {
		if t.sequence < tx.sequence {
			continue
		}
		for _, touched := range t.touched {
			if touched.client == index {
				return touched.before
			}
		}
	}
	return c.state
}

// adds reports whether the transaction added the item.
func (tx *Transaction) adds(it *item) bool { return it.clock >= tx.before(it.client) }

// removes reports whether the transaction deleted the item.
func (tx *Transaction) removes(it *item) bool {
	return tx.deletes.has(tx.doc.clients[it.client].id, it.clock)
}

// markChanged notes that a list or an entry of a type changed which existed before.
func (tx *Transaction) markChanged(p place) {
	if n := len(tx.changed); n > 0 && tx.changed[n-1] == p {
		return
	}
	d := tx.doc
	if holder := d.node(d.nodeOf(p)).item; holder != 0 {
		it := d.item(holder)
		if it.deleted() || it.clock >= tx.before(it.client) {
			return
		}
	}
	tx.changed = append(tx.changed, p)
}

// cleanUp finishes the first transaction of the queue: it runs observers, collects garbage, merges what can be merged
// and emits the update. The places and the order of merging are those of Yjs, because they decide about the bytes.
func (d *Doc) cleanUp(queue []*Transaction) {
	tx := queue[0]
	if d.formatted && !tx.local {
		tx.deletedFrom = tx.deletes.clients()
	}
	tx.deletes = tx.deletes.normalize()
	affected := tx.touched
	if len(queue) > 1 {
		affected = unionTouched(queue)
	}
	defer d.settle(tx, affected)
	d.notify(tx)
}

// settle does what follows upon the observers.
func (d *Doc) settle(tx *Transaction, affected []touched) {
	if tx.cleanFormats {
		d.cleanFormatsAfter(tx, affected)
	}
	if d.gc {
		d.collect(tx.deletes)
	}
	d.mergeDeleted(tx.deletes)
	for _, t := range affected {
		d.mergeNew(t)
	}
	d.mergeSplit(tx.merge)
	if len(tx.deletes) > 0 && d.gc {
		for i := range tx.deletes {
			if i == 0 || tx.deletes[i].client != tx.deletes[i-1].client {
				if c, ok := d.clientOf(tx.deletes[i].client); ok {
					d.compact(c)
				}
			}
		}
	}
	if !tx.local {
		if c, ok := d.clientOf(d.clientID); ok && touches(affected, c) {
			d.clientID = randomClientID() // Somebody else uses our id.
		}
	}
	d.emit(tx, len(affected) > 0)
}

// unionTouched returns what the transactions touched, each client as the first of them found it.
func unionTouched(queue []*Transaction) []touched {
	var out []touched
	seen := map[uint32]bool{}
	for _, tx := range queue {
		for _, t := range tx.touched {
			if !seen[t.client] {
				seen[t.client] = true
				out = append(out, t)
			}
		}
	}
	return out
}

func touches(list []touched, client uint32) bool {
	for _, t := range list {
		if t.client == client {
			return true
		}
	}
	return false
}

// mergeDeleted merges the structs in the deleted ranges, and the one behind each, into their left neighbors.
func (d *Doc) mergeDeleted(set deleteSet) {
	for i := len(set) - 1; i >= 0; i-- {
		r := set[i]
		index, ok := d.clientOf(r.client)
		if !ok {
			continue
		}
		c := d.clients[index]
		s := c.structs.find(r.end() - 1)
		if n, ok := c.structs.next(s); ok {
			s = n
		}
		d.mergeDownTo(c, s, r.clock)
	}
}

// mergeNew merges the structs that were added.
func (d *Doc) mergeNew(t touched) {
	c := d.clients[t.client]
	if t.before == c.state {
		return
	}
	d.mergeDownTo(c, c.structs.last(), c.structs.clockAt(c.structs.find(t.before)))
}

// mergeDownTo merges from s to the left until a struct starts before clock.
func (d *Doc) mergeDownTo(c *client, s spot, clock uint32) {
	for {
		if (s.block == 0 && s.index == 0) || c.structs.clockAt(s) < clock {
			return
		}
		s, _ = d.mergeLeft(c, s)
		l, ok := c.structs.prev(s)
		if !ok {
			return
		}
		s = l
	}
}

// mergeSplit merges what was split with its neighbors.
func (d *Doc) mergeSplit(split []id) {
	for i := len(split) - 1; i >= 0; i-- {
		c := d.clients[split[i].client]
		s := c.structs.find(split[i].clock)
		if n, ok := c.structs.next(s); ok {
			result, merged := d.mergeLeft(c, n)
			if merged > 1 {
				continue
			}
			if merged == 1 {
				s = result
			}
		}
		d.mergeLeft(c, s)
	}
}
