package crdt

// positionIndex finds items by their position.
type positionIndex struct{}

func (d *Doc) indexSplit(n nodeRef, left, right ref)   {}
func (d *Doc) indexMerged(n nodeRef, left, right ref)  {}
func (d *Doc) indexInserted(n nodeRef, r ref)          {}
func (d *Doc) indexHidden(n nodeRef, r ref)            {}
func (d *Doc) indexGrown(n nodeRef, r ref, length int) {}
func (d *Doc) dropIndex(n nodeRef)                     {}

// seek returns the item that holds the element before position index, and how many of the item's elements are before
// it. Position 0 has none. A position beyond the end returns 0 and what is left of it.
func (d *Doc) seek(n nodeRef, index int) (r ref, within int) {
	if index == 0 {
		return 0, 0
	}
	for r = d.node(n).start; r != 0; r = d.item(r).right {
		it := d.item(r)
		if it.deleted() || !it.kind.countable() {
			continue
		}
		if index <= int(it.length) {
			return r, index
		}
		index -= int(it.length)
	}
	return 0, index
}

func (d *Doc) checkIndex(n nodeRef) error { return nil }

func (x *positionIndex) bytes() int { return 0 }
