package crdt

import (
	"fmt"
	"unsafe"
)

// positionIndex finds the items of a long list by their position, in logarithmic time: a B-tree whose leaves hold the
// list's items in order, and whose branches know how many visible elements are below. It is made when somebody looks
// for a position beyond the first items, kept up to date by every change, and dropped when only others change the list
// for long. Applying updates alone never needs it.
type positionIndex struct {
	tree slab[branch]
	root uint32
	// unused counts changes since the last search.
	unused int
}

// branch is a node of the tree. A leaf's children are refs of items, those of others are branches.
type branch struct {
	parent  uint32
	visible uint32
	count   uint16
	leaf    bool
	kids    [fanOut]uint32
}

const (
	fanOut = 32
	// scanLimit is the number of items that are looked at one by one before an index is made.
	scanLimit = 96
	// minUnused is the number of changes without a search after which an index may be dropped.
	minUnused = 1 << 12
)

// visibleLength returns how many positions the item takes.
func (it *item) visibleLength() uint32 {
	if it.deleted() || !it.kind.countable() {
		return 0
	}
	return it.length
}

// seek returns the item that holds the element before position index, and how many of the item's elements are before
// it. Position 0 has none. A position beyond the end returns 0 and what is left of it.
func (d *Doc) seek(n nodeRef, index int) (r ref, within int) {
	nd := d.node(n)
	if index == 0 {
		return 0, 0
	}
	if index > int(nd.length) {
		return 0, index - int(nd.length)
	}
	if nd.indexed {
		return d.seekIndexed(d.indexes[n], uint32(index))
	}
	left := uint32(index)
	steps := 0
	for r = nd.start; r != 0; r = d.item(r).right {
		v := d.item(r).visibleLength()
		if left <= v {
			return r, int(left)
		}
		left -= v
		if steps++; steps == scanLimit {
			return d.seekIndexed(d.buildIndex(n), uint32(index))
		}
	}
	return 0, int(left)
}

func (d *Doc) seekIndexed(x *positionIndex, index uint32) (ref, int) {
	x.unused = 0
	b := x.tree.at(x.root)
	for !b.leaf {
		var next *branch
		for _, k := range b.kids[:b.count] {
			next = x.tree.at(k)
			if index <= next.visible {
				break
			}
			index -= next.visible
		}
		b = next
	}
	for _, k := range b.kids[:b.count] {
		v := d.item(ref(k)).visibleLength()
		if index <= v && v > 0 {
			return ref(k), int(index)
		}
		index -= v
	}
	return 0, int(index)
}

// indexOf returns the position of an item in its list. In the history of a map entry all items have position 0: only the
// newest is not deleted.
func (d *Doc) indexOf(r ref) int {
	if d.item(r).place.isEntry() {
		return 0
	}
	n := d.item(r).place.list()
	if d.node(n).indexed {
		return d.indexes[n].position(d, r)
	}
	index := uint32(0)
	steps := 0
	for l := d.item(r).left; l != 0; l = d.item(l).left {
		index += d.item(l).visibleLength()
		if steps++; steps == scanLimit {
			return d.buildIndex(n).position(d, r)
		}
	}
	return int(index)
}

func (x *positionIndex) position(d *Doc, r ref) int {
	x.unused = 0
	at := d.leafOf[r]
	b := x.tree.at(at)
	index := uint32(0)
	for _, k := range b.kids[:b.slot(uint32(r))] {
		index += d.item(ref(k)).visibleLength()
	}
	for b.parent != 0 {
		up := x.tree.at(b.parent)
		for _, k := range up.kids[:up.slot(at)] {
			index += x.tree.at(k).visible
		}
		at, b = b.parent, up
	}
	return int(index)
}

// slot returns which child k is.
func (b *branch) slot(k uint32) int {
	for i, kid := range b.kids[:b.count] {
		if kid == k {
			return i
		}
	}
	return -1
}

