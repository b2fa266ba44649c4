package crdt

// textChange collects the steps of a text's delta.
type textChange struct {
	doc     *Doc
	ops     []Op
	current attrs // The formatting of what is inserted here.
	old     attrs // The formatting here before the transaction.
	changed attrs // What the transaction changed of the formatting of what stays here.
	insert  []byte
	embed   any
	retain  int
	remove  int
}

// flush ends the present step.
func (c *textChange) flush() {
	switch {
	case c.embed != nil:
		c.ops = append(c.ops, Op{Insert: c.embed, Attributes: c.live().object(c.doc)})
		c.embed = nil
	case len(c.insert) > 0:
		c.ops = append(c.ops, Op{Insert: string(c.insert), Attributes: c.live().object(c.doc)})
		c.insert = c.insert[:0]
	case c.retain > 0:
		c.ops = append(c.ops, Op{Retain: c.retain, Attributes: c.changed.object(c.doc)})
		c.retain = 0
	case c.remove > 0:
		c.ops = append(c.ops, Op{Delete: c.remove})
		c.remove = 0
	}
}

func (c *textChange) live() attrs {
	var out attrs
	for _, a := range c.current {
		if !a.isNull() {
			out = append(out, a)
		}
	}
	return out
}

// textDelta returns what happened to a text. As in Yjs, computing it deletes formats that turn out to have no effect.
func (e *Event) textDelta() []Op {
	var ops []Op
	e.doc.Transact(nil, func(tx *Transaction) { ops = e.computeTextDelta(tx) })
	return ops
}

func (e *Event) computeTextDelta(tx *Transaction) []Op {
	d := e.doc
	c := &textChange{doc: d}
	for r := d.node(e.change.node).start; r != 0; r = d.item(r).right {
		it := d.item(r)
		added, removed := e.tx.adds(it), e.tx.removes(it)
		switch it.kind {
		case kindType, kindEmbed, kindString:
			switch {
			case added && removed:
			case added && it.kind == kindString:
				if len(c.insert) == 0 {
					c.flush()
				}
				c.insert = d.textOf(it, 0).appendTo(c.insert)
			case added:
				c.flush()
				c.embed = d.value(it, 0)
				c.flush()
			case removed:
				if c.remove == 0 {
					c.flush()
				}
				c.remove += int(it.length)
			case !it.deleted():
				if c.retain == 0 {
					c.flush()
				}
				c.retain += int(it.length)
			}
		case kindFormat:
			c.format(tx, r, added, removed)
		}
	}
	c.flush()
	for n := len(c.ops); n > 0 && c.ops[n-1].Retain > 0 && c.ops[n-1].Attributes == nil; n-- {
		c.ops = c.ops[:n-1]
	}
	return c.ops
}

func (c *textChange) format(tx *Transaction, r ref, added, removed bool) {
	d := c.doc
	f := d.formatAttr(r)
	endRetain := func() {
		if c.retain > 0 {
			c.flush()
		}
	}
	switch {
	case added && removed:
	case added:
		if !c.current.orNull(f.key).equal(f) {
			endRetain()
			if f.equal(c.old.orNull(f.key)) {
				c.changed = c.changed.without(f.key)
			} else {
				c.changed = c.changed.set(f)
			}
		} else if !f.isNull() {
			d.deleteItem(tx, r)
		}
	case removed:
		c.old = c.old.set(f)
		if current := c.current.orNull(f.key); !current.equal(f) {
			endRetain()
			c.changed = c.changed.set(current)
		}
	case !d.item(r).deleted():
		c.old = c.old.set(f)
		if a, ok := c.changed.get(f.key); ok {
			if !a.equal(f) {
				endRetain()
				if f.isNull() {
					c.changed = c.changed.without(f.key)
				} else {
					c.changed = c.changed.set(f)
				}
			} else if !a.isNull() {
				d.deleteItem(tx, r)
			}
		}
	}
	if !d.item(r).deleted() {
		if len(c.insert) > 0 {
			c.flush()
		}
		c.current = c.current.apply(f)
	}
}
