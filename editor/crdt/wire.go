package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// wire is a struct as an update carries it. Its byte slices alias the update where that is canonical.
type wire struct {
	client uint64
	// Client and clock of the origins; flags tell which exist. Without either, originClient and originClock are the
	// parent's id unless aux has its name.
	originClient, rightClient uint64
	originClock, rightClock   uint32
	clock, length             uint32
	aux                       uint32 // 1 + the index of the strings in wireAux, 0 if there are none.
	kind                      kind
	flags                     uint8
	typeKind                  TypeKind
	// data is the content: the string (String), its values in the any encoding, one after the other (Any, Embed,
	// Format, Doc), its texts behind their lengths (JSON) or the bytes (Binary).
	data []byte
}

const (
	wireOrigin uint8 = 1 << iota
	wireRight
	wireRoot   // The parent is the root type wireAux.root.
	wireParent // The parent is a struct.
	wireSub    // The struct belongs to the map entry wireAux.sub.
)

// wireAux holds the strings that few structs have.
type wireAux struct {
	root, sub []byte
	key       []byte // The name of a type, the key of a format, the guid of a document.
}

func (w *wire) end() uint32 { return w.clock + w.length }

// structDecoder reads the primitives of one update format. Errors stick, as in lib0.
type structDecoder interface {
	rest() *lib0.Decoder
	err() error
	client() uint64
	info() byte
	leftID() (client, clock uint64)
	rightID() (client, clock uint64)
	str() []byte
	parentIsRoot() bool
	typeRef() uint64
	length() uint64
	json() []byte // As a value in the any encoding.
	bytes() []byte
	key() []byte
	deleteSetDecoder
}

// deleteSetDecoder reads the primitives of a delete set.
type deleteSetDecoder interface {
	rest() *lib0.Decoder
	err() error
	resetDeletes()
	deleteClock() uint64
	deleteLength() uint64
}

// A short update can stand for many structs where format v2 run-length encodes all that tells them apart. A reader
// accepts freeStructs of them, and beyond that structsPerByte for each byte of its input, which no update in format v1
// has. Yjs makes such updates too, of text that was typed backwards and deleted, so that this cannot be little.
const (
	freeStructs    = 1 << 20
	structsPerByte = 4
)

// structReader reads the structs of an update one after the other.
type structReader struct {
	dec      structDecoder
	sections uint64 // How many clients are still to come.
	structs  uint64 // How many structs of the current client are.
	budget   uint64
	current  uint64 // The current client.
	clock    uint64
	// unordered is set when a client came that is not lower than the one before.
	unordered bool
	clients   []uint64            // The clients that came while they fell.
	known     map[uint64]struct{} // All of them, once they are unordered.
	// aux collects the strings of the structs; it is reset by the caller, who knows which structs it still holds.
	aux []wireAux
	err error
}

// reset makes the reader read the structs of an update. The budget is how many it accepts.
func (r *structReader) reset(dec structDecoder, budget uint64) {
	r.dec, r.budget = dec, budget
	r.sections = dec.rest().VarUint()
	r.structs, r.current, r.clock, r.unordered = 0, 0, 0, false
	r.clients, r.aux = r.clients[:0], r.aux[:0]
	if r.known != nil || r.err != nil {
		r.known, r.err = nil, nil
	}
}

// foreignBudget is the number of structs that an update of so many bytes may stand for.
func foreignBudget(size int) uint64 { return freeStructs + structsPerByte*uint64(size) }

// begin notes that the structs of a client begin. An update has one place for each client: Yjs itself forgets what
// it read in an earlier one, and gives structs other numbers when it merges such updates.
func (r *structReader) begin(client uint64) {
	if n := len(r.clients); r.known == nil && (n == 0 || client < r.clients[n-1]) {
		if r.sections > 0 || n > 0 {
			r.clients = append(r.clients, client)
		}
		return
	}
	if r.known == nil {
		r.unordered = true
		r.known = make(map[uint64]struct{}, len(r.clients))
		for _, c := range r.clients {
			r.known[c] = struct{}{}
		}
	}
	if _, twice := r.known[client]; twice {
		r.err = invalidf("client %d comes twice", client)
	}
	r.known[client] = struct{}{}
}

// next reads a struct into w. It returns false at the end and after an error.
func (r *structReader) next(w *wire) bool {
	if r.err != nil {
		return false
	}
	for r.structs == 0 {
		if r.sections == 0 {
			r.err = r.failure()
			return false
		}
		r.sections--
		r.structs = r.dec.rest().VarUint()
		r.current = r.dec.client()
		r.clock = r.dec.rest().VarUint()
		if r.err = r.failure(); r.err == nil {
			r.begin(r.current)
		}
		if r.err != nil {
			return false
		}
	}
	r.structs--
	if r.budget == 0 {
		r.err = ErrTooLarge
		return false
	}
	r.budget--
	r.readStruct(w)
	if r.err == nil {
		r.err = r.failure()
	}
	if r.err != nil {
		return false
	}
	r.clock += uint64(w.length)
	return true
}