// buildIndex makes the index of a list.
func (d *Doc) buildIndex(n nodeRef) *positionIndex {
	x := &positionIndex{}
	if d.indexes == nil {
		d.indexes = make(map[nodeRef]*positionIndex)
	}
	d.indexes[n] = x
	nd := d.node(n)
	nd.indexed = true
	d.growLeaves()
	const fill = fanOut * 3 / 4
	var level []uint32
	for r := nd.start; r != 0; {
		at := x.tree.alloc()
		b := x.tree.at(at)
		b.leaf = true
		for ; r != 0 && b.count < fill; r = d.item(r).right {
			b.kids[b.count] = uint32(r)
			b.count++
			b.visible += d.item(r).visibleLength()
			d.leafOf[r] = at
		}
		level = append(level, at)
	}
	for len(level) > 1 {
		var above []uint32
		for len(level) > 0 {
			at := x.tree.alloc()
			b := x.tree.at(at)
			kids := level[:min(fill, len(level))]
			level = level[len(kids):]
			b.count = uint16(copy(b.kids[:], kids))
			for _, k := range kids {
				x.tree.at(k).parent = at
				b.visible += x.tree.at(k).visible
			}
			above = append(above, at)
		}
		level = above
	}
	x.root = level[0]
	return x
}

// growLeaves makes leafOf as long as the slab of items.
func (d *Doc) growLeaves() {
	if n := int(d.items.next); len(d.leafOf) < n {
		d.leafOf = append(d.leafOf, make([]uint32, n+n/4-len(d.leafOf))...)
	}
}

// dropIndex forgets the index of a list.
func (d *Doc) dropIndex(n nodeRef) {
	if nd := d.node(n); nd.indexed {
		nd.indexed = false
		delete(d.indexes, n)
		if len(d.indexes) == 0 {
			d.leafOf = nil
		}
	}
}

// changing returns the index of a list that is about to change, or nil if it has none.
func (d *Doc) changing(n nodeRef) *positionIndex {
	if !d.node(n).indexed {
		return nil
	}
	x := d.indexes[n]
	if x.unused++; x.unused > minUnused && x.unused > 2*fanOut*x.tree.live() {
		d.dropIndex(n)
		return nil
	}
	return x
}

// indexInserted notes that r was linked into the list.
func (d *Doc) indexInserted(n nodeRef, r ref) {
	if x := d.changing(n); x != nil {
		d.growLeaves()
		x.insert(d, d.item(r).left, r)
		x.add(d.leafOf[r], d.item(r).visibleLength())
	}
}

// indexSplit notes that right was cut off from left.
func (d *Doc) indexSplit(n nodeRef, left, right ref) {
	if x := d.changing(n); x != nil {
		d.growLeaves()
		v := d.item(right).visibleLength()
		x.add(d.leafOf[left], -v)
		x.insert(d, left, right)
		x.add(d.leafOf[right], v)
	}
}

// indexMerged notes that right became part of left.
func (d *Doc) indexMerged(n nodeRef, left, right ref) {
	if x := d.changing(n); x != nil {
		v := d.item(right).visibleLength()
		x.add(d.leafOf[right], -v)
		x.add(d.leafOf[left], v)
		x.remove(d.leafOf[right], uint32(right))
	}
}

// indexHidden notes that r is about to be deleted.
func (d *Doc) indexHidden(n nodeRef, r ref) {
	if x := d.changing(n); x != nil {
		x.add(d.leafOf[r], -d.item(r).visibleLength())
	}
}

// indexGrown notes that r has more elements than before.
func (d *Doc) indexGrown(n nodeRef, r ref, length uint32) {
	if x := d.changing(n); x != nil {
		x.add(d.leafOf[r], length)
	}
}

// add changes the number of visible elements below a branch; a negative number wraps around.
func (x *positionIndex) add(at, visible uint32) {
	for visible != 0 && at != 0 {
		b := x.tree.at(at)
		b.visible += visible
		at = b.parent
	}
}

