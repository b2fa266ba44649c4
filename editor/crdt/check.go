package crdt

import (
	"fmt"
)

// Check verifies what must always hold of a document, and returns what does not. It takes time in proportion to the
// document and is meant for tests and for diagnosing.
func (d *Doc) Check() error {
	seen := 0
	for _, c := range d.clients {
		next := uint32(0)
		for b, block := range c.structs.blocks {
			if len(block) == 0 || c.structs.first[b] != block[0].clock {
				return fmt.Errorf("client %d: block %d is out of order", c.id, b)
			}
			for _, e := range block {
				it := d.item(e.ref)
				if e.clock != next || it.clock != next || it.length == 0 || d.clients[it.client] != c {
					return fmt.Errorf("client %d: struct at %d, item %d+%d, want %d", c.id, e.clock, it.clock, it.length, next)
				}
				next = it.end()
				seen++
				if err := d.checkItem(e.ref); err != nil {
					return fmt.Errorf("item %d:%d: %w", c.id, it.clock, err)
				}
			}
		}
		if next != c.state {
			return fmt.Errorf("client %d: state is %d and not %d", c.id, c.state, next)
		}
	}
	if live := d.items.live(); live != seen {
		return fmt.Errorf("%d items are in use, %d are listed", live, seen)
	}
	for i := uint32(1); i < d.nodes.next; i++ {
		if err := d.checkNode(nodeRef(i)); err != nil {
			return fmt.Errorf("type %d: %w", i, err)
		}
	}
	return nil
}

func (d *Doc) checkItem(r ref) error {
	it := d.item(r)
	if it.kind == kindGC {
		return nil
	}
	if it.left != 0 && d.item(it.left).right != r || it.right != 0 && d.item(it.right).left != r {
		return fmt.Errorf("neighbors do not know it")
	}
	if it.left != 0 && d.item(it.left).place != it.place {
		return fmt.Errorf("neighbors are in different places")
	}
	switch it.kind {
	case kindString:
		if int(it.content+it.length) > d.clients[it.client].text.len() {
			return fmt.Errorf("text is out of bounds")
		}
	case kindType:
		if d.node(nodeRef(it.content)).item != r {
			return fmt.Errorf("type belongs to another item")
		}
	}
	return nil
}

func (d *Doc) checkNode(n nodeRef) error {
	nd := d.node(n)
	length := 0
	var last ref
	for r := nd.start; r != 0; r = d.item(r).right {
		it := d.item(r)
		if it.left != last || it.place != listPlace(n) {
			return fmt.Errorf("list is broken at %d:%d", d.clients[it.client].id, it.clock)
		}
		if !it.deleted() && it.kind.countable() {
			length += int(it.length)
		}
		last = r
	}
	if nd.last != last || int(nd.length) != length {
		return fmt.Errorf("length is %d and not %d, or the end is wrong", nd.length, length)
	}
	for e := nd.firstEntry; e != 0; e = d.entry(e).next {
		if r := d.entry(e).item; r != 0 && d.item(r).right != 0 {
			return fmt.Errorf("entry %q is not at its newest item", d.keys.name(d.entry(e).key))
		}
		if r := d.entry(e).first; (r == 0) != (d.entry(e).item == 0) || r != 0 && d.item(r).left != 0 {
			return fmt.Errorf("entry %q is not at its oldest item", d.keys.name(d.entry(e).key))
		}
	}
	return d.checkIndex(n)
}
