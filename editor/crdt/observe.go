package crdt

import (
	"slices"

	"collab.dev/operator/editor/crdt/lib0"
)

// listeners are the functions that want to know what happens to a document.
type listeners struct {
	next         int
	update       []listener[func([]byte, *Transaction)]
	updateV2     []listener[func([]byte, *Transaction)]
	transaction  []listener[func(*Transaction)]
	subdocuments []listener[func(SubdocChange)]
	types        map[nodeRef]*typeListeners
}

type typeListeners struct {
	direct []listener[func(*Event)]
	deep   []listener[func([]*Event)]
}

type listener[F any] struct {
	id   int
	call F
}

// observing reports whether somebody looks at transactions or types rather than at updates.
func (l *listeners) observing() bool {
	return len(l.types) > 0 || len(l.transaction) > 0 || len(l.subdocuments) > 0
}

// listen adds a listener to a list and returns the function that takes it out again.
func listen[F any](l *listeners, list *[]listener[F], f F) (stop func()) {
	l.next++
	id := l.next
	*list = append(*list, listener[F]{id, f})
	return func() {
		*list = slices.DeleteFunc(slices.Clone(*list), func(x listener[F]) bool { return x.id == id })
	}
}

// OnUpdate calls f with every change as an update in format v1 and the origin of its transaction. The update belongs
// to f. The returned function stops it.
func (d *Doc) OnUpdate(f func(update []byte, origin any)) (stop func()) {
	return listen(&d.listeners, &d.listeners.update, func(u []byte, tx *Transaction) { f(u, tx.origin) })
}

// OnUpdateV2 is OnUpdate for format v2.
func (d *Doc) OnUpdateV2(f func(update []byte, origin any)) (stop func()) {
	return listen(&d.listeners, &d.listeners.updateV2, func(u []byte, tx *Transaction) { f(u, tx.origin) })
}

// OnTransaction calls f at the end of every transaction, before garbage is collected.
func (d *Doc) OnTransaction(f func(tx *Transaction)) (stop func()) {
	return listen(&d.listeners, &d.listeners.transaction, f)
}

// SubdocChange tells which subdocuments came, went and are asked to be loaded.
type SubdocChange struct{ Added, Removed, Loaded []*Subdoc }

// OnSubdocs calls f when subdocuments come or go.
func (d *Doc) OnSubdocs(f func(SubdocChange)) (stop func()) {
	return listen(&d.listeners, &d.listeners.subdocuments, f)
}

func (d *Doc) listenersOf(s Shared) *typeListeners {
	h := s.base()
	if h.doc != d {
		panic("crdt: the type is no part of this document")
	}
	if d.listeners.types == nil {
		d.listeners.types = make(map[nodeRef]*typeListeners)
	}
	l := d.listeners.types[h.node]
	if l == nil {
		l = &typeListeners{}
		d.listeners.types[h.node] = l
	}
	return l
}

// Observe calls f after every transaction that changed the type itself.
func (d *Doc) Observe(s Shared, f func(*Event)) (stop func()) {
	l := d.listenersOf(s)
	return d.stopping(s, listen(&d.listeners, &l.direct, f))
}

// ObserveDeep calls f after every transaction that changed the type or a type within it, with one event for each, the
// outermost first.
func (d *Doc) ObserveDeep(s Shared, f func([]*Event)) (stop func()) {
	l := d.listenersOf(s)
	return d.stopping(s, listen(&d.listeners, &l.deep, f))
}

// stopping forgets a type's listeners when the last one stops.
func (d *Doc) stopping(s Shared, stop func()) func() {
	n := s.base().node
	return func() {
		stop()
		if l := d.listeners.types[n]; l != nil && len(l.direct) == 0 && len(l.deep) == 0 {
			delete(d.listeners.types, n)
		}
	}
}

// inTurn calls f for all numbers below n. As in Yjs the others are called even if one panics.
func inTurn(n int, f func(i int)) {
	i := 0
	defer func() {
		if next := i + 1; next < n {
			inTurn(n-next, func(i int) { f(next + i) })
		}
	}()
	for ; i < n; i++ {
		f(i)
	}
}

// notify runs the observers of a transaction.
func (d *Doc) notify(tx *Transaction) {
	defer func() {
		if all := d.listeners.transaction; len(all) > 0 {
			inTurn(len(all), func(i int) { all[i].call(tx) })
		}
	}()
	if len(tx.changed) > 0 && (d.listeners.observing() || !tx.local) {
		d.notifyTypes(tx)
	}
}

func (d *Doc) notifyTypes(tx *Transaction) {
	observing := len(d.listeners.types) > 0
	if !observing {
		for _, p := range tx.changed {
			d.noteFormatting(tx, d.nodeOf(p))
		}
		return
	}
	var deep []nodeRef
	events := map[nodeRef][]*Event{}
	defer func() {
		inTurn(len(deep), func(i int) { d.notifyDeep(deep[i], events[deep[i]]) })
	}()
	changes := tx.changes()
	inTurn(len(changes), func(i int) {
		c := changes[i]
		if d.nodeDeleted(c.node) {
			return // An observer of another type deleted it.
		}
		e := &Event{tx: tx, doc: d, change: c, current: c.node}
		for n := c.node; ; n = d.nodeOf(d.item(d.node(n).item).place) {
			if events[n] == nil {
				deep = append(deep, n)
			}
			events[n] = append(events[n], e)
			if d.node(n).item == 0 {
				break
			}
		}
		defer d.noteFormatting(tx, c.node)
		if l := d.listeners.types[c.node]; l != nil {
			all := l.direct
			inTurn(len(all), func(i int) { all[i].call(e) })
		}
	})
}