// insert puts an item behind left, or at the front if left is 0, without counting it.
func (x *positionIndex) insert(d *Doc, left, r ref) {
	if left != 0 {
		at := d.leafOf[left]
		d.leafOf[r] = x.insertKid(d, at, x.tree.at(at).slot(uint32(left))+1, uint32(r))
		return
	}
	at := x.root
	for b := x.tree.at(at); !b.leaf; b = x.tree.at(at) {
		at = b.kids[0]
	}
	d.leafOf[r] = x.insertKid(d, at, 0, uint32(r))
}

// insertKid puts a child into a branch, which it halves if it is full, and returns where the child is then.
func (x *positionIndex) insertKid(d *Doc, at uint32, slot int, kid uint32) uint32 {
	b := x.tree.at(at)
	if b.count == fanOut {
		right := x.halve(d, at)
		if slot > int(b.count) {
			slot -= int(b.count)
			at, b = right, x.tree.at(right)
		}
	}
	copy(b.kids[slot+1:b.count+1], b.kids[slot:b.count])
	b.kids[slot] = kid
	b.count++
	return at
}

// halve moves the second half of a branch to a new one behind it, which it returns.
func (x *positionIndex) halve(d *Doc, at uint32) uint32 {
	rightAt := x.tree.alloc()
	b, right := x.tree.at(at), x.tree.at(rightAt)
	const half = fanOut / 2
	*right = branch{leaf: b.leaf, count: fanOut - half}
	copy(right.kids[:], b.kids[half:])
	b.count = half
	for _, k := range right.kids[:right.count] {
		if b.leaf {
			d.leafOf[k] = rightAt
			right.visible += d.item(ref(k)).visibleLength()
		} else {
			x.tree.at(k).parent = rightAt
			right.visible += x.tree.at(k).visible
		}
	}
	b.visible -= right.visible
	if b.parent == 0 {
		rootAt := x.tree.alloc()
		*x.tree.at(rootAt) = branch{count: 1, visible: b.visible + right.visible, kids: [fanOut]uint32{at}}
		b.parent = rootAt
		x.root = rootAt
	}
	// While the new branch is on its way into the tree, which may halve branches above, nothing above counts it.
	x.add(b.parent, -right.visible)
	slot := x.tree.at(b.parent).slot(at) + 1
	right.parent = x.insertKid(d, b.parent, slot, rightAt)
	x.add(right.parent, right.visible)
	return rightAt
}

// remove takes a child out of a branch, and the branch out of its parent if that was the last.
func (x *positionIndex) remove(at, kid uint32) {
	for {
		b := x.tree.at(at)
		slot := b.slot(kid)
		copy(b.kids[slot:], b.kids[slot+1:b.count])
		b.count--
		if b.count > 0 || b.parent == 0 {
			return
		}
		kid, at = at, b.parent
		x.tree.release(kid)
	}
}

func (x *positionIndex) bytes() int {
	return len(x.tree.chunks) * slabChunk * int(unsafe.Sizeof(branch{}))
}

// checkIndex verifies the index of a list.
func (d *Doc) checkIndex(n nodeRef) error {
	nd := d.node(n)
	if !nd.indexed {
		return nil
	}
	x := d.indexes[n]
	r := nd.start
	var walk func(at, parent uint32) (uint32, error)
	walk = func(at, parent uint32) (uint32, error) {
		b := x.tree.at(at)
		sum := uint32(0)
		if b.parent != parent {
			return 0, fmt.Errorf("branch %d has another parent", at)
		}
		for _, k := range b.kids[:b.count] {
			if !b.leaf {
				v, err := walk(k, at)
				if err != nil {
					return 0, err
				}
				sum += v
				continue
			}
			if ref(k) != r || d.leafOf[r] != at {
				return 0, fmt.Errorf("leaf %d does not follow the list", at)
			}
			sum += d.item(r).visibleLength()
			r = d.item(r).right
		}
		if sum != b.visible {
			return 0, fmt.Errorf("branch %d counts %d and not %d", at, b.visible, sum)
		}
		return sum, nil
	}
	if _, err := walk(x.root, 0); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if r != 0 {
		return fmt.Errorf("index: the list goes on")
	}
	return nil
}
