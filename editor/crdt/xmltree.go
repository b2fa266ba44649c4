package crdt

import (
	"fmt"
	"iter"
	"slices"
)

// FirstChild returns the first child, or nil if there is none.
func (x *XmlFragment) FirstChild() any { return x.listGet(0) }

// NextSibling returns what follows in the list that holds the fragment or element, or nil at its end. What is deleted
// has no siblings.
func (x *XmlFragment) NextSibling() any { return x.sibling(false) }

// PrevSibling returns what is before it in the list that holds the fragment or element, or nil at its start.
func (x *XmlFragment) PrevSibling() any { return x.sibling(true) }

// NextSibling returns what follows in the list that holds the text, or nil at its end.
func (t *XmlText) NextSibling() any { return t.sibling(false) }

// PrevSibling returns what is before it in the list that holds the text, or nil at its start.
func (t *XmlText) PrevSibling() any { return t.sibling(true) }

// sibling returns the neighbor of a type in the list that holds it.
func (h *handle) sibling(before bool) any {
	d := h.doc
	if d == nil || h.Deleted() || d.node(h.node).item == 0 {
		return nil
	}
	it := d.item(d.node(h.node).item)
	if it.place.isEntry() {
		return nil
	}
	for {
		r := it.right
		if before {
			r = it.left
		}
		if r == 0 {
			return nil
		}
		if it = d.item(r); it.deleted() || !it.kind.countable() {
			continue
		}
		if before {
			return d.value(it, it.length-1)
		}
		return d.value(it, 0)
	}
}

// InsertAfter adds children behind one of the children, or in front of all if child is nil. What is no child is an
// ErrOutOfBounds.
func (x *XmlFragment) InsertAfter(child Shared, children ...any) error {
	if child == nil {
		return x.Insert(0, children...)
	}
	notOurs := fmt.Errorf("%w: the type is no child", ErrOutOfBounds)
	if x.doc == nil {
		i := slices.Index(x.list, any(child))
		if i < 0 {
			return notOurs
		}
		return x.listInsert(i+1, children)
	}
	if err := checkValues(children); err != nil {
		return err
	}
	h := child.base()
	if h.doc != x.doc || h.Deleted() {
		return notOurs
	}
	r := x.doc.node(h.node).item
	if r == 0 || x.doc.item(r).place != listPlace(x.node) {
		return notOurs
	}
	return x.edit(func(tx *Transaction) error {
		x.doc.insertValues(tx, x.node, r, children)
		return nil
	})
}

// Descendants returns all that is within, depth first: an element comes before what it contains. The document must not
// change meanwhile.
func (x *XmlFragment) Descendants() iter.Seq[any] {
	return func(yield func(any) bool) {
		// A stack of its own: documents nest as deeply as a peer likes.
		var next []any
		enter := func(x *XmlFragment) {
			children := x.Children()
			slices.Reverse(children)
			next = append(next, children...)
		}
		for enter(x); len(next) > 0; {
			child := next[len(next)-1]
			next = next[:len(next)-1]
			if !yield(child) {
				return
			}
			switch child := child.(type) {
			case *XmlElement:
				enter(&child.XmlFragment)
			case *XmlFragment:
				enter(child)
			}
		}
	}
}
