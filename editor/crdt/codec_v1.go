package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// decoderV1 reads update format v1, in which everything follows upon another in one stream.
type decoderV1 struct{ d lib0.Decoder }

func newDecoderV1(update []byte) *decoderV1 { return &decoderV1{lib0.NewDecoder(update)} }

func (v *decoderV1) rest() *lib0.Decoder { return &v.d }

func (v *decoderV1) err() error { return v.d.Err() }

func (v *decoderV1) client() uint64 { return v.d.VarUint() }

func (v *decoderV1) info() byte { return v.d.Uint8() }

func (v *decoderV1) leftID() (client, clock uint64) {
	client = v.d.VarUint()
	return client, v.d.VarUint()
}

func (v *decoderV1) rightID() (client, clock uint64) { return v.leftID() }

func (v *decoderV1) str() []byte { return v.d.VarString() }

func (v *decoderV1) parentIsRoot() bool { return v.d.VarUint() == 1 }

func (v *decoderV1) typeRef() uint64 { return v.d.VarUint() }

func (v *decoderV1) length() uint64 { return v.d.VarUint() }

// The commonest values of formatting attributes, in the any encoding.
var (
	anyNull  = lib0.AppendAny(nil, nil)
	anyTrue  = lib0.AppendAny(nil, true)
	anyFalse = lib0.AppendAny(nil, false)
)

func (v *decoderV1) json() []byte {
	text := v.d.VarString()
	if v.d.Err() != nil {
		return nil
	}
	switch string(text) {
	case "null":
		return anyNull
	case "true":
		return anyTrue
	case "false":
		return anyFalse
	}
	value, err := lib0.ParseJSON(text)
	if err != nil {
		v.d.Fail(err)
		return nil
	}
	return lib0.AppendAny(nil, value)
}

func (v *decoderV1) bytes() []byte { return v.d.VarBytes() }

func (v *decoderV1) key() []byte { return v.d.VarString() }

func (v *decoderV1) resetDeletes() {}

func (v *decoderV1) deleteClock() uint64 { return v.d.VarUint() }

func (v *decoderV1) deleteLength() uint64 { return v.d.VarUint() }

// encoderV1 writes update format v1.
type encoderV1 struct{ buf []byte }

func (v *encoderV1) varUint(n uint64) { v.buf = lib0.AppendVarUint(v.buf, n) }

func (v *encoderV1) client(id uint64) { v.varUint(id) }

func (v *encoderV1) info(b byte) { v.buf = append(v.buf, b) }

func (v *encoderV1) leftID(client, clock uint64) {
	v.buf = lib0.AppendVarUint(lib0.AppendVarUint(v.buf, client), clock)
}

func (v *encoderV1) rightID(client, clock uint64) { v.leftID(client, clock) }

func (v *encoderV1) str(s []byte) { v.buf = lib0.AppendVarBytes(v.buf, s) }

func (v *encoderV1) units(u units) {
	v.buf = u.appendTo(lib0.AppendVarUint(v.buf, uint64(u.utf8Len())))
}

func (v *encoderV1) parentIsRoot(root bool) {
	b := byte(0)
	if root {
		b = 1
	}
	v.buf = append(v.buf, b)
}

func (v *encoderV1) typeRef(n uint64) { v.varUint(n) }

func (v *encoderV1) length(n uint64) { v.varUint(n) }

func (v *encoderV1) raw(b []byte) { v.buf = append(v.buf, b...) }

func (v *encoderV1) json(value []byte) {
	if len(value) == 1 {
		switch value[0] {
		case anyNull[0]:
			v.buf = append(v.buf, "\x04null"...)
			return
		case anyTrue[0]:
			v.buf = append(v.buf, "\x04true"...)
			return
		case anyFalse[0]:
			v.buf = append(v.buf, "\x05false"...)
			return
		}
	}
	v.buf = lib0.AppendVarBytes(v.buf, lib0.AppendAnyJSON(nil, value))
}

func (v *encoderV1) bytes(b []byte) { v.buf = lib0.AppendVarBytes(v.buf, b) }

func (v *encoderV1) key(k []byte) { v.str(k) }

func (v *encoderV1) resetDeletes() {}

func (v *encoderV1) deleteClock(n uint64) { v.varUint(n) }

func (v *encoderV1) deleteLength(n uint64) { v.varUint(n) }

func (v *encoderV1) fragment() []byte {
	n := len(v.buf)
	b := v.buf[:n:n]
	v.buf = v.buf[n:] // There may be room for the next one.
	return b
}

func (v *encoderV1) begin(size int) { v.buf = make([]byte, 0, size) }

func (v *encoderV1) finish() []byte { return v.buf }
