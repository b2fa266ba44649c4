package crdt

import (
	"strings"

	"collab.dev/operator/editor/crdt/lib0"
)

// Text is a shared text with formatting and embedded values. Positions count UTF-16 code units; an embedded value
// takes one.
type Text struct{ handle }

// NewText returns a detached text.
func NewText(s string) *Text {
	t := &Text{handle{kind: KindText}}
	t.initial(s)
	return t
}

// initial makes a detached text start with s.
func (t *Text) initial(s string) {
	if s != "" {
		t.edits = append(t.edits, func() error { return t.Insert(0, s) })
	}
}

// Len returns the length in UTF-16 code units; that of a detached text is 0.
func (t *Text) Len() int {
	if t.doc == nil {
		return 0
	}
	return int(t.doc.node(t.node).length)
}

// String returns the text without formatting and embedded values; that of a detached text is empty.
func (t *Text) String() string {
	if t.doc == nil {
		return ""
	}
	d := t.doc
	out := make([]byte, 0, int(d.node(t.node).length))
	for r := d.node(t.node).start; r != 0; r = d.item(r).right {
		if it := d.item(r); it.kind == kindString && !it.deleted() {
			out = d.textOf(it, 0).appendTo(out)
		}
	}
	return string(out)
}

// JSON implements Shared.
func (t *Text) JSON() any { return t.String() }

func (t *Text) json(int) any { return t.String() }

// later runs an edit now, or once the detached text is inserted.
func (t *Text) later(f func(tx *Transaction) error) error {
	if t.doc == nil {
		t.edits = append(t.edits, func() error { return t.edit(f) })
		return nil
	}
	return t.edit(f)
}

// Insert adds s before a position, formatted as what is before it. A position beyond the end is the end.
func (t *Text) Insert(index int, s string) error {
	if index < 0 {
		return ErrOutOfBounds
	}
	if s == "" {
		return nil
	}
	return t.later(func(tx *Transaction) error {
		pos := t.doc.findPosition(tx, t.node, index)
		pos.insertString(s, pos.current.clone())
		return nil
	})
}

// InsertFormatted adds s before a position, formatted with just the attributes.
func (t *Text) InsertFormatted(index int, s string, attributes lib0.Object) error {
	if index < 0 {
		return ErrOutOfBounds
	}
	if !lib0.Supported(attributes) {
		return ErrUnsupportedValue
	}
	if s == "" {
		return nil
	}
	return t.later(func(tx *Transaction) error {
		pos := t.doc.findPosition(tx, t.node, index)
		pos.insertString(s, t.doc.attrsFrom(attributes))
		return nil
	})
}

// InsertEmbed adds an embedded value, or a detached Shared, before a position.
func (t *Text) InsertEmbed(index int, embed any, attributes lib0.Object) error {
	if index < 0 {
		return ErrOutOfBounds
	}
	if err := checkEmbed(embed); err != nil {
		return err
	}
	if !lib0.Supported(attributes) {
		return ErrUnsupportedValue
	}
	return t.later(func(tx *Transaction) error {
		pos := t.doc.findPosition(tx, t.node, index)
		pos.insertEmbed(embed, t.doc.attrsFrom(attributes))
		return nil
	})
}

func checkEmbed(embed any) error {
	if _, subdoc := embed.(*Subdoc); subdoc {
		return ErrUnsupportedValue
	}
	return checkValue(embed)
}

// Delete removes length code units from a position on, fewer at the end.
func (t *Text) Delete(index, length int) error {
	if index < 0 || length < 0 {
		return ErrOutOfBounds
	}
	if length == 0 {
		return nil
	}
	return t.later(func(tx *Transaction) error {
		t.doc.findPosition(tx, t.node, index).remove(length)
		return nil
	})
}

// Format sets attributes of length code units from a position on; a nil value ends an attribute.
func (t *Text) Format(index, length int, attributes lib0.Object) error {
	if index < 0 || length < 0 {
		return ErrOutOfBounds
	}
	if !lib0.Supported(attributes) {
		return ErrUnsupportedValue
	}
	if length == 0 {
		return nil
	}
	return t.later(func(tx *Transaction) error {
		pos := t.doc.findPosition(tx, t.node, index)
		if pos.right == 0 {
			return nil
		}
		pos.format(length, t.doc.attrsFrom(attributes))
		return nil
	})
}

// ApplyDelta makes the changes of a delta.
func (t *Text) ApplyDelta(delta []Op) error {
	for _, op := range delta {
		if op.Insert != nil {
			if err := checkEmbed(op.Insert); err != nil {
				return err
			}
		}
		if !lib0.Supported(op.Attributes) {
			return ErrUnsupportedValue
		}
	}
	return t.later(func(tx *Transaction) error {
		pos := &position{doc: t.doc, tx: tx, node: t.node, right: t.doc.node(t.node).start}
		for _, op := range delta {
			attributes := t.doc.attrsFrom(op.Attributes)
			switch s, isString := op.Insert.(string); {
			case isString && s == "":
			case isString:
				pos.insertString(s, attributes)
			case op.Insert != nil:
				pos.insertEmbed(op.Insert, attributes)
			case op.Retain > 0:
				pos.format(op.Retain, attributes)
			case op.Delete > 0:
				pos.remove(op.Delete)
			}
		}
		return nil
	})
}

