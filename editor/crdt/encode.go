package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// EncodeStateAsUpdate returns, as an update in format v1, what a peer with the encoded state vector sv lacks; an empty
// sv asks for the whole document. Updates that wait for others are part of it.
func (d *Doc) EncodeStateAsUpdate(sv []byte) ([]byte, error) {
	known, err := DecodeStateVector(sv)
	if err != nil {
		return nil, err
	}
	return d.withPending(d.encodeState(&encoderV1{buf: make([]byte, 0, d.sizeHint(sv))}, known), formatV1, known)
}

// EncodeStateAsUpdateV2 is EncodeStateAsUpdate for format v2.
func (d *Doc) EncodeStateAsUpdateV2(sv []byte) ([]byte, error) {
	known, err := DecodeStateVector(sv)
	if err != nil {
		return nil, err
	}
	return d.withPending(d.encodeState(&encoderV2{}, known), formatV2, known)
}

// withPending joins an update of the document's state with what waits. As in Yjs, that gives the structs the form of
// merged ones even if the peer has all that waits.
func (d *Doc) withPending(update []byte, f format, known StateVector) ([]byte, error) {
	if !d.HasPending() {
		return update, nil
	}
	return mergeOrdered(append([][]byte{update}, d.pending.updates(f, known)...), f.ofOurs())
}

// sizeHint guesses the size of an update.
func (d *Doc) sizeHint(sv []byte) int {
	if len(sv) > 1 {
		return 256
	}
	n := 64 + 16*d.items.live()
	for _, c := range d.clients {
		n += c.text.len() - c.textGarbage + len(c.blob) - c.blobGarbage
	}
	return n
}

func (d *Doc) encodeState(e structEncoder, known StateVector) []byte {
	clients := 0
	for _, c := range d.clients {
		if uint64(c.state) > known[c.id] {
			clients++
		}
	}
	e.varUint(uint64(clients))
	for _, i := range d.descending() {
		c := d.clients[i]
		if from := known[c.id]; uint64(c.state) > from {
			d.writeClient(e, c, uint32(from))
		}
	}
	d.deleted().write(e)
	return e.finish()
}

// encodeTransaction returns what a transaction did as an update. later are the transactions that follow it in the
// queue; what they have added already is part of the update, as in Yjs.
func (d *Doc) encodeTransaction(e structEncoder, tx *Transaction, affected []touched) []byte {
	e.varUint(uint64(len(affected)))
	if len(affected) == 1 {
		d.writeClient(e, d.clients[affected[0].client], affected[0].before)
	} else if len(affected) > 1 {
		before := make(map[uint32]uint32, len(affected))
		for _, t := range affected {
			before[t.client] = t.before
		}
		for _, i := range d.descending() {
			if from, ok := before[i]; ok {
				d.writeClient(e, d.clients[i], from)
			}
		}
	}
	tx.deletes.write(e)
	return e.finish()
}

// writeClient encodes the structs of a client from a clock on.
func (d *Doc) writeClient(e structEncoder, c *client, from uint32) {
	s := c.structs.find(from)
	e.varUint(uint64(c.structs.countFrom(s)))
	e.client(c.id)
	e.varUint(uint64(from))
	first := d.item(c.structs.at(s))
	d.writeItem(e, first, from-first.clock)
	for i, block := range c.structs.blocks[s.block:] {
		if i == 0 {
			block = block[s.index+1:]
		}
		for _, entry := range block {
			d.writeItem(e, d.item(entry.ref), 0)
		}
	}
}

// writeItem encodes an item from offset on.
func (d *Doc) writeItem(e structEncoder, it *item, offset uint32) {
	if it.kind == kindGC {
		e.info(byte(kindGC))
		e.length(uint64(it.length - offset))
		return
	}
	info := byte(it.kind)
	origin, originClock := it.originClient, it.originClock
	if offset > 0 {
		origin, originClock = it.client, it.clock+offset-1
	}
	if origin != noClient {
		info |= 0x80
	}
	if it.hasRightOrigin() {
		info |= 0x40
	}
	if it.place.isEntry() {
		info |= 0x20
	}
	e.info(info)
	if origin != noClient {
		e.leftID(d.clients[origin].id, uint64(originClock))
	}
	if it.hasRightOrigin() {
		e.rightID(d.clients[it.rightClient].id, uint64(it.rightClock))
	}
	if info&0xC0 == 0 {
		parent := d.node(d.nodeOf(it.place))
		if parent.item == 0 {
			e.parentIsRoot(true)
			e.str([]byte(d.keys.name(parent.name)))
		} else {
			holder := d.item(parent.item)
			e.parentIsRoot(false)
			e.leftID(d.clients[holder.client].id, uint64(holder.clock))
		}
		if it.place.isEntry() {
			e.str([]byte(d.keys.name(d.entry(it.place.entry()).key)))
		}
	}
	d.writeContent(e, it, offset)
}

func (d *Doc) writeContent(e structEncoder, it *item, offset uint32) {
	switch it.kind {
	case kindDeleted:
		e.length(uint64(it.length - offset))
	case kindString:
		e.units(d.textOf(it, offset))
	case kindAny:
		e.length(uint64(it.length - offset))
		c := d.clients[it.client]
		e.raw(c.blob[c.valuesFrom(it, offset):c.valuesFrom(it, it.length)])
	case kindJSON:
		e.length(uint64(it.length - offset))
		texts := d.valuesOf(it, offset)
		for range it.length - offset {
			e.str(texts.VarBytes())
		}
	case kindBinary:
		r := lib0.NewDecoder(d.blobOf(it))
		e.bytes(r.VarBytes())
	case kindEmbed:
		r := lib0.NewDecoder(d.blobOf(it))
		e.json(r.AnyBytes())
	case kindFormat:
		key, value := d.formatOf(it)
		e.key([]byte(d.keys.name(key)))
		e.json(value)
	case kindType:
		nd := d.node(nodeRef(it.content))
		e.typeRef(uint64(nd.kind))
		if nd.kind == KindXmlElement || nd.kind == KindXmlHook {
			e.key([]byte(d.keys.name(nd.name)))
		}
	case kindDoc:
		s := d.subdocs[it.content]
		e.str([]byte(s.guid))
		e.raw(s.encodedOptions())
	}
}
