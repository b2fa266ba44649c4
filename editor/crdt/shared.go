package crdt

import (
	"fmt"
	"strings"

	"collab.dev/operator/editor/crdt/lib0"
)

// Shared is a shared type: *Text, *Array, *Map, *XmlFragment, *XmlElement, *XmlText or *XmlHook. The same type of a
// document is always the same pointer. A type that was made by a constructor is detached: it collects content until
// it is inserted into a document.
type Shared interface {
	// Kind returns the kind of the type.
	Kind() TypeKind
	// Doc returns the document, or nil while the type is detached.
	Doc() *Doc
	// Deleted reports whether the type was deleted from its document.
	Deleted() bool
	// Parent returns the type that holds this one, or nil for a root.
	Parent() Shared
	// JSON returns the content as a value of package lib0: string, []any or lib0.Object.
	JSON() any

	// json is JSON for a type that is nested that deeply.
	json(depth int) any
	base() *handle
}

// handle is what all shared types are made of.
type handle struct {
	doc  *Doc
	node nodeRef
	kind TypeKind
	name string // Of an XML element or hook.

	// The content of a detached type.
	list    []any
	members []lib0.Member
	edits   []func() error
}

func (h *handle) base() *handle { return h }

// Kind implements Shared.
func (h *handle) Kind() TypeKind { return h.kind }

// Doc implements Shared.
func (h *handle) Doc() *Doc { return h.doc }

// Deleted implements Shared.
func (h *handle) Deleted() bool { return h.doc != nil && h.doc.nodeDeleted(h.node) }

// Parent implements Shared.
func (h *handle) Parent() Shared {
	if h.doc == nil {
		return nil
	}
	nd := h.doc.node(h.node)
	if nd.item == 0 {
		return nil
	}
	return h.doc.shared(h.doc.nodeOf(h.doc.item(nd.item).place))
}

// edit runs f in a transaction if the type is part of a document.
func (h *handle) edit(f func(tx *Transaction) error) (err error) {
	if h.doc == nil || h.doc.node(h.node).collected {
		return ErrDetached
	}
	h.doc.Transact(nil, func(tx *Transaction) { err = f(tx) })
	return err
}

func newShared(h handle) Shared {
	switch h.kind {
	case KindArray:
		return &Array{handle: h}
	case KindMap:
		return &Map{handle: h}
	case KindText:
		return &Text{handle: h}
	case KindXmlElement:
		return &XmlElement{XmlFragment{handle: h}}
	case KindXmlFragment:
		return &XmlFragment{handle: h}
	case KindXmlHook:
		return &XmlHook{Map{handle: h}}
	case KindXmlText:
		return &XmlText{Text{handle: h}}
	default:
		return &Untyped{handle: h}
	}
}

// Untyped is a root type that the program has not defined yet.
type Untyped struct{ handle }

// JSON implements Shared: nothing is known of the type.
func (u *Untyped) JSON() any { return u.json(0) }

func (u *Untyped) json(int) any { return lib0.Undefined{} }

// shared returns the type of a node.
func (d *Doc) shared(n nodeRef) Shared {
	if s, ok := d.handles[n]; ok {
		return s
	}
	nd := d.node(n)
	s := newShared(handle{doc: d, node: n, kind: nd.kind, name: d.keys.name(nd.name)})
	if d.handles == nil {
		d.handles = make(map[nodeRef]Shared)
	}
	d.handles[n] = s
	return s
}

// root returns the root type of a name as the kind that the program uses it as. The first use defines it. Asking for
// it as another kind later is a mistake of the program, which panics.
func (d *Doc) root(name string, k TypeKind) Shared {
	n := d.rootNode(d.keys.internString(name))
	nd := d.node(n)
	if nd.kind == KindUndefined {
		nd.kind = k
		nd.hasFormatting = false // As in Yjs, which notices formats that arrive after the definition.
		delete(d.handles, n)
	}
	if nd.kind != k {
		panic(fmt.Sprintf("crdt: root type %q is %v and not %v", name, nd.kind, k))
	}
	return d.shared(n)
}

// Text returns the root text of that name. Like its siblings it panics if the program uses the name for another kind.
func (d *Doc) Text(name string) *Text { return d.root(name, KindText).(*Text) }

