package crdt

import (
	"fmt"
	"math"
	"sync"

	"collab.dev/operator/editor/crdt/lib0"
)

// piece is a struct of an update together with its strings.
type piece struct {
	wire
	strings wireAux
}

// take copies the struct that a reader has just read.
func (p *piece) take(w *wire, aux []wireAux) {
	p.wire = *w
	if w.aux != 0 {
		p.strings = aux[w.aux-1]
		p.aux = 1
	}
}

// cut drops the first n clocks of the struct.
func (p *piece) cut(n uint32) {
	p.clock += n
	p.length -= n
	switch p.kind {
	case kindGC, kindSkip:
		return
	case kindString:
		p.data = cutString(p.data, n)
	case kindAny:
		p.data = cutValues(p.data, n)
	case kindJSON:
		p.data = cutTexts(p.data, n)
	}
	p.flags |= wireOrigin
	p.originClient, p.originClock = p.client, p.clock-1
}

// structWriter writes an update whose structs come one after the other, so that how many there are of each client is
// known only in the end. All structs of a client must come in one go.
type structWriter struct {
	e        structEncoder
	client   uint64
	end      uint32 // The clock behind what was written last.
	written  uint64
	sections []writtenSection
	few      [8]writtenSection // Room for sections.
}

type writtenSection struct {
	structs uint64
	rest    []byte
}

func (w *structWriter) write(p *piece, offset uint32) {
	if w.written > 0 && w.client != p.client {
		w.flush()
	}
	if w.written == 0 {
		w.client = p.client
		w.e.client(p.client)
		w.e.varUint(uint64(p.clock + offset))
	} else if gap := p.clock + offset - w.end; gap > 0 {
		skip := wire{kind: kindSkip, length: gap}
		skip.write(w.e, nil, 0)
		w.written++
	}
	w.end = p.end()
	var aux [1]wireAux
	aux[0] = p.strings
	p.write(w.e, aux[:], offset)
	w.written++
}

func (w *structWriter) flush() {
	if w.written > 0 {
		if w.sections == nil {
			w.sections = w.few[:0]
		}
		w.sections = append(w.sections, writtenSection{w.written, w.e.fragment()})
		w.written = 0
	}
}

// finish writes the deletions and returns the update.
func (w *structWriter) finish(set deleteSet) []byte {
	w.flush()
	const perSection, perRange = 10, 15
	size := perSection * (1 + len(w.sections))
	for _, s := range w.sections {
		size += len(s.rest)
	}
	w.e.begin(size + perRange*len(set))
	w.e.varUint(uint64(len(w.sections)))
	for _, s := range w.sections {
		w.e.varUint(s.structs)
		w.e.raw(s.rest)
	}
	set.write(w.e)
	return w.e.finish()
}

// format is one of the two update formats.
type format struct {
	decoder func([]byte) structDecoder
	encoder func(size int) structEncoder // For about so many bytes.
	readers *sync.Pool                   // What was closed, for the next update.
	own     bool                         // Whether the updates were made here, so that they may hold as many structs as they like.
}

var (
	formatV1 = format{
		decoder: func(b []byte) structDecoder { return newDecoderV1(b) },
		encoder: func(size int) structEncoder { return &encoderV1{make([]byte, 0, size)} },
		readers: newReaders(),
	}
	formatV2 = format{
		decoder: func(b []byte) structDecoder { return newDecoderV2(b) },
		encoder: func(int) structEncoder { return &encoderV2{} },
		readers: newReaders(),
	}
)

func newReaders() *sync.Pool { return &sync.Pool{New: func() any { return &lazyReader{} }} }

// ofOurs is the format for updates that were made here.
func (f format) ofOurs() format {
	f.own = true
	return f
}

func (f format) budget(size int) uint64 {
	if f.own {
		return math.MaxUint64
	}
	return foreignBudget(size)
}

// lazyReader reads the structs of an update, one at a time.
type lazyReader struct {
	structReader
	current piece
	done    bool
	readers *sync.Pool
}

