package crdt

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"collab.dev/operator/editor/crdt/lib0"
)

// Snapshot is a moment in the history of a document: what had been inserted, and what of that was deleted. Together
// with a document that keeps its history it restores the content of that moment.
type Snapshot struct {
	state   StateVector
	deletes deleteSet
}

// Snapshot returns the present moment.
func (d *Doc) Snapshot() *Snapshot {
	return &Snapshot{state: d.StateVector(), deletes: d.deleted()}
}

// Equal reports whether both are the same moment.
func (s *Snapshot) Equal(other *Snapshot) bool {
	return maps.Equal(s.state, other.state) && slices.Equal(s.deletes, other.deletes)
}

// StateVector returns what had been inserted.
func (s *Snapshot) StateVector() StateVector { return maps.Clone(s.state) }

// Encode returns the snapshot in format v1.
func (s *Snapshot) Encode() []byte {
	e := &encoderV1{}
	s.deletes.write(e)
	return append(e.buf, s.state.Encode()...)
}

// EncodeV2 returns the snapshot in format v2.
func (s *Snapshot) EncodeV2() []byte {
	e := &dsEncoderV2{}
	s.deletes.write(e)
	return append(e.buf, s.state.Encode()...)
}

// DecodeSnapshot reads a snapshot in format v1.
func DecodeSnapshot(b []byte) (*Snapshot, error) { return decodeSnapshot(newDecoderV1(b)) }

// DecodeSnapshotV2 reads a snapshot in format v2.
func DecodeSnapshotV2(b []byte) (*Snapshot, error) {
	return decodeSnapshot(&dsDecoderV2{d: lib0.NewDecoder(b)})
}

func decodeSnapshot(dec deleteSetDecoder) (*Snapshot, error) {
	set, err := readDeleteSet(dec, nil)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	state := readStateVector(dec.rest())
	if err := dec.err(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", invalid(err))
	}
	return &Snapshot{state: state, deletes: set.normalize()}, nil
}

// ContainsUpdate reports whether all that an update in format v1 holds had happened at the snapshot.
func (s *Snapshot) ContainsUpdate(update []byte) (bool, error) {
	return s.contains(newDecoderV1(update), len(update))
}

// ContainsUpdateV2 is ContainsUpdate for format v2.
func (s *Snapshot) ContainsUpdateV2(update []byte) (bool, error) {
	return s.contains(newDecoderV2(update), len(update))
}

func (s *Snapshot) contains(dec structDecoder, size int) (bool, error) {
	var r structReader
	r.reset(dec, foreignBudget(size))
	var w wire
	for r.next(&w) {
		if s.state[w.client] < uint64(w.end()) {
			return false, nil
		}
		r.aux = r.aux[:0]
	}
	if r.err != nil {
		return false, r.err
	}
	set, err := readDeleteSet(dec, slices.Clone(s.deletes))
	if err != nil {
		return false, err
	}
	return slices.Equal(set.normalize(), s.deletes), nil
}

// visible reports whether the item is part of the content, at the time of the snapshot if there is one.
func (d *Doc) visible(it *item, s *Snapshot) bool {
	if s == nil {
		return !it.deleted()
	}
	id := d.clients[it.client].id
	return s.state[id] > uint64(it.clock) && !s.deletes.has(id, it.clock)
}

// splitAlong splits the items that a snapshot cuts.
func (d *Doc) splitAlong(tx *Transaction, s *Snapshot) {
	if slices.Contains(tx.splitFor, s) {
		return
	}
	tx.splitFor = append(tx.splitFor, s)
	for id, clock := range s.state {
		if index, ok := d.clientOf(id); ok && clock < uint64(d.clients[index].state) {
			d.cleanStart(tx, index, uint32(clock))
		}
	}
	for _, r := range s.deletes {
		if index, ok := d.clientOf(r.client); ok {
			d.eachIn(tx, index, r, func(ref) {})
		}
	}
}

// DocAt returns a new document with the content at the time of the snapshot. The document must keep its history.
func (d *Doc) DocAt(s *Snapshot, o Options) (*Doc, error) {
	if d.gc {
		return nil, ErrCollected
	}
	for id, clock := range s.state {
		if clock > uint64(d.stateOf(id)) {
			return nil, fmt.Errorf("%w: the document lacks a part of the snapshot", ErrOutOfBounds)
		}
	}
	e := &encoderV2{}
	d.Transact(nil, func(tx *Transaction) {
		var clients []uint32
		for _, i := range d.descending() {
			if s.state[d.clients[i].id] > 0 {
				clients = append(clients, i)
			}
		}
		e.varUint(uint64(len(clients)))
		for _, i := range clients {
			c := d.clients[i]
			end := uint32(s.state[c.id])
			if end < c.state {
				d.cleanStart(tx, i, end)
			}
			d.writeUntil(e, c, end)
		}
		s.deletes.write(e)
	})
	at := NewDoc(o)
	_, err := at.apply(takeScratch(), newDecoderV2(e.finish()), math.MaxUint64, "snapshot")
	return at, err
}

// writeUntil encodes the structs of a client before a clock at which one starts.
func (d *Doc) writeUntil(e structEncoder, c *client, end uint32) {
	var structs []ref
	for _, block := range c.structs.blocks {
		for _, entry := range block {
			if entry.clock < end {
				structs = append(structs, entry.ref)
			}
		}
	}
	e.varUint(uint64(len(structs)))
	e.client(c.id)
	e.varUint(0)
	for _, r := range structs {
		d.writeItem(e, d.item(r), 0)
	}
}