func (r *structReader) failure() error {
	if err := r.dec.err(); err != nil {
		return invalid(err)
	}
	return nil
}

func (r *structReader) readStruct(w *wire) {
	*w = wire{client: r.current, clock: uint32(r.clock)}
	info := r.dec.info()
	var length uint64
	switch w.kind = kind(info & 31); w.kind {
	case kindGC:
		length = r.dec.length()
	case kindSkip:
		length = r.dec.rest().VarUint()
	default:
		r.readParent(w, info)
		length = r.readContent(w)
	}
	if length == 0 && r.dec.err() == nil && r.err == nil {
		r.err = invalidf("struct %d:%d is empty", r.current, r.clock)
	}
	if length > MaxClock || r.clock+length > MaxClock {
		if r.err == nil && r.dec.err() == nil {
			r.err = ErrTooLarge
		}
		return
	}
	w.length = uint32(length)
}

func (r *structReader) readParent(w *wire, info byte) {
	const hasOrigin, hasRight, hasSub = 0x80, 0x40, 0x20
	if info&hasOrigin != 0 {
		w.flags |= wireOrigin
		w.originClient, w.originClock = r.id(r.dec.leftID())
	}
	if info&hasRight != 0 {
		w.flags |= wireRight
		w.rightClient, w.rightClock = r.id(r.dec.rightID())
	}
	if info&(hasOrigin|hasRight) != 0 {
		return
	}
	if r.dec.parentIsRoot() {
		w.flags |= wireRoot
		r.auxOf(w).root = r.dec.str()
	} else {
		w.flags |= wireParent
		w.originClient, w.originClock = r.id(r.dec.leftID())
	}
	if info&hasSub != 0 {
		w.flags |= wireSub
		r.auxOf(w).sub = r.dec.str()
	}
}

// id checks an id that the current struct refers to: what a client refers to of itself must be older.
func (r *structReader) id(client, clock uint64) (uint64, uint32) {
	if clock > MaxClock {
		if r.err == nil {
			r.err = ErrTooLarge
		}
		return client, 0
	}
	if client == r.current && clock >= r.clock && r.err == nil {
		r.err = invalidf("struct %d:%d refers to %d:%d, which is not older", r.current, r.clock, client, clock)
	}
	return client, uint32(clock)
}

func (r *structReader) auxOf(w *wire) *wireAux {
	if w.aux == 0 {
		r.aux = append(r.aux, wireAux{})
		w.aux = uint32(len(r.aux))
	}
	return &r.aux[w.aux-1]
}

func (r *structReader) readContent(w *wire) (length uint64) {
	switch w.kind {
	case kindDeleted:
		return r.dec.length()
	case kindJSON:
		return r.readTexts(w)
	case kindBinary:
		w.data = r.dec.bytes()
	case kindString:
		w.data = r.dec.str()
		return uint64(lib0.UTF16Len(w.data))
	case kindEmbed:
		w.data = r.dec.json()
	case kindFormat:
		r.auxOf(w).key = r.dec.key()
		w.data = r.dec.json()
	case kindType:
		ref := r.dec.typeRef()
		if ref >= uint64(KindUndefined) {
			if r.err == nil && r.dec.err() == nil {
				r.err = invalidf("struct %d:%d holds a type of unknown kind %d", r.current, r.clock, ref)
			}
			return 1
		}
		w.typeKind = TypeKind(ref)
		if w.typeKind == KindXmlElement || w.typeKind == KindXmlHook {
			r.auxOf(w).key = r.dec.key()
		}
	case kindAny:
		return r.readValues(w)
	case kindDoc:
		r.auxOf(w).key = r.dec.str()
		w.data = r.dec.rest().AnyBytes()
	default:
		if r.err == nil && r.dec.err() == nil {
			r.err = invalidf("struct %d:%d has content of unknown kind %d", r.current, r.clock, w.kind)
		}
	}
	return 1
}

// readValues reads values in the any encoding.
func (r *structReader) readValues(w *wire) uint64 {
	n := r.dec.length()
	rest := r.dec.rest()
	if n == 1 {
		w.data = rest.AnyBytes()
		return n
	}
	at := *rest
	canonical := true
	for i := uint64(0); i < n && rest.Err() == nil; i++ {
		canonical = rest.SkipAny() && canonical
	}
	if rest.Err() != nil {
		return n
	}
	size := rest.Pos() - at.Pos()
	if canonical {
		w.data = at.Bytes(uint64(size))
		return n
	}
	data := make([]byte, 0, size)
	for range n {
		data = lib0.AppendAny(data, at.Any())
	}
	w.data = data
	return n
}