// open returns a reader of an update, which may be closed.
func (f format) open(update []byte) *lazyReader {
	r, _ := f.readers.Get().(*lazyReader)
	r.readers = f.readers
	return f.reopen(r, update)
}

// close lets the reader read another update. What it has read stays valid.
func (r *lazyReader) close() {
	if max(cap(r.aux), cap(r.clients)) > maxPooled {
		return
	}
	clear(r.aux[:cap(r.aux)])
	r.current, r.known, r.err = piece{}, nil, nil
	if v1, ok := r.dec.(*decoderV1); ok {
		v1.d = lib0.Decoder{}
	} else {
		r.dec = nil
	}
	r.readers.Put(r)
}

// reopen makes a reader that is done read another update.
func (f format) reopen(r *lazyReader, update []byte) *lazyReader {
	dec := r.dec
	if v1, ok := dec.(*decoderV1); ok {
		v1.d.Reset(update)
	} else {
		dec = f.decoder(update)
	}
	r.reset(dec, f.budget(len(update)))
	r.done = false
	return r
}

// advance reads the next struct into current. Afterwards done tells whether there was none.
func (r *lazyReader) advance() error {
	var w wire
	r.aux = r.aux[:0]
	if !r.next(&w) {
		r.done = true
		return r.err
	}
	r.current.take(&w, r.aux)
	return nil
}

// advanceUnskipped is advance, past structs that only mark a gap.
func (r *lazyReader) advanceUnskipped() error {
	for {
		if err := r.advance(); err != nil || r.done || r.current.kind != kindSkip {
			return err
		}
	}
}

// DiffUpdate returns the part of an update that a peer with the encoded state vector lacks. Deletions stay.
func DiffUpdate(update, stateVector []byte) ([]byte, error) {
	return diffUpdate(update, stateVector, formatV1)
}

// DiffUpdateV2 is DiffUpdate for format v2.
func DiffUpdateV2(update, stateVector []byte) ([]byte, error) {
	return diffUpdate(update, stateVector, formatV2)
}

func diffUpdate(update, stateVector []byte, f format) ([]byte, error) {
	known, err := DecodeStateVector(stateVector)
	if err != nil {
		return nil, err
	}
	out := structWriter{e: f.encoder(len(update))}
	r := f.open(update)
	defer r.close()
	var client uint64
	started := false // Whether something of the present client was written.
	err = r.eachStruct(func(p *piece) {
		if p.client != client {
			client, started = p.client, false
		}
		if started {
			out.write(p, 0)
			return
		}
		clock := known[p.client]
		if p.kind == kindSkip || uint64(p.end()) <= clock {
			return
		}
		offset := uint32(0)
		if clock > uint64(p.clock) {
			offset = uint32(clock) - p.clock
		}
		out.write(p, offset)
		started = true
	})
	if err != nil {
		return nil, err
	}
	set, err := readDeleteSet(r.dec, nil)
	if err != nil {
		return nil, err
	}
	return out.finish(grouped(set)), nil
}

// ConvertUpdateV1ToV2 converts an update from format v1 to format v2. It fails with ErrTooLarge for updates that no
// client makes and whose numbers format v2, which stores differences, cannot hold.
func ConvertUpdateV1ToV2(update []byte) ([]byte, error) {
	converted, err := convert(update, formatV1, formatV2)
	if err != nil {
		return nil, err
	}
	if err := validate(formatV2.ofOurs().open(converted)); err != nil {
		return nil, fmt.Errorf("%w: format v2 cannot hold its numbers", ErrTooLarge)
	}
	return converted, nil
}

// ConvertUpdateV2ToV1 converts an update from format v2 to format v1.
func ConvertUpdateV2ToV1(update []byte) ([]byte, error) { return convert(update, formatV2, formatV1) }

