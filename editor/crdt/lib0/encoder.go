package lib0

import (
	"encoding/binary"
	"math"
)

// AppendVarUint appends v, seven bits per byte, the lowest first.
func AppendVarUint(dst []byte, v uint64) []byte {
	for v > 0x7f {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// AppendVarInt appends a signed integer that is given as magnitude and sign; a negative zero is a value of its own.
func AppendVarInt(dst []byte, magnitude uint64, negative bool) []byte {
	b := byte(magnitude & 0x3f)
	if negative {
		b |= 0x40
	}
	magnitude >>= 6
	if magnitude > 0 {
		b |= 0x80
	}
	dst = append(dst, b)
	if magnitude == 0 {
		return dst
	}
	return AppendVarUint(dst, magnitude)
}

// AppendVarBytes appends b behind its length.
func AppendVarBytes(dst, b []byte) []byte {
	return append(AppendVarUint(dst, uint64(len(b))), b...)
}

// AppendVarString appends s behind its length in bytes. A byte that is not part of valid UTF-8 must not occur in it.
func AppendVarString(dst []byte, s string) []byte {
	return append(AppendVarUint(dst, uint64(len(s))), s...)
}

// AppendFloat32 appends f in big-endian order.
func AppendFloat32(dst []byte, f float32) []byte {
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(f))
}

// AppendFloat64 appends f in big-endian order.
func AppendFloat64(dst []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}