// SetAttribute sets an attribute of the text as a whole.
func (t *Text) SetAttribute(key string, value any) error {
	if err := checkValue(value); err != nil {
		return err
	}
	return t.later(func(*Transaction) error { return t.entrySet(key, value) })
}

// RemoveAttribute removes an attribute of the text as a whole.
func (t *Text) RemoveAttribute(key string) error {
	return t.later(func(*Transaction) error { return t.entryDelete(key) })
}

// Attribute returns an attribute of the text as a whole.
func (t *Text) Attribute(key string) (any, bool) { return t.entryGet(key) }

// Attributes returns the attributes of the text as a whole.
func (t *Text) Attributes() lib0.Object { return lib0.NewObject(t.entryMembers()) }

// Delta returns the content with its formatting.
func (t *Text) Delta() []Op {
	if t.doc == nil {
		return nil
	}
	return t.doc.delta(t.node, nil, nil)
}

// DeltaAt returns the content at the time of a snapshot. With an earlier snapshot as well, what was added and removed
// in between is marked by the attribute ychange. The document must keep its history.
func (t *Text) DeltaAt(snapshot, previous *Snapshot) []Op {
	if t.doc == nil {
		return nil
	}
	var ops []Op
	t.doc.Transact("cleanup", func(tx *Transaction) {
		for _, s := range []*Snapshot{snapshot, previous} {
			if s != nil {
				t.doc.splitAlong(tx, s)
			}
		}
		ops = t.doc.delta(t.node, snapshot, previous)
	})
	return ops
}

// changeKey is the attribute by which Yjs marks what was added or removed between two snapshots.
const changeKey = "ychange"

// delta returns the content of a text, at the time of a snapshot if one is given.
func (d *Doc) delta(n nodeRef, snapshot, previous *Snapshot) []Op {
	var ops []Op
	var current attrs
	var str []byte
	flush := func() {
		if len(str) > 0 {
			ops = append(ops, Op{Insert: string(str), Attributes: current.object(d)})
			str = str[:0]
		}
	}
	marked := false
	// mark begins a new part for each item that changed, as Yjs does.
	mark := func(change string) {
		switch {
		case change != "":
			flush()
			value := lib0.AppendAny(nil, lib0.Object{{Key: "type", Value: change}})
			current = current.set(attr{key: d.keys.internString(changeKey), value: value})
		case marked:
			flush()
			current = current.without(d.keys.internString(changeKey))
		}
		marked = change != ""
	}
	for r := d.node(n).start; r != 0; r = d.item(r).right {
		it := d.item(r)
		now := d.visible(it, snapshot)
		if !now && (previous == nil || !d.visible(it, previous)) {
			continue
		}
		switch it.kind {
		case kindString:
			switch {
			case snapshot != nil && !now:
				mark("removed")
			case previous != nil && !d.visible(it, previous):
				mark("added")
			default:
				mark("")
			}
			str = d.textOf(it, 0).appendTo(str)
		case kindType, kindEmbed:
			flush()
			ops = append(ops, Op{Insert: d.value(it, 0), Attributes: current.object(d)})
		case kindFormat:
			if now {
				flush()
				current = current.apply(d.formatAttr(r))
			}
		}
	}
	flush()
	return ops
}

// position is a place in a text, between two items, and the formatting there.
type position struct {
	doc         *Doc
	tx          *Transaction
	node        nodeRef
	left, right ref
	current     attrs
}

// findPosition returns the place behind the first index code units, splitting an item there if need be.
func (d *Doc) findPosition(tx *Transaction, n nodeRef, index int) *position {
	pos := &position{doc: d, tx: tx, node: n, right: d.node(n).start}
	if !d.node(n).hasFormatting {
		r, within := d.seek(n, index)
		switch {
		case r != 0:
			it := d.item(r)
			if within < int(it.length) {
				d.cleanStart(tx, it.client, it.clock+uint32(within))
			}
			pos.left, pos.right = r, it.right
		case index > 0:
			pos.left, pos.right = d.node(n).last, 0
		}
		return pos
	}
	for pos.right != 0 && index > 0 {
		it := d.item(pos.right)
		if !it.deleted() && it.kind.countable() {
			if index < int(it.length) {
				d.cleanStart(tx, it.client, it.clock+uint32(index))
			}
			index -= int(it.length)
		}
		pos.forward()
	}
	return pos
}

// forward moves behind the next item.
func (p *position) forward() {
	it := p.doc.item(p.right)
	if it.kind == kindFormat && !it.deleted() {
		p.current = p.current.apply(p.doc.formatAttr(p.right))
	}
	p.left, p.right = p.right, it.right
}

