package crdt

// collect replaces the contents of the deleted items in the ranges, as far as nothing keeps them.
func (d *Doc) collect(set deleteSet) {
	for i := range set {
		r := &set[i]
		index, ok := d.clientOf(r.client)
		if !ok {
			continue
		}
		c := d.clients[index]
		s := c.structs.find(r.clock)
		for ok := true; ok; s, ok = c.structs.next(s) {
			it := d.item(c.structs.at(s))
			if it.clock >= r.end() {
				break
			}
			if it.kind != kindGC && it.deleted() && !it.keep() {
				d.collectItem(it)
			}
		}
	}
}

// collectItem drops the content of an item. It stays as a mark for what was inserted next to it.
func (d *Doc) collectItem(it *item) {
	switch it.kind {
	case kindDeleted:
		return
	case kindType:
		d.collectNode(nodeRef(it.content))
	case kindDoc:
		d.subdocs[it.content] = nil
	default:
		d.dropContent(it)
	}
	it.kind = kindDeleted
	it.content = 0
}

// collectNode turns all that a type contains into garbage that has only a length.
func (d *Doc) collectNode(n nodeRef) {
	pending := []nodeRef{n}
	drop := func(it *item) {
		switch it.kind {
		case kindGC, kindDeleted:
		case kindType:
			pending = append(pending, nodeRef(it.content))
		case kindDoc:
			d.subdocs[it.content] = nil
		default:
			d.dropContent(it)
		}
		*it = item{
			clock: it.clock, length: it.length, client: it.client, kind: kindGC,
			originClient: noClient, rightClient: noClient,
		}
	}
	for len(pending) > 0 {
		n := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		nd := d.node(n)
		for r := nd.start; r != 0; {
			it := d.item(r)
			r = it.right
			drop(it)
		}
		for e := nd.firstEntry; e != 0; e = d.entry(e).next {
			for r := d.entry(e).item; r != 0; {
				it := d.item(r)
				r = it.left
				drop(it)
			}
		}
		d.dropIndex(n)
		d.dropEntries(n)
		if s, held := d.handles[n]; held {
			s.base().node = collectedNode
			d.node(collectedNode).collected = true
			delete(d.handles, n)
			delete(d.listeners.types, n)
		}
		d.nodes.release(uint32(n))
	}
}