// Array returns the root array of that name.
func (d *Doc) Array(name string) *Array { return d.root(name, KindArray).(*Array) }

// Map returns the root map of that name.
func (d *Doc) Map(name string) *Map { return d.root(name, KindMap).(*Map) }

// XmlFragment returns the root fragment of that name.
func (d *Doc) XmlFragment(name string) *XmlFragment {
	return d.root(name, KindXmlFragment).(*XmlFragment)
}

// XmlElement returns the root element of that name, whose node name is UNDEFINED.
func (d *Doc) XmlElement(name string) *XmlElement { return d.root(name, KindXmlElement).(*XmlElement) }

// XmlText returns the root XML text of that name.
func (d *Doc) XmlText(name string) *XmlText { return d.root(name, KindXmlText).(*XmlText) }

// Roots returns the names of the root types that the document knows, with their kinds, in order of appearance.
func (d *Doc) Roots() []Root {
	out := make([]Root, len(d.rootOrder))
	for i, n := range d.rootOrder {
		out[i] = Root{Name: d.keys.name(d.node(n).name), Kind: d.node(n).kind}
	}
	return out
}

// Root is the name and the kind of a root type.
type Root struct {
	Name string
	Kind TypeKind // KindUndefined until the program defines it.
}

// JSON returns the defined root types as an object of their contents.
func (d *Doc) JSON() lib0.Object {
	members := make([]lib0.Member, 0, len(d.rootOrder))
	for _, n := range d.rootOrder {
		members = append(members, lib0.Member{Key: d.keys.name(d.node(n).name), Value: d.shared(n).JSON()})
	}
	return lib0.NewObject(members)
}

// ensureRoom picks a new client id if the own one cannot number n more insertions.
func (d *Doc) ensureRoom(n int) {
	if uint64(d.stateOf(d.clientID))+uint64(n) > MaxClock {
		d.clientID = randomClientID()
	}
}

// own returns the client that local edits belong to, which has room for n more insertions.
func (d *Doc) own(n int) (uint32, *client) {
	d.ensureRoom(n)
	i := d.makeClient(d.clientID)
	return i, d.clients[i]
}

// insert adds a new item of the own client between two neighbors.
func (d *Doc) insert(tx *Transaction, left, right ref, p place, k kind, length int, content uint32) ref {
	index, c := d.own(0)
	r := ref(d.items.alloc())
	it := d.item(r)
	*it = item{
		clock: c.state, length: uint32(length), client: index, originClient: noClient, rightClient: noClient,
		left: left, right: right, place: p, kind: k, content: content,
	}
	if left != 0 {
		l := d.item(left)
		it.originClient, it.originClock = l.client, l.end()-1
	}
	if right != 0 {
		r := d.item(right)
		it.rightClient, it.rightClock = r.client, r.clock
	}
	d.integrate(tx, r)
	return r
}

// insertString adds a string of the own client between two neighbors and returns the item that ends with it.
func (d *Doc) insertString(tx *Transaction, left, right ref, p place, s string) ref {
	_, c := d.own(len(s))
	at := c.storeString([]byte(strings.ToValidUTF8(s, "\uFFFD")))
	return d.insert(tx, left, right, p, kindString, c.text.len()-int(at), at)
}

// insertBlob adds content of another kind, which encode appends to the own client's contents.
func (d *Doc) insertBlob(tx *Transaction, left, right ref, p place, k kind, length int, data []byte) ref {
	_, c := d.own(length)
	at := len(c.blob)
	c.blob = append(c.blob, data...)
	r := d.insert(tx, left, right, p, k, length, uint32(at))
	c.mark(d.item(r))
	return r
}

// insertShared adds a detached type and what it holds already.
func (d *Doc) insertShared(tx *Transaction, left, right ref, p place, s Shared) ref {
	h := s.base()
	n := nodeRef(d.nodes.alloc())
	*d.node(n) = node{kind: h.kind}
	if h.kind == KindXmlElement || h.kind == KindXmlHook {
		d.node(n).name = d.keys.internString(h.name)
	}
	r := d.insert(tx, left, right, p, kindType, 1, uint32(n))
	if d.handles == nil {
		d.handles = make(map[nodeRef]Shared)
	}
	d.handles[n] = s
	h.doc, h.node = d, n
	list, members, edits := h.list, h.members, h.edits
	h.list, h.members, h.edits = nil, nil, nil
	for _, f := range edits {
		_ = f() // Was checked when it was made.
	}
	if len(list) > 0 {
		d.insertValues(tx, n, 0, list)
	}
	for _, m := range members {
		d.setEntry(tx, n, m.Key, m.Value)
	}
	return r
}

