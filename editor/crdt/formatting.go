package crdt

// cleanGap deletes formats without effect between start and the next content: those that a later one overrides and
// those that set what is set already. current are the attributes at the item curr, which it updates.
func (d *Doc) cleanGap(tx *Transaction, start, curr ref, startAttrs attrs, current *attrs) {
	end := start
	type last struct {
		key  keyRef
		from ref
	}
	var lasts []last
	for end != 0 {
		it := d.item(end)
		if it.kind.countable() && !it.deleted() {
			break
		}
		if it.kind == kindFormat && !it.deleted() {
			key, _ := d.formatOf(it)
			found := false
			for i := range lasts {
				if lasts[i].key == key {
					lasts[i].from, found = end, true
				}
			}
			if !found {
				lasts = append(lasts, last{key, end})
			}
		}
		end = it.right
	}
	if len(lasts) == 0 {
		return
	}
	reached := false
	for r := start; r != end; r = d.item(r).right {
		if r == curr {
			reached = true
		}
		it := d.item(r)
		if it.deleted() || it.kind != kindFormat {
			continue
		}
		f := d.formatAttr(r)
		before := startAttrs.orNull(f.key)
		overridden := true
		for _, l := range lasts {
			if l.key == f.key && l.from == r {
				overridden = false
			}
		}
		if overridden || before.same(f) {
			d.deleteItem(tx, r)
			if !reached && current.orNull(f.key).same(f) && !before.same(f) {
				*current = current.apply(before)
			}
			continue
		}
		if !reached {
			*current = current.apply(f)
		}
	}
}

// cleanGapAt deletes the formats around r, up to the next content on both sides, which another one overrides.
func (d *Doc) cleanGapAt(tx *Transaction, r ref) {
	for {
		next := d.item(r).right
		if next == 0 {
			break
		}
		if it := d.item(next); !it.deleted() && it.kind.countable() {
			break
		}
		r = next
	}
	var seen []keyRef
	for r != 0 {
		it := d.item(r)
		if !it.deleted() && it.kind.countable() {
			return
		}
		if it.kind == kindFormat && !it.deleted() {
			key, _ := d.formatOf(it)
			known := false
			for _, k := range seen {
				known = known || k == key
			}
			if known {
				d.deleteItem(tx, r)
			} else {
				seen = append(seen, key)
			}
		}
		r = it.left
	}
}

// cleanText deletes all formats of a text that have no effect.
func (d *Doc) cleanText(tx *Transaction, n nodeRef) {
	start := d.node(n).start
	var startAttrs, current attrs
	for r := start; r != 0; r = d.item(r).right {
		it := d.item(r)
		if it.deleted() {
			continue
		}
		if it.kind == kindFormat {
			current = current.apply(d.formatAttr(r))
			continue
		}
		d.cleanGap(tx, start, r, startAttrs, &current)
		startAttrs = current.clone()
		start = r
	}
}

// cleanFormatsAfter deletes, in a transaction of its own, the formats that lost their effect by a remote change, as
// Yjs does on every peer: concurrent formatting leaves such behind.
func (d *Doc) cleanFormatsAfter(tx *Transaction, affected []touched) {
	var texts []nodeRef
	full := map[nodeRef]bool{}
	add := func(n nodeRef) {
		if !full[n] {
			full[n] = true
			texts = append(texts, n)
		}
	}
	for _, t := range affected {
		c := d.clients[t.client]
		if t.before == c.state {
			continue
		}
		s := c.structs.find(t.before)
		for ok := true; ok; s, ok = c.structs.next(s) {
			if it := d.item(c.structs.at(s)); it.kind == kindFormat && !it.deleted() {
				add(d.nodeOf(it.place))
			}
		}
	}
	d.Transact(nil, func(clean *Transaction) {
		for _, client := range tx.deletedFrom {
			index, _ := d.clientOf(client)
			for _, r := range tx.deletes.of(client) {
				d.eachIn(tx, index, r, func(r ref) {
					it := d.item(r)
					if it.kind == kindGC {
						return
					}
					n := d.nodeOf(it.place)
					if !d.node(n).hasFormatting || full[n] {
						return
					}
					if it.kind == kindFormat {
						add(n)
						return
					}
					d.cleanGapAt(clean, r)
				})
			}
		}
		for _, n := range texts {
			d.cleanText(clean, n)
		}
	})
}

// eachIn calls f for the structs in a range of clocks, which it splits at the ends.
func (d *Doc) eachIn(tx *Transaction, index uint32, r deleteRange, f func(ref)) {
	c := d.clients[index]
	if r.length == 0 || r.clock >= c.state {
		return
	}
	d.cleanStart(tx, index, r.clock)
	for clock, end := r.clock, min(r.end(), c.state); clock < end; {
		at := c.ref(clock)
		if it := d.item(at); it.end() > end {
			d.cleanStart(tx, index, end)
		}
		clock = d.item(at).end()
		f(at)
	}
}
