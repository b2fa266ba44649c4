package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// decoderV2 reads update format v2, in which what is alike stands in one column, run-length encoded.
type decoderV2 struct {
	d          lib0.Decoder
	keyClocks  lib0.IntDiffOptRleDecoder
	clients    lib0.UintOptRleDecoder
	leftClocks lib0.IntDiffOptRleDecoder
	rightClock lib0.IntDiffOptRleDecoder
	infos      lib0.RleDecoder
	strings    lib0.StringDecoder
	parents    lib0.RleDecoder
	typeRefs   lib0.UintOptRleDecoder
	lengths    lib0.UintOptRleDecoder
	keys       [][]byte
	deleteAt   uint64
}

func newDecoderV2(update []byte) *decoderV2 {
	v := &decoderV2{d: lib0.NewDecoder(update)}
	v.d.VarUint() // A feature flag that nothing uses.
	v.keyClocks = lib0.NewIntDiffOptRleDecoder(v.d.VarBytes())
	v.clients = lib0.NewUintOptRleDecoder(v.d.VarBytes())
	v.leftClocks = lib0.NewIntDiffOptRleDecoder(v.d.VarBytes())
	v.rightClock = lib0.NewIntDiffOptRleDecoder(v.d.VarBytes())
	v.infos = lib0.NewRleDecoder(v.d.VarBytes())
	v.strings = lib0.NewStringDecoder(v.d.VarBytes())
	v.parents = lib0.NewRleDecoder(v.d.VarBytes())
	v.typeRefs = lib0.NewUintOptRleDecoder(v.d.VarBytes())
	v.lengths = lib0.NewUintOptRleDecoder(v.d.VarBytes())
	return v
}

func (v *decoderV2) rest() *lib0.Decoder { return &v.d }

func (v *decoderV2) err() error {
	for _, err := range [...]error{
		v.d.Err(), v.clients.Err(), v.leftClocks.Err(), v.rightClock.Err(), v.infos.Err(), v.parents.Err(),
		v.typeRefs.Err(), v.lengths.Err(), v.keyClocks.Err(),
	} {
		if err != nil {
			return err
		}
	}
	// An update without a string has an empty column, or none at all: only a string that is missed is an error.
	return v.strings.Err()
}

func (v *decoderV2) client() uint64 { return v.clients.Read() }

func (v *decoderV2) info() byte { return v.infos.Read() }

func (v *decoderV2) leftID() (client, clock uint64) {
	return v.clients.Read(), v.unsigned(v.leftClocks.Read())
}

func (v *decoderV2) rightID() (client, clock uint64) {
	return v.clients.Read(), v.unsigned(v.rightClock.Read())
}

func (v *decoderV2) unsigned(n int64) uint64 {
	if n < 0 {
		v.d.Fail(lib0.ErrOutOfRange)
		return 0
	}
	return uint64(n)
}

func (v *decoderV2) str() []byte { return v.strings.Read() }

func (v *decoderV2) parentIsRoot() bool { return v.parents.Read() == 1 }

func (v *decoderV2) typeRef() uint64 { return v.typeRefs.Read() }

func (v *decoderV2) length() uint64 { return v.lengths.Read() }

func (v *decoderV2) json() []byte { return v.d.AnyBytes() }

func (v *decoderV2) bytes() []byte { return v.d.VarBytes() }

// key reads a key by its number, or a new key. Yjs never writes a number twice, but reads it.
func (v *decoderV2) key() []byte {
	n := v.keyClocks.Read()
	if n >= 0 && n < int64(len(v.keys)) {
		return v.keys[n]
	}
	k := v.strings.Read()
	v.keys = append(v.keys, k)
	return k
}

func (v *decoderV2) resetDeletes() { v.deleteAt = 0 }

func (v *decoderV2) deleteClock() uint64 {
	v.deleteAt += v.d.VarUint()
	return v.deleteAt
}

func (v *decoderV2) deleteLength() uint64 {
	n := v.d.VarUint() + 1
	v.deleteAt += n
	return n
}

// encoderV2 writes update format v2.
type encoderV2 struct {
	buf        []byte // What has no column of its own.
	keyClocks  lib0.IntDiffOptRleEncoder
	clients    lib0.UintOptRleEncoder
	leftClocks lib0.IntDiffOptRleEncoder
	rightClock lib0.IntDiffOptRleEncoder
	infos      lib0.RleEncoder
	strings    lib0.StringEncoder
	parents    lib0.RleEncoder
	typeRefs   lib0.UintOptRleEncoder
	lengths    lib0.UintOptRleEncoder
	keyCount   int64
	deleteAt   uint64
	scratch    []byte
}

