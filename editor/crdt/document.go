package crdt

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"collab.dev/operator/editor/crdt/lib0"
)

// Options configure a Doc. The zero value is a garbage collecting document with random ids.
type Options struct {
	// ClientID is the id under which local edits are made. Zero picks a random one. Two documents that edit at the
	// same time must never share an id.
	ClientID uint64
	// GUID names the document. Empty picks a random UUID.
	GUID string
	// KeepHistory turns garbage collection off: what was deleted keeps its content, and snapshots can restore it.
	KeepHistory bool
	// Meta is a value that is stored with a subdocument; nil for none.
	Meta any
	// AutoLoad asks the peers that see this document as a subdocument to load it at once.
	AutoLoad bool
}

// Doc is a Yjs document. It is not safe for concurrent use.
type Doc struct {
	clientID uint64
	guid     string
	gc       bool
	meta     any
	autoLoad bool

	items   slab[item]
	nodes   slab[node]
	entries slab[entry]
	keys    keyTable

	// entryIndex finds the entries of nodes that have many.
	entryIndex map[entryKey]entryRef

	roots     map[keyRef]nodeRef
	rootOrder []nodeRef

	clients     []*client
	ids         []uint64 // Those of clients, side by side for comparing many.
	clientIndex map[uint64]uint32
	lastClient  uint32   // The index of the client that was looked up last.
	order       []uint32 // Indices of clients by falling id; nil if out of date.

	subdocs []*Subdoc

	formatted bool // Whether there ever was a format.
	// sameValues tells which formats, of those that were made here, share an object with an earlier one.
	sameValues map[origin]origin

	pending pending

	tx       *Transaction
	queue    []*Transaction // Transactions that wait for their clean-up, the current one first.
	idle     *Transaction   // A finished transaction, for reuse.
	sequence uint64         // Numbers transactions.

	listeners listeners
	handles   map[nodeRef]Shared
	indexes   map[nodeRef]*positionIndex
	leafOf    []uint32 // The leaf of each item in an index; nil without an index.
	conflicts conflictScratch
}

// NewDoc returns an empty document.
func NewDoc(o Options) *Doc {
	d := &Doc{
		clientID: o.ClientID,
		guid:     o.GUID,
		gc:       !o.KeepHistory,
		meta:     o.Meta,
		autoLoad: o.AutoLoad,
	}
	d.keys.add("") // The root type of the empty name, and the name of types without one.
	if d.clientID == 0 {
		d.clientID = randomClientID()
	}
	if d.guid == "" {
		d.guid = randomGUID()
	}
	return d
}

func randomClientID() uint64 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // Never fails.
	return uint64(binary.BigEndian.Uint32(b[:]))
}

func randomGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // Never fails.
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ClientID returns the id under which local edits are made. It changes when an update shows that another peer uses it.
func (d *Doc) ClientID() uint64 { return d.clientID }

// SetClientID sets the id under which local edits are made from the next transaction on.
func (d *Doc) SetClientID(id uint64) { d.clientID = id }

// GUID returns the document's name.
func (d *Doc) GUID() string { return d.guid }

// HasPending reports whether the document holds updates that it cannot integrate yet because what they build upon is
// missing. They are part of what it encodes.
func (d *Doc) HasPending() bool { return !d.pending.empty() }

// Stats tells what a document consists of.
type Stats struct {
	Clients int // Clients that contributed.
	Structs int // Items and garbage collected ranges.
	Types   int // Shared types, roots included.
}

// Stats returns what the document consists of.
func (d *Doc) Stats() Stats {
	s := Stats{Types: d.nodes.live()}
	for _, c := range d.clients {
		if c.state > 0 {
			s.Clients++
			s.Structs += c.structs.count()
		}
	}
	return s
}

func (d *Doc) item(r ref) *item { return d.items.at(uint32(r)) }

func (d *Doc) node(n nodeRef) *node { return d.nodes.at(uint32(n)) }

func (d *Doc) entry(e entryRef) *entry { return d.entries.at(uint32(e)) }

// nodeOf returns the type that a place belongs to.
func (d *Doc) nodeOf(p place) nodeRef {
	if p.isEntry() {
		return d.entry(p.entry()).node
	}
	return p.list()
}