// checkValue reports whether a value can be part of a list or a map.
func checkValue(v any) error {
	switch v := v.(type) {
	case Shared:
		if v.base().doc != nil {
			return fmt.Errorf("%w: the type is part of a document already", ErrUnsupportedValue)
		}
		if v.Kind() == KindUndefined {
			return fmt.Errorf("%w: the type has no kind", ErrUnsupportedValue)
		}
		return nil
	case *Subdoc:
		return nil
	}
	if !lib0.Supported(v) {
		return fmt.Errorf("%w: %T", ErrUnsupportedValue, v)
	}
	return nil
}

func checkValues(values []any) error {
	for _, v := range values {
		if err := checkValue(v); err != nil {
			return err
		}
	}
	return nil
}

// insertValue adds a single value of its own item.
func (d *Doc) insertValue(tx *Transaction, left, right ref, p place, v any) ref {
	switch v := v.(type) {
	case Shared:
		return d.insertShared(tx, left, right, p, v)
	case *Subdoc:
		d.subdocs = append(d.subdocs, v)
		d.ensureRoom(1)
		return d.insert(tx, left, right, p, kindDoc, 1, uint32(len(d.subdocs)-1))
	case []byte:
		return d.insertBlob(tx, left, right, p, kindBinary, 1, lib0.AppendVarBytes(nil, v))
	default:
		return d.insertBlob(tx, left, right, p, kindAny, 1, lib0.AppendAny(nil, v))
	}
}

// insertValues adds values behind left; plain ones that follow each other share an item.
func (d *Doc) insertValues(tx *Transaction, n nodeRef, left ref, values []any) {
	p := listPlace(n)
	right := d.node(n).start
	if left != 0 {
		right = d.item(left).right
	}
	var packed []byte
	count := 0
	flush := func() {
		if count > 0 {
			left = d.insertBlob(tx, left, right, p, kindAny, count, packed)
			packed, count = packed[:0], 0
		}
	}
	for _, v := range values {
		switch v.(type) {
		case Shared, *Subdoc, []byte:
			flush()
			left = d.insertValue(tx, left, right, p, v)
		default:
			packed = lib0.AppendAny(packed, v)
			count++
		}
	}
	flush()
}

// insertValuesAt adds values at a position.
func (d *Doc) insertValuesAt(tx *Transaction, n nodeRef, index int, values []any) error {
	if index < 0 || index > int(d.node(n).length) {
		return ErrOutOfBounds
	}
	left, within := d.seek(n, index)
	if left != 0 && within < int(d.item(left).length) {
		it := d.item(left)
		d.cleanStart(tx, it.client, it.clock+uint32(within))
	}
	d.insertValues(tx, n, left, values)
	return nil
}

// deleteValues removes elements of a list.
func (d *Doc) deleteValues(tx *Transaction, n nodeRef, index, length int) error {
	if index < 0 || length < 0 || index+length > int(d.node(n).length) {
		return ErrOutOfBounds
	}
	if length == 0 {
		return nil
	}
	r, within := d.seek(n, index)
	switch {
	case r == 0:
		r = d.node(n).start
	case within < int(d.item(r).length):
		it := d.item(r)
		r = d.cleanStart(tx, it.client, it.clock+uint32(within))
	default:
		r = d.item(r).right
	}
	for length > 0 && r != 0 {
		it := d.item(r)
		if !it.deleted() {
			if it.kind.countable() {
				if length < int(it.length) {
					d.cleanStart(tx, it.client, it.clock+uint32(length))
				}
				length -= int(it.length)
				d.deleteItem(tx, r)
			}
		}
		r = it.right
	}
	return nil
}

// setEntry sets an entry of a map.
func (d *Doc) setEntry(tx *Transaction, n nodeRef, key string, v any) {
	e := d.makeEntry(n, d.keys.internString(key))
	d.insertValue(tx, d.entry(e).item, 0, entryPlace(e), v)
}

