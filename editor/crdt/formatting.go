package crdt

// cleanGap deletes formats without effect between start and the next content: those that a later one overrides and
// those that set what is set already. current are the attributes at the item curr, which it updates.
func (d *Doc) cleanGap(tx *Transaction, start, curr ref, startAttrs attrs, current *attrs) {
	end := start
	var lasts map[keyRef]ref // The last format of each key.
	for ; end != 0 && d.inGap(end); end = d.item(end).right {
		if it := d.item(end); it.kind == kindFormat && !it.deleted() {
			if lasts == nil {
				lasts = map[keyRef]ref{}
			}
			key, _ := d.formatOf(it)
			lasts[key] = end
		}
	}
	if lasts == nil {
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
		if lasts[f.key] != r || before.same(f) {
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
		if next == 0 || !d.inGap(next) {
			break
		}
		r = next
	}
	seen := map[keyRef]bool{}
	for ; r != 0 && d.inGap(r); r = d.item(r).left {
		it := d.item(r)
		if it.kind == kindFormat && !it.deleted() {
			key, _ := d.formatOf(it)
			if seen[key] {
				d.deleteItem(tx, r)
			}
			seen[key] = true
		}
	}
}

// inGap reports whether the item is no content.
func (d *Doc) inGap(r ref) bool {
	it := d.item(r)
	return it.deleted() || !it.kind.countable()
}

// onePerGap leaves one of those items that are in the same gap between contents, the first in the list. It takes the
// list over.
func (d *Doc) onePerGap(items []ref) []ref {
	if len(items) < 2 {
		return items
	}
	left := make(map[ref]struct{}, len(items))
	for _, r := range items {
		left[r] = struct{}{}
	}
	out := items[:0]
	for _, r := range items {
		if _, ok := left[r]; !ok {
			continue
		}
		out = append(out, r)
		for at := r; at != 0 && d.inGap(at); at = d.item(at).right {
			delete(left, at)
		}
		for at := d.item(r).left; at != 0 && d.inGap(at); at = d.item(at).left {
			delete(left, at)
		}
	}
	return out
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
		var deleted []ref
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
					deleted = append(deleted, r)
				})
			}
		}
		for _, r := range d.onePerGap(deleted) {
			d.cleanGapAt(clean, r)
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
