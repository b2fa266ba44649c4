package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// find returns the item that holds the id, which the document must know.
func (d *Doc) find(client, clock uint32) ref {
	return d.clients[client].ref(clock)
}

// cleanStart returns the item that starts at the id, splitting the one that holds it if need be.
func (d *Doc) cleanStart(tx *Transaction, client, clock uint32) ref {
	c := d.clients[client]
	s := c.structs.find(clock)
	r := c.structs.at(s)
	it := d.item(r)
	if it.clock < clock && it.kind != kindGC {
		return d.split(tx, s, r, clock-it.clock)
	}
	return r
}

// cleanEnd returns the item that ends at the id, splitting the one that holds it if need be.
func (d *Doc) cleanEnd(tx *Transaction, client, clock uint32) ref {
	c := d.clients[client]
	s := c.structs.find(clock)
	r := c.structs.at(s)
	it := d.item(r)
	if clock != it.end()-1 && it.kind != kindGC {
		d.split(tx, s, r, clock-it.clock+1)
	}
	return r
}

// split cuts the item r, which is at s, behind its first n clocks, and returns what is cut off. The parts are merged
// again after the transaction unless something came between them.
func (d *Doc) split(tx *Transaction, s spot, r ref, n uint32) ref {
	rr := ref(d.items.alloc())
	it, right := d.item(r), d.item(rr)
	*right = *it
	right.clock += n
	right.length -= n
	right.originClient, right.originClock = it.client, it.clock+n-1
	right.left = r
	right.content = d.splitContent(it, n)
	it.length = n
	it.right = rr
	if right.right != 0 {
		d.item(right.right).left = rr
	} else {
		d.setLast(right.place, rr)
	}
	c := d.clients[it.client]
	c.structs.insertAfter(s, right.clock, rr)
	tx.merge = append(tx.merge, id{it.client, right.clock})
	if !it.place.isEntry() {
		d.indexSplit(it.place.list(), r, rr)
	}
	return rr
}

// setLast notes that r is the last item of its place.
func (d *Doc) setLast(p place, r ref) {
	if p.isEntry() {
		d.entry(p.entry()).item = r
	} else {
		d.node(p.list()).last = r
	}
}

// splitContent returns where the content behind the first n clocks is.
func (d *Doc) splitContent(it *item, n uint32) uint32 {
	switch it.kind {
	case kindString:
		text := &d.clients[it.client].text
		at := it.content + n
		if isHigh(text.at(int(at) - 1)) {
			// Yjs replaces both halves of a surrogate pair that is split.
			text.replace(int(at) - 1)
			text.replace(int(at))
		}
		return at
	case kindAny, kindJSON:
		return d.clients[it.client].valuesFrom(it, n)
	default:
		return it.content
	}
}

// mergeItems merges right into its left neighbor in the client's list if both could be one, and reports whether it
// did. The slot of right is free afterwards, but it is still in the list of structs.
func (d *Doc) mergeItems(lr, rr ref) bool {
	left, right := d.item(lr), d.item(rr)
	if left.kind != right.kind {
		return false
	}
	if left.kind == kindGC {
		left.length += right.length
		d.items.release(uint32(rr))
		return true
	}
	if left.right != rr || left.deleted() != right.deleted() ||
		right.originClient != left.client || right.originClock != left.end()-1 ||
		left.rightClient != right.rightClient || left.rightClock != right.rightClock {
		return false
	}
	switch left.kind {
	case kindDeleted, kindString, kindAny, kindJSON:
	default:
		return false
	}
	left.flags |= right.flags & flagKeep
	left.right = right.right
	if right.right != 0 {
		d.item(right.right).left = lr
	} else {
		d.setLast(left.place, lr)
	}
	left.length += right.length
	if !left.place.isEntry() {
		d.indexMerged(left.place.list(), lr, rr)
	}
	d.items.release(uint32(rr))
	return true
}