// readTexts reads JSON texts, which it brings to the form that JSON.stringify gives them.
func (r *structReader) readTexts(w *wire) uint64 {
	n := r.dec.length()
	var data []byte
	for i := uint64(0); i < n && r.dec.err() == nil && r.err == nil; i++ {
		text := r.dec.str()
		if string(text) == "undefined" {
			data = lib0.AppendVarBytes(data, text)
			continue
		}
		compact, err := lib0.CompactJSON(text)
		if err != nil {
			if r.dec.err() == nil {
				r.err = invalid(err)
			}
			return n
		}
		data = lib0.AppendVarBytes(data, compact)
	}
	w.data = data
	return n
}

// structEncoder writes the primitives of one update format.
type structEncoder interface {
	varUint(v uint64)
	client(id uint64)
	info(b byte)
	leftID(client, clock uint64)
	rightID(client, clock uint64)
	str(s []byte)
	units(u units)
	parentIsRoot(root bool)
	typeRef(v uint64)
	length(v uint64)
	raw(b []byte) // What is encoded already, in the any encoding.
	json(value []byte)
	bytes(b []byte)
	key(k []byte)
	deleteSetEncoder
	// fragment takes what varUint, raw and the like wrote so far out of the encoder; begin tells, after the last fragment,
	// how many bytes are to come.
	fragment() []byte
	begin(size int)
	finish() []byte
}

// deleteSetEncoder writes the primitives of a delete set.
type deleteSetEncoder interface {
	varUint(v uint64)
	resetDeletes()
	deleteClock(v uint64)
	deleteLength(v uint64)
}

// write encodes w from offset on. aux are the strings that w.aux refers to.
func (w *wire) write(e structEncoder, aux []wireAux, offset uint32) {
	switch w.kind {
	case kindGC:
		e.info(byte(kindGC))
		e.length(uint64(w.length - offset))
		return
	case kindSkip:
		e.info(byte(kindSkip))
		e.varUint(uint64(w.length - offset))
		return
	}
	var strings wireAux
	if w.aux != 0 {
		strings = aux[w.aux-1]
	}
	info := byte(w.kind)
	origin := w.flags&wireOrigin != 0
	originClient, originClock := w.originClient, w.originClock
	if offset > 0 {
		origin, originClient, originClock = true, w.client, w.clock+offset-1
	}
	if origin {
		info |= 0x80
	}
	if w.flags&wireRight != 0 {
		info |= 0x40
	}
	if w.flags&wireSub != 0 {
		info |= 0x20
	}
	e.info(info)
	if origin {
		e.leftID(originClient, uint64(originClock))
	}
	if w.flags&wireRight != 0 {
		e.rightID(w.rightClient, uint64(w.rightClock))
	}
	if info&0xC0 == 0 {
		if w.flags&wireRoot != 0 {
			e.parentIsRoot(true)
			e.str(strings.root)
		} else {
			e.parentIsRoot(false)
			e.leftID(w.originClient, uint64(w.originClock))
		}
		if w.flags&wireSub != 0 {
			e.str(strings.sub)
		}
	}
	w.writeContent(e, strings.key, offset)
}

func (w *wire) writeContent(e structEncoder, key []byte, offset uint32) {
	data := w.data
	switch w.kind {
	case kindDeleted:
		e.length(uint64(w.length - offset))
	case kindJSON:
		e.length(uint64(w.length - offset))
		texts := lib0.NewDecoder(data)
		for i := range w.length {
			if text := texts.VarBytes(); i >= offset {
				e.str(text)
			}
		}
	case kindBinary:
		e.bytes(data)
	case kindString:
		e.str(cutString(data, offset))
	case kindEmbed:
		e.json(data)
	case kindFormat:
		e.key(key)
		e.json(data)
	case kindType:
		e.typeRef(uint64(w.typeKind))
		if w.typeKind == KindXmlElement || w.typeKind == KindXmlHook {
			e.key(key)
		}
	case kindAny:
		e.length(uint64(w.length - offset))
		e.raw(cutValues(data, offset))
	case kindDoc:
		e.str(key)
		e.raw(data)
	}
}

// cutString returns s without its first n UTF-16 code units; half a surrogate pair that is left becomes U+FFFD.
func cutString(s []byte, n uint32) []byte {
	if n == 0 {
		return s
	}
	at, whole := lib0.UTF16Offset(s, uint64(n))
	if whole {
		return s[at:]
	}
	return append([]byte("\uFFFD"), s[at+4:]...)
}

// cutValues returns the values behind the first n.
func cutValues(data []byte, n uint32) []byte {
	if n == 0 {
		return data
	}
	d := lib0.NewDecoder(data)
	for range n {
		d.SkipCheckedAny()
	}
	return data[d.Pos():]
}

// cutTexts returns the texts behind the first n.
func cutTexts(data []byte, n uint32) []byte {
	d := lib0.NewDecoder(data)
	for range n {
		d.VarBytes()
	}
	return data[d.Pos():]
}