// deleteEntry removes an entry of a map.
func (d *Doc) deleteEntry(tx *Transaction, n nodeRef, key string) {
	if r := d.currentOf(n, key); r != 0 {
		d.deleteItem(tx, r)
	}
}

// currentOf returns the newest item of an entry, which may be deleted.
func (d *Doc) currentOf(n nodeRef, key string) ref {
	k, ok := d.keys.index[key]
	if !ok {
		return 0
	}
	e := d.findEntry(n, k)
	if e == 0 {
		return 0
	}
	return d.entry(e).item
}

// value returns the element of an item.
func (d *Doc) value(it *item, index uint32) any {
	switch it.kind {
	case kindString:
		return string(d.textOf(it, index).slice(0, 1).appendTo(nil))
	case kindAny:
		r := d.valuesOf(it, index)
		return cloneBytes(r.Any())
	case kindJSON:
		r := d.valuesOf(it, index)
		return jsonValue(r.VarBytes())
	case kindBinary:
		r := lib0.NewDecoder(d.blobOf(it))
		return append([]byte{}, r.VarBytes()...)
	case kindEmbed:
		r := lib0.NewDecoder(d.blobOf(it))
		return cloneBytes(r.Any())
	case kindType:
		return d.shared(nodeRef(it.content))
	case kindDoc:
		return d.subdocs[it.content]
	}
	return nil
}

// values appends the elements of an item from one to another.
func (d *Doc) values(out []any, it *item, from, to uint32) []any {
	switch it.kind {
	case kindAny:
		r := d.valuesOf(it, from)
		for range to - from {
			out = append(out, cloneBytes(r.Any()))
		}
	case kindJSON:
		r := d.valuesOf(it, from)
		for range to - from {
			out = append(out, jsonValue(r.VarBytes()))
		}
	default:
		for i := from; i < to; i++ {
			out = append(out, d.value(it, i))
		}
	}
	return out
}

// jsonValue parses a text that was checked when it was read.
func jsonValue(text []byte) any {
	if string(text) == "undefined" {
		return lib0.Undefined{}
	}
	v, err := lib0.ParseJSON(text)
	if err != nil {
		return lib0.Undefined{}
	}
	return v
}

// cloneBytes copies byte slices, which alias the document.
func cloneBytes(v any) any {
	switch v := v.(type) {
	case []byte:
		return append([]byte{}, v...)
	case []any:
		for i := range v {
			v[i] = cloneBytes(v[i])
		}
	case lib0.Object:
		for i := range v {
			v[i].Value = cloneBytes(v[i].Value)
		}
	}
	return v
}

// listValues returns the elements of a list from one position to another.
func (d *Doc) listValues(n nodeRef, from, to int) []any {
	var out []any
	r, within := d.seek(n, from)
	if r == 0 {
		r, within = d.node(n).start, 0
	}
	left := to - from
	for ; r != 0 && left > 0; r = d.item(r).right {
		it := d.item(r)
		if it.deleted() || !it.kind.countable() {
			continue
		}
		if within >= int(it.length) {
			within = 0
			continue
		}
		n := min(int(it.length)-within, left)
		out = d.values(out, it, uint32(within), uint32(within+n))
		within = 0
		left -= n
	}
	return out
}

// MaxNesting bounds how deeply types within types are shown by JSON and String: what is nested deeper is left out.
// Peers can nest them without bound, and showing them takes stack; Yjs fails at a few thousand.
const MaxNesting = 1000

// toJSON turns a shared type, nested that deeply, into JSON.
func toJSON(v any, depth int) any {
	switch v := v.(type) {
	case Shared:
		if depth > MaxNesting {
			return nil
		}
		return v.json(depth)
	case *Subdoc:
		return lib0.Object{}
	}
	return v
}

// members returns the live entries of a map, in the order in which the keys appeared.
func (d *Doc) members(n nodeRef) []lib0.Member {
	var out []lib0.Member
	for e := d.node(n).firstEntry; e != 0; e = d.entry(e).next {
		r := d.entry(e).item
		if r == 0 {
			continue
		}
		if it := d.item(r); !it.deleted() {
			out = append(out, lib0.Member{Key: d.keys.name(d.entry(e).key), Value: d.value(it, it.length-1)})
		}
	}
	return out
}