// clientOf returns the index of a client that the document knows.
func (d *Doc) clientOf(id uint64) (uint32, bool) {
	if int(d.lastClient) < len(d.clients) && d.clients[d.lastClient].id == id {
		return d.lastClient, true
	}
	c, ok := d.clientIndex[id]
	if ok {
		d.lastClient = c
	}
	return c, ok
}

// makeClient returns the index of a client, which it adds if need be.
func (d *Doc) makeClient(id uint64) uint32 {
	if c, ok := d.clientOf(id); ok {
		return c
	}
	c := uint32(len(d.clients))
	d.clients = append(d.clients, &client{id: id})
	d.ids = append(d.ids, id)
	if d.clientIndex == nil {
		d.clientIndex = make(map[uint64]uint32)
	}
	d.clientIndex[id] = c
	d.lastClient = c
	d.order = nil
	return c
}

// stateOf returns the next clock that is expected of a client.
func (d *Doc) stateOf(id uint64) uint32 {
	if c, ok := d.clientOf(id); ok {
		return d.clients[c].state
	}
	return 0
}

// descending returns the indices of all clients, the highest id first, as Yjs writes them.
func (d *Doc) descending() []uint32 {
	if d.order == nil {
		d.order = make([]uint32, len(d.clients))
		for i := range d.order {
			d.order[i] = uint32(i)
		}
		slices.SortFunc(d.order, func(a, b uint32) int {
			if d.clients[a].id > d.clients[b].id {
				return -1
			}
			return 1
		})
	}
	return d.order
}

// rootNode returns the root type of a name, which it adds if need be.
func (d *Doc) rootNode(key keyRef) nodeRef {
	if n, ok := d.roots[key]; ok {
		return n
	}
	n := nodeRef(d.nodes.alloc())
	*d.node(n) = node{name: key, kind: KindUndefined}
	if d.roots == nil {
		d.roots = make(map[keyRef]nodeRef)
	}
	d.roots[key] = n
	d.rootOrder = append(d.rootOrder, n)
	return n
}

// StateVector maps each client to the next clock that is expected of it.
type StateVector map[uint64]uint64

// StateVector returns what the document has integrated.
func (d *Doc) StateVector() StateVector {
	sv := make(StateVector, len(d.clients))
	for _, c := range d.clients {
		if c.state > 0 {
			sv[c.id] = uint64(c.state)
		}
	}
	return sv
}

// EncodeStateVector returns the encoded state vector, with which another peer computes what this document lacks.
func (d *Doc) EncodeStateVector() []byte {
	n := 0
	for _, c := range d.clients {
		if c.state > 0 {
			n++
		}
	}
	out := lib0.AppendVarUint(make([]byte, 0, 5+n*8), uint64(n))
	for _, i := range d.descending() {
		if c := d.clients[i]; c.state > 0 {
			out = lib0.AppendVarUint(out, c.id)
			out = lib0.AppendVarUint(out, uint64(c.state))
		}
	}
	return out
}

// Encode returns the state vector as Yjs encodes it.
func (sv StateVector) Encode() []byte {
	ids := make([]uint64, 0, len(sv))
	for id := range sv {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	out := lib0.AppendVarUint(nil, uint64(len(ids)))
	for _, id := range slices.Backward(ids) {
		out = lib0.AppendVarUint(out, id)
		out = lib0.AppendVarUint(out, sv[id])
	}
	return out
}

// DecodeStateVector reads an encoded state vector. Empty input is the empty vector.
func DecodeStateVector(b []byte) (StateVector, error) {
	if len(b) == 0 {
		return StateVector{}, nil
	}
	d := lib0.NewDecoder(b)
	sv := readStateVector(&d)
	if err := d.Err(); err != nil {
		return nil, fmt.Errorf("state vector: %w", invalid(err))
	}
	return sv, nil
}

func readStateVector(d *lib0.Decoder) StateVector {
	n := d.VarUint()
	sv := make(StateVector, min(n, uint64(d.Len()/2)))
	for i := uint64(0); i < n && d.Err() == nil; i++ {
		id := d.VarUint()
		clock := d.VarUint()
		if d.Err() == nil {
			sv[id] = clock
		}
	}
	return sv
}