func convert(update []byte, from, to format) ([]byte, error) {
	out := structWriter{e: to.encoder(len(update))}
	r := from.open(update)
	defer r.close()
	if err := r.eachStruct(func(p *piece) { out.write(p, 0) }); err != nil {
		return nil, err
	}
	set, err := readDeleteSet(r.dec, nil)
	if err != nil {
		return nil, err
	}
	return out.finish(grouped(set)), nil
}

// EncodeStateVectorFromUpdate returns the encoded state vector of a document that has only the update.
func EncodeStateVectorFromUpdate(update []byte) ([]byte, error) {
	return stateVectorOf(formatV1.open(update))
}

// EncodeStateVectorFromUpdateV2 is EncodeStateVectorFromUpdate for format v2.
func EncodeStateVectorFromUpdateV2(update []byte) ([]byte, error) {
	return stateVectorOf(formatV2.open(update))
}

func stateVectorOf(r *lazyReader) ([]byte, error) {
	defer r.close()
	var body []byte
	var clients, client uint64
	var clock uint32
	first, gap := true, false
	flush := func() {
		if clock != 0 {
			clients++
			body = lib0.AppendVarUint(lib0.AppendVarUint(body, client), uint64(clock))
		}
	}
	err := r.eachStruct(func(p *piece) {
		if first || p.client != client {
			flush()
			first, client, clock, gap = false, p.client, 0, p.clock != 0
		}
		if p.kind == kindSkip {
			gap = true
		}
		if !gap {
			clock = p.end()
		}
	})
	if err != nil {
		return nil, err
	}
	flush()
	return append(lib0.AppendVarUint(nil, clients), body...), nil
}

// UpdateMeta tells from which clock to which an update has structs of each client.
type UpdateMeta struct{ From, To StateVector }

// ParseUpdateMeta returns what an update is about.
func ParseUpdateMeta(update []byte) (UpdateMeta, error) { return metaOf(formatV1.open(update)) }

// ParseUpdateMetaV2 is ParseUpdateMeta for format v2.
func ParseUpdateMetaV2(update []byte) (UpdateMeta, error) { return metaOf(formatV2.open(update)) }

func metaOf(r *lazyReader) (UpdateMeta, error) {
	defer r.close()
	m := UpdateMeta{From: StateVector{}, To: StateVector{}}
	var client uint64
	first := true
	err := r.eachStruct(func(p *piece) {
		if first || p.client != client {
			first, client = false, p.client
			m.From[client] = uint64(p.clock)
		}
		m.To[client] = uint64(p.end())
	})
	return m, err
}

// eachStruct calls do with every struct. What follows them, the deletions, is to be read next.
func (r *lazyReader) eachStruct(do func(*piece)) error {
	err := r.advance()
	for ; err == nil && !r.done; err = r.advance() {
		do(&r.current)
	}
	return err
}

// EachRange calls do with the clocks, from one up to but without another, of each client of which an update in format v1
// has structs. Where structs follow each other without a gap that is one call. It allocates next to nothing.
func EachRange(update []byte, do func(client, from, to uint64)) error {
	var client, from, to uint64
	r := formatV1.open(update)
	defer r.close()
	err := r.eachStruct(func(p *piece) {
		if p.kind == kindSkip {
			return
		}
		if p.client != client || uint64(p.clock) != to {
			if to > from {
				do(client, from, to)
			}
			client, from = p.client, uint64(p.clock)
		}
		to = uint64(p.end())
	})
	if err == nil && to > from {
		do(client, from, to)
	}
	return err
}

// ValidateUpdate reports whether an update in format v1 is well-formed, without a document. It allocates next to
// nothing, so that an update can be refused before anybody is bothered with it.
func ValidateUpdate(update []byte) error { return validate(formatV1.open(update)) }

// ValidateUpdateV2 is ValidateUpdate for format v2.
func ValidateUpdateV2(update []byte) error { return validate(formatV2.open(update)) }

func validate(r *lazyReader) error {
	defer r.close()
	err := r.eachStruct(func(*piece) {})
	if err == nil {
		_, err = readDeleteSet(r.dec, nil)
	}
	return err
}