// mergeLeft merges the struct at s into its left neighbors as long as they fit, and returns where the result is and
// how many structs are gone.
func (d *Doc) mergeLeft(c *client, s spot) (spot, int) {
	merged := 0
	for {
		l, ok := c.structs.prev(s)
		if !ok || !d.mergeItems(c.structs.at(l), c.structs.at(s)) {
			return s, merged
		}
		c.structs.remove(s)
		merged++
		s = l
	}
}

// storeString keeps a string, given as UTF-8, and returns where.
func (c *client) storeString(s []byte) uint32 {
	at := c.text.len()
	c.text.appendText(s)
	return uint32(at)
}

// contentSize returns how much of text and blob the item's content takes.
func (d *Doc) contentSize(it *item) (units, bytes int) {
	blob := d.clients[it.client].blob
	switch it.kind {
	case kindString:
		return int(it.length), 0
	case kindAny, kindJSON:
		return 0, int(d.clients[it.client].valuesFrom(it, it.length) - it.content)
	case kindBinary:
		b := blob[it.content:]
		return 0, len(b) - len(cutTexts(b, 1))
	case kindEmbed:
		b := blob[it.content:]
		return 0, len(b) - len(cutValues(b, 1))
	case kindFormat:
		r := lib0.NewDecoder(blob[it.content:])
		r.VarUint()
		r.SkipAny()
		return 0, r.Pos()
	}
	return 0, 0
}

// dropContent notes that the item's content is garbage.
func (d *Doc) dropContent(it *item) {
	units, bytes := d.contentSize(it)
	c := d.clients[it.client]
	c.textGarbage += units
	c.blobGarbage += bytes
}

// A client's contents are compacted when garbage takes more than this and more than half of them.
const minGarbage = 1 << 12

// compact rewrites a client's contents without garbage if there is much.
func (d *Doc) compact(index uint32) {
	c := d.clients[index]
	compactText := c.textGarbage > minGarbage && c.textGarbage > c.text.len()/2
	compactBlob := c.blobGarbage > minGarbage && c.blobGarbage > len(c.blob)/2
	if !compactText && !compactBlob {
		return
	}
	text, blob := c.text, c.blob
	if compactText {
		text = units{}
		text.grow(c.text.len() - c.textGarbage)
	}
	if compactBlob {
		blob = make([]byte, 0, len(c.blob)-c.blobGarbage)
	}
	for _, block := range c.structs.blocks {
		for _, e := range block {
			it := d.item(e.ref)
			switch it.kind {
			case kindString:
				if compactText {
					at := text.len()
					text.appendUnits(d.textOf(it, 0))
					it.content = uint32(at)
				}
			case kindAny, kindJSON, kindBinary, kindEmbed, kindFormat:
				if compactBlob {
					at := len(blob)
					_, n := d.contentSize(it)
					blob = append(blob, c.blob[it.content:int(it.content)+n]...)
					it.content = uint32(at)
				}
			}
		}
	}
	if compactText {
		c.text, c.textGarbage = text, 0
	}
	if compactBlob {
		c.blob, c.blobGarbage, c.marks = blob, 0, nil
		for _, block := range c.structs.blocks {
			for _, e := range block {
				if it := d.item(e.ref); it.kind != kindGC {
					c.mark(it)
				}
			}
		}
	}
}

// The methods below read contents.

// textOf returns the string of an item from offset on.
func (d *Doc) textOf(it *item, offset uint32) units {
	return d.clients[it.client].text.slice(int(it.content+offset), int(it.content+it.length))
}

// valuesOf returns a decoder of the values of an item from offset on.
func (d *Doc) valuesOf(it *item, offset uint32) lib0.Decoder {
	c := d.clients[it.client]
	return lib0.NewDecoder(c.blob[c.valuesFrom(it, offset):])
}

func (d *Doc) blobOf(it *item) []byte { return d.clients[it.client].blob[it.content:] }

// formatOf returns the key of a format and the encoding of its value.
func (d *Doc) formatOf(it *item) (keyRef, []byte) {
	r := lib0.NewDecoder(d.blobOf(it))
	key := keyRef(r.VarUint())
	return key, r.AnyBytes()
}