// notifyDeep runs the observers that look at a type and all within it.
func (d *Doc) notifyDeep(n nodeRef, events []*Event) {
	l := d.listeners.types[n]
	if l == nil || len(l.deep) == 0 || d.nodeDeleted(n) {
		return
	}
	list := slices.DeleteFunc(slices.Clone(events), func(e *Event) bool { return d.nodeDeleted(e.change.node) })
	for _, e := range list {
		e.current = n
	}
	slices.SortStableFunc(list, func(a, b *Event) int { return len(a.Path()) - len(b.Path()) })
	all := l.deep
	inTurn(len(all), func(i int) { all[i].call(list) })
}

// noteFormatting notes that formats may have lost their effect by a change from another peer.
func (d *Doc) noteFormatting(tx *Transaction, n nodeRef) {
	nd := d.node(n)
	if !tx.local && nd.hasFormatting && nd.kind.isText() && !d.nodeDeleted(n) {
		tx.cleanFormats = true
	}
}

// emit tells what a transaction did to those who want updates.
func (d *Doc) emit(tx *Transaction, added bool) {
	if len(d.listeners.update)+len(d.listeners.updateV2) > 0 && (added || len(tx.deletes) > 0) {
		affected := tx.touched
		if len(d.queue) > 1 {
			affected = unionTouched(d.queue)
		}
		for _, l := range d.listeners.update {
			l.call(d.encodeTransaction(&encoderV1{}, tx, affected), tx)
		}
		for _, l := range d.listeners.updateV2 {
			l.call(d.encodeTransaction(&encoderV2{}, tx, affected), tx)
		}
	}
	if len(d.listeners.subdocuments) == 0 || len(tx.subdocsAdded)+len(tx.subdocsRemoved) == 0 {
		return
	}
	change := d.subdocChange(tx)
	if len(change.Added)+len(change.Removed) == 0 {
		return
	}
	for _, l := range d.listeners.subdocuments {
		l.call(change)
	}
}

// Event tells what a transaction changed of a type. It is valid while the observer runs.
type Event struct {
	tx      *Transaction
	doc     *Doc
	change  nodeChange
	current nodeRef // The type that is observed.
}

// Target returns the type that changed.
func (e *Event) Target() Shared { return e.doc.shared(e.change.node) }

// Transaction returns the transaction that changed it.
func (e *Event) Transaction() *Transaction { return e.tx }

// ListChanged reports whether the list of the type changed.
func (e *Event) ListChanged() bool { return e.change.list }

// Path returns the way from the observed type to the one that changed: positions and keys.
func (e *Event) Path() []any {
	d := e.doc
	var path []any
	for n := e.change.node; n != e.current && d.node(n).item != 0; {
		it := d.item(d.node(n).item)
		if it.place.isEntry() {
			path = append(path, d.keys.name(d.entry(it.place.entry()).key))
		} else {
			path = append(path, d.indexOf(d.node(n).item))
		}
		n = d.nodeOf(it.place)
	}
	slices.Reverse(path)
	return path
}

// KeyChange is what happened to an entry of a map.
type KeyChange struct {
	Key    string
	Action string // add, update or delete.
	// Old is the value before an update or a deletion.
	Old any
}

// Keys returns what happened to the entries of the map.
func (e *Event) Keys() []KeyChange {
	d := e.doc
	var out []KeyChange
	for _, key := range e.change.keys {
		r := d.entry(d.findEntry(e.change.node, key)).item
		it := d.item(r)
		change := KeyChange{Key: d.keys.name(key)}
		if e.tx.adds(it) {
			prev := it.left
			for prev != 0 && e.tx.adds(d.item(prev)) {
				prev = d.item(prev).left
			}
			replaced := prev != 0 && e.tx.removes(d.item(prev))
			switch {
			case e.tx.removes(it) && !replaced:
				continue
			case e.tx.removes(it):
				change.Action = "delete"
			case replaced:
				change.Action = "update"
			default:
				change.Action = "add"
			}
			if replaced {
				change.Old = d.lastValue(d.item(prev))
			}
		} else {
			if !e.tx.removes(it) {
				continue
			}
			change.Action, change.Old = "delete", d.lastValue(it)
		}
		out = append(out, change)
	}
	return out
}

func (d *Doc) lastValue(it *item) any {
	if it.kind == kindDeleted {
		return lib0.Undefined{}
	}
	return d.value(it, it.length-1)
}

// Delta returns what happened to the list, or to the text.
func (e *Event) Delta() []Op {
	if e.doc.node(e.change.node).kind.isText() {
		return e.textDelta()
	}
	if !e.change.list {
		return nil
	}
	d := e.doc
	var ops []Op
	last := func() *Op {
		if len(ops) == 0 {
			return &Op{}
		}
		return &ops[len(ops)-1]
	}
	for r := d.node(e.change.node).start; r != 0; r = d.item(r).right {
		it := d.item(r)
		switch {
		case it.deleted():
			if e.tx.removes(it) && !e.tx.adds(it) {
				if last().Delete == 0 {
					ops = append(ops, Op{})
				}
				last().Delete += int(it.length)
			}
		case e.tx.adds(it):
			if last().Insert == nil {
				ops = append(ops, Op{Insert: []any(nil)})
			}
			values, _ := last().Insert.([]any)
			last().Insert = d.values(values, it, 0, it.length)
		default:
			if last().Retain == 0 {
				ops = append(ops, Op{})
			}
			last().Retain += int(it.length)
		}
	}
	if last().Retain > 0 {
		ops = ops[:len(ops)-1]
	}
	return ops
}
