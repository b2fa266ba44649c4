package lib0

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// Decoder reads values from the front of a byte slice. The first error sticks: afterwards every read returns a zero
// value, so that a caller may check Err once per record. The zero Decoder reads an empty input.
//
// Slices that it returns alias the input.
type Decoder struct {
	buf []byte
	pos int
	err error
}

// NewDecoder returns a Decoder of buf, which must not change while it is in use.
func NewDecoder(buf []byte) Decoder { return Decoder{buf: buf} }

// Reset makes the decoder read buf from its start and forgets an error.
func (d *Decoder) Reset(buf []byte) { *d = Decoder{buf: buf} }

// Err returns the first error that a read met.
func (d *Decoder) Err() error { return d.err }

// Fail makes err stick unless an earlier error does.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err = err
		d.pos = len(d.buf)
	}
}

// Pos returns the offset of the next byte.
func (d *Decoder) Pos() int { return d.pos }

// Len returns the number of bytes that are left.
func (d *Decoder) Len() int { return len(d.buf) - d.pos }

// Uint8 reads one byte.
func (d *Decoder) Uint8() byte {
	if d.pos >= len(d.buf) {
		d.Fail(ErrUnexpectedEnd)
		return 0
	}
	b := d.buf[d.pos]
	d.pos++
	return b
}

// VarUint reads an unsigned integer of at most 53 bits, seven bits per byte, the lowest first.
func (d *Decoder) VarUint() uint64 {
	if d.pos < len(d.buf) && d.buf[d.pos] < 0x80 {
		d.pos++
		return uint64(d.buf[d.pos-1])
	}
	return d.varUintTail(0, 0)
}

func (d *Decoder) varUintTail(num uint64, shift uint) uint64 {
	for d.pos < len(d.buf) {
		b := d.buf[d.pos]
		d.pos++
		if shift > 49 && b != 0 {
			d.Fail(ErrOutOfRange)
			return 0
		}
		num |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if num > MaxSafeInteger {
				d.Fail(ErrOutOfRange)
				return 0
			}
			return num
		}
		shift += 7
	}
	d.Fail(ErrUnexpectedEnd)
	return 0
}

// VarInt reads a signed integer as its magnitude and its sign, because JavaScript knows a negative zero and the
// run-length coders give it a meaning.
func (d *Decoder) VarInt() (magnitude uint64, negative bool) {
	b := d.Uint8()
	negative = b&0x40 != 0
	magnitude = uint64(b & 0x3f)
	if b&0x80 != 0 {
		magnitude = d.varUintTail(magnitude, 6)
	}
	return magnitude, negative
}

// Bytes reads n bytes.
func (d *Decoder) Bytes(n uint64) []byte {
	if n > uint64(d.Len()) {
		d.Fail(ErrUnexpectedEnd)
		return nil
	}
	start := d.pos
	d.pos += int(n)
	return d.buf[start:d.pos:d.pos]
}

// VarBytes reads a byte slice behind its length.
func (d *Decoder) VarBytes() []byte { return d.Bytes(d.VarUint()) }

// VarString reads the UTF-8 bytes of a string behind their length.
func (d *Decoder) VarString() []byte {
	b := d.VarBytes()
	if len(b) == 1 && b[0] < utf8.RuneSelf {
		return b
	}
	if !utf8.Valid(b) {
		d.Fail(ErrInvalidString)
		return nil
	}
	return b
}

// Float32 reads a big-endian IEEE 754 number of 32 bits.
func (d *Decoder) Float32() float32 {
	b := d.Bytes(4)
	if b == nil {
		return 0
	}
	return math.Float32frombits(binary.BigEndian.Uint32(b))
}

// Float64 reads a big-endian IEEE 754 number of 64 bits.
func (d *Decoder) Float64() float64 {
	return math.Float64frombits(d.Uint64())
}

// Uint64 reads a big-endian integer of 64 bits.
func (d *Decoder) Uint64() uint64 {
	b := d.Bytes(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
