package crdt

import (
	"fmt"

	"collab.dev/operator/editor/crdt/lib0"
)

// RelativePosition is a position in a list or a text that stays with its neighbors while others edit: it names the
// element behind it, or with a negative Assoc the one before it, or else the type at whose end it is.
//
// In JSON it is what relativePositionToJSON of Yjs returns, which bindings of editors put into presence.
type RelativePosition struct {
	// Type is the item that holds the type, nil for a root type.
	Type *ID `json:"type,omitempty"`
	// Root is the name of the root type; it counts if Type and Item are nil.
	Root string `json:"tname,omitempty"`
	// Item is the element, nil for the end of the type.
	Item *ID `json:"item,omitempty"`
	// Assoc tells to which side the position belongs: to the right if it is 0 or more.
	Assoc int `json:"assoc"`
}

// ID names an element of a document: the client that inserted it and its number there.
type ID struct {
	Client uint64 `json:"client"`
	Clock  uint64 `json:"clock"`
}

// AbsolutePosition is where a RelativePosition is now.
type AbsolutePosition struct {
	Type  Shared
	Index int
	Assoc int
}

func (d *Doc) idOf(it *item, offset uint32) *ID {
	return &ID{d.clients[it.client].id, uint64(it.clock + offset)}
}

// RelativePosition returns the position before the element at index.
func (d *Doc) RelativePosition(s Shared, index, assoc int) (RelativePosition, error) {
	h := s.base()
	if h.doc != d || d.node(h.node).collected {
		return RelativePosition{}, ErrDetached
	}
	if index < 0 {
		return RelativePosition{}, ErrOutOfBounds
	}
	p := RelativePosition{Assoc: assoc}
	nd := d.node(h.node)
	if nd.item == 0 {
		p.Root = d.keys.name(nd.name)
	} else {
		p.Type = d.idOf(d.item(nd.item), 0)
	}
	if assoc < 0 {
		if index == 0 {
			return p, nil
		}
		index--
	}
	if r, within := d.seek(h.node, index+1); r != 0 {
		p.Item = d.idOf(d.item(r), uint32(within-1))
	} else if assoc < 0 && nd.last != 0 {
		last := d.item(nd.last)
		p.Item = d.idOf(last, last.length-1)
	}
	return p, nil
}

// AbsolutePosition returns where the position is now. It reports false if what it refers to is unknown or was garbage
// collected.
func (d *Doc) AbsolutePosition(p RelativePosition) (AbsolutePosition, bool) {
	out := AbsolutePosition{Assoc: p.Assoc}
	known := func(id *ID) (ref, bool) {
		c, ok := d.clientOf(id.Client)
		if !ok || id.Clock >= uint64(d.clients[c].state) {
			return 0, false
		}
		r := d.find(c, uint32(id.Clock))
		return r, d.item(r).kind != kindGC
	}
	if p.Item != nil {
		r, ok := known(p.Item)
		if !ok {
			return out, false
		}
		it := d.item(r)
		n := d.nodeOf(it.place)
		out.Type = d.shared(n)
		if d.nodeDeleted(n) {
			return out, true
		}
		if !it.deleted() && it.kind.countable() {
			out.Index = int(uint32(p.Item.Clock) - it.clock)
			if p.Assoc < 0 {
				out.Index++
			}
		}
		out.Index += d.indexOf(r)
		return out, true
	}
	n := nodeRef(0)
	if p.Type != nil {
		r, ok := known(p.Type)
		if !ok || d.item(r).kind != kindType {
			return out, false
		}
		n = nodeRef(d.item(r).content)
	} else {
		n = d.rootNode(d.keys.internString(p.Root))
	}
	out.Type = d.shared(n)
	if p.Assoc >= 0 {
		out.Index = int(d.node(n).length)
	}
	return out, true
}

// Encode returns the position as Yjs encodes it.
func (p RelativePosition) Encode() []byte {
	var out []byte
	appendID := func(id *ID) {
		out = lib0.AppendVarUint(lib0.AppendVarUint(out, id.Client), id.Clock)
	}
	switch {
	case p.Item != nil:
		out = append(out, 0)
		appendID(p.Item)
	case p.Type != nil:
		out = append(out, 2)
		appendID(p.Type)
	default:
		out = lib0.AppendVarString(append(out, 1), p.Root)
	}
	if p.Assoc < 0 {
		return lib0.AppendVarInt(out, uint64(-p.Assoc), true)
	}
	return lib0.AppendVarInt(out, uint64(p.Assoc), false)
}

// DecodeRelativePosition reads an encoded position.
func DecodeRelativePosition(b []byte) (RelativePosition, error) {
	var p RelativePosition
	d := lib0.NewDecoder(b)
	readID := func() *ID { return &ID{d.VarUint(), d.VarUint()} }
	switch tag := d.VarUint(); tag {
	case 0:
		p.Item = readID()
	case 1:
		p.Root = string(d.VarString())
	case 2:
		p.Type = readID()
	default:
		return p, fmt.Errorf("relative position: %w", invalidf("unknown tag %d", tag))
	}
	if d.Err() == nil && d.Len() > 0 {
		assoc, negative := d.VarInt()
		p.Assoc = int(assoc)
		if negative {
			p.Assoc = -p.Assoc
		}
	}
	if err := d.Err(); err != nil {
		return p, fmt.Errorf("relative position: %w", invalid(err))
	}
	return p, nil
}