// put moves behind an item that was just inserted here.
func (p *position) put(r ref) {
	p.right = r
	p.forward()
}

func (p *position) insertFormat(a attr) {
	d := p.doc
	data := append(lib0.AppendVarUint(nil, uint64(a.key)), a.value...)
	r := d.insertBlob(p.tx, p.left, p.right, listPlace(p.node), kindFormat, 1, data)
	if a.from != noOrigin && a.compound() {
		if d.sameValues == nil {
			d.sameValues = make(map[origin]origin)
		}
		d.sameValues[originOf(d.item(r))] = a.from
	}
	p.put(r)
}

// insertString adds a string with just the given attributes.
func (p *position) insertString(s string, attributes attrs) {
	p.insertWith(attributes, func() ref {
		return p.doc.insertString(p.tx, p.left, p.right, listPlace(p.node), s)
	})
}

// insertEmbed adds an embedded value or a type with just the given attributes.
func (p *position) insertEmbed(v any, attributes attrs) {
	p.insertWith(attributes, func() ref {
		if s, ok := v.(Shared); ok {
			return p.doc.insertShared(p.tx, p.left, p.right, listPlace(p.node), s)
		}
		data := lib0.AppendAny(nil, v)
		return p.doc.insertBlob(p.tx, p.left, p.right, listPlace(p.node), kindEmbed, 1, data)
	})
}

func (p *position) insertWith(attributes attrs, insert func() ref) {
	for _, a := range p.current {
		if _, ok := attributes.get(a.key); !ok {
			attributes = append(attributes, attr{key: a.key, value: anyNull})
		}
	}
	p.skipEffectless(attributes)
	negated := p.openFormats(attributes)
	p.put(insert())
	p.closeFormats(negated)
}

// skipEffectless moves behind what is deleted and behind formats that the attributes imply anyway.
func (p *position) skipEffectless(attributes attrs) {
	for p.right != 0 {
		if !p.doc.item(p.right).deleted() {
			if p.doc.item(p.right).kind != kindFormat {
				return
			}
			f := p.doc.formatAttr(p.right)
			if !attributes.orNull(f.key).equal(f) {
				return
			}
		}
		p.forward()
	}
}

// openFormats inserts the formats that make the attributes current, and returns what restores those before.
func (p *position) openFormats(attributes attrs) (negated attrs) {
	for _, a := range attributes {
		current := p.current.orNull(a.key)
		if current.equal(a) {
			continue
		}
		negated = negated.set(current)
		p.insertFormat(a)
	}
	return negated
}

// closeFormats inserts the formats that end a range, without those that are there anyway.
func (p *position) closeFormats(negated attrs) {
	for p.right != 0 {
		if !p.doc.item(p.right).deleted() {
			if p.doc.item(p.right).kind != kindFormat {
				break
			}
			f := p.doc.formatAttr(p.right)
			n, ok := negated.get(f.key)
			if !ok || !n.equal(f) {
				break
			}
			negated = negated.without(f.key)
		}
		p.forward()
	}
	for _, a := range negated {
		p.insertFormat(a)
	}
}

// format sets attributes of the next length code units.
func (p *position) format(length int, attributes attrs) {
	d := p.doc
	p.skipEffectless(attributes)
	negated := p.openFormats(attributes)
loop:
	for p.right != 0 {
		it := d.item(p.right)
		if length <= 0 && (len(negated) == 0 || !it.deleted() && it.kind != kindFormat) {
			break
		}
		if !it.deleted() {
			if it.kind == kindFormat {
				f := d.formatAttr(p.right)
				a, ok := attributes.get(f.key)
				switch {
				case !ok:
					p.current = p.current.set(f)
				case a.equal(f):
					negated = negated.without(f.key)
					d.deleteItem(p.tx, p.right)
				case length == 0:
					break loop // What was set before goes on behind the range.
				default:
					negated = negated.set(f)
					d.deleteItem(p.tx, p.right)
				}
			} else {
				if length < int(it.length) {
					d.cleanStart(p.tx, it.client, it.clock+uint32(length))
				}
				length -= int(it.length)
			}
		}
		p.forward()
	}
	if length > 0 {
		// Editors assume that a text ends with a newline that is not part of it.
		p.put(d.insertString(p.tx, p.left, p.right, listPlace(p.node), strings.Repeat("\n", length)))
	}
	p.closeFormats(negated)
}

// remove deletes the next length code units, and the formats that have no effect then.
func (p *position) remove(length int) {
	d := p.doc
	startAttrs := p.current.clone()
	start := p.right
	for length > 0 && p.right != 0 {
		it := d.item(p.right)
		if !it.deleted() {
			switch it.kind {
			case kindType, kindEmbed, kindString:
				if length < int(it.length) {
					d.cleanStart(p.tx, it.client, it.clock+uint32(length))
				}
				length -= int(it.length)
				d.deleteItem(p.tx, p.right)
			}
		}
		p.forward()
	}
	if start != 0 {
		d.cleanGap(p.tx, start, p.right, startAttrs, &p.current)
	}
}