func (v *encoderV2) varUint(n uint64) { v.buf = lib0.AppendVarUint(v.buf, n) }

func (v *encoderV2) client(id uint64) { v.clients.Write(id) }

func (v *encoderV2) info(b byte) { v.infos.Write(b) }

func (v *encoderV2) leftID(client, clock uint64) {
	v.clients.Write(client)
	v.leftClocks.Write(int64(clock))
}

func (v *encoderV2) rightID(client, clock uint64) {
	v.clients.Write(client)
	v.rightClock.Write(int64(clock))
}

func (v *encoderV2) str(s []byte) { v.strings.Write(s) }

func (v *encoderV2) units(u units) {
	v.scratch = u.appendTo(v.scratch[:0])
	v.strings.Write(v.scratch)
}

func (v *encoderV2) parentIsRoot(root bool) {
	b := byte(0)
	if root {
		b = 1
	}
	v.parents.Write(b)
}

func (v *encoderV2) typeRef(n uint64) { v.typeRefs.Write(n) }

func (v *encoderV2) length(n uint64) { v.lengths.Write(n) }

func (v *encoderV2) raw(b []byte) { v.buf = append(v.buf, b...) }

func (v *encoderV2) json(value []byte) { v.raw(value) }

func (v *encoderV2) bytes(b []byte) { v.buf = lib0.AppendVarBytes(v.buf, b) }

// key gives every key a new number, as Yjs does: readers that are older could not follow a repeated one.
func (v *encoderV2) key(k []byte) {
	v.keyClocks.Write(v.keyCount)
	v.keyCount++
	v.strings.Write(k)
}

func (v *encoderV2) resetDeletes() { v.deleteAt = 0 }

func (v *encoderV2) deleteClock(n uint64) {
	v.varUint(n - v.deleteAt)
	v.deleteAt = n
}

func (v *encoderV2) deleteLength(n uint64) {
	v.varUint(n - 1)
	v.deleteAt += n
}

func (v *encoderV2) fragment() []byte {
	b := v.buf
	v.buf = nil
	return b
}

func (v *encoderV2) begin(int) {}

func (v *encoderV2) finish() []byte {
	columns := [...][]byte{
		v.keyClocks.Bytes(), v.clients.Bytes(), v.leftClocks.Bytes(), v.rightClock.Bytes(), v.infos.Bytes(),
		v.strings.Bytes(), v.parents.Bytes(), v.typeRefs.Bytes(), v.lengths.Bytes(),
	}
	size := 1 + len(v.buf)
	for _, c := range columns {
		size += len(c) + 5
	}
	out := append(make([]byte, 0, size), 0)
	for _, c := range columns {
		out = lib0.AppendVarBytes(out, c)
	}
	return append(out, v.buf...)
}

// dsEncoderV2 writes the delete sets of snapshots in format v2.
type dsEncoderV2 struct {
	buf      []byte
	deleteAt uint64
}

func (v *dsEncoderV2) varUint(n uint64) { v.buf = lib0.AppendVarUint(v.buf, n) }

func (v *dsEncoderV2) resetDeletes() { v.deleteAt = 0 }

func (v *dsEncoderV2) deleteClock(n uint64) {
	v.varUint(n - v.deleteAt)
	v.deleteAt = n
}

func (v *dsEncoderV2) deleteLength(n uint64) {
	v.varUint(n - 1)
	v.deleteAt += n
}

// dsDecoderV2 reads the delete sets of snapshots in format v2.
type dsDecoderV2 struct {
	d        lib0.Decoder
	deleteAt uint64
}

func (v *dsDecoderV2) rest() *lib0.Decoder { return &v.d }

func (v *dsDecoderV2) err() error { return v.d.Err() }

func (v *dsDecoderV2) resetDeletes() { v.deleteAt = 0 }

func (v *dsDecoderV2) deleteClock() uint64 {
	v.deleteAt += v.d.VarUint()
	return v.deleteAt
}

func (v *dsDecoderV2) deleteLength() uint64 {
	n := v.d.VarUint() + 1
	v.deleteAt += n
	return n
}
