package lib0

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strings"
	"unicode/utf8"
)

// Undefined is JavaScript's undefined.
type Undefined struct{}

// BigInt is a JavaScript bigint of at most 64 bits.
type BigInt int64

// Member is a key of an Object and its value.
type Member struct {
	Key   string
	Value any
}

// Object is a JavaScript object: members with distinct keys, in the order in which JavaScript enumerates them.
type Object []Member

// Get returns the value of key.
func (o Object) Get(key string) (value any, ok bool) {
	for i := range o {
		if o[i].Key == key {
			return o[i].Value, true
		}
	}
	return nil, false
}

// NewObject returns the object with the given members as JavaScript would build it member by member: a key that
// occurs again overwrites the earlier value, and keys that are array indices come first, in ascending order.
func NewObject(members []Member) Object {
	out := make(Object, 0, len(members))
	var seen map[string]int
	if len(members) > 8 {
		seen = make(map[string]int, len(members))
	}
	indices := 0
	for _, m := range members {
		at := -1
		if seen != nil {
			if i, ok := seen[m.Key]; ok {
				at = i
			}
		} else {
			for i := range out {
				if out[i].Key == m.Key {
					at = i
					break
				}
			}
		}
		if at >= 0 {
			out[at].Value = m.Value
			continue
		}
		if seen != nil {
			seen[m.Key] = len(out)
		}
		if _, ok := arrayIndex(m.Key); ok {
			indices++
		}
		out = append(out, m)
	}
	if indices > 0 {
		sort.SliceStable(out, func(i, j int) bool {
			a, aok := arrayIndex(out[i].Key)
			b, bok := arrayIndex(out[j].Key)
			switch {
			case aok && bok:
				return a < b
			default:
				return aok && !bok
			}
		})
	}
	return out
}

// arrayIndex reports whether JavaScript treats key as an array index, and which.
func arrayIndex(key string) (uint64, bool) {
	if len(key) == 0 || len(key) > 10 || (key[0] == '0' && len(key) > 1) {
		return 0, false
	}
	var n uint64
	for i := range len(key) {
		c := key[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n < math.MaxUint32
}

const (
	tagUndefined = 127
	tagNull      = 126
	tagInteger   = 125
	tagFloat32   = 124
	tagFloat64   = 123
	tagBigInt    = 122
	tagFalse     = 121
	tagTrue      = 120
	tagString    = 119
	tagObject    = 118
	tagArray     = 117
	tagBytes     = 116
)

// maxTaggedInteger is the largest magnitude that is written as an integer; beyond it numbers are floats.
const maxTaggedInteger = 1<<31 - 1

// AppendAny appends v in the any encoding, choosing the representation that JavaScript's writer chooses. Besides the
// types of the package comment it accepts Go's integers and float32, map[string]any (members sorted by key), and
// slices of those. An unsupported type is written as undefined, as JavaScript writes a function; see [Supported].
func AppendAny(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, tagNull)
	case bool:
		if v {
			return append(dst, tagTrue)
		}
		return append(dst, tagFalse)
	case float64:
		return appendNumber(dst, v)
	case string:
		return AppendVarString(append(dst, tagString), validString(v))
	case BigInt:
		return binary.BigEndian.AppendUint64(append(dst, tagBigInt), uint64(v))
	case []byte:
		return AppendVarBytes(append(dst, tagBytes), v)
	case []any:
		dst = AppendVarUint(append(dst, tagArray), uint64(len(v)))
		for _, e := range v {
			dst = AppendAny(dst, e)
		}
		return dst
	case Object:
		dst = AppendVarUint(append(dst, tagObject), uint64(len(v)))
		for _, m := range v {
			dst = AppendVarString(dst, validString(m.Key))
			dst = AppendAny(dst, m.Value)
		}
		return dst
	case Undefined:
		return append(dst, tagUndefined)
	}
	if n, ok := Normalize(v); ok {
		return AppendAny(dst, n)
	}
	return append(dst, tagUndefined)
}

// Supported reports whether v is a value that the any encoding can carry.
func Supported(v any) bool {
	_, ok := Normalize(v)
	return ok
}

// Normalize turns a Go value into the types of the package comment: integers and float32 into float64, maps into
// Objects ordered by key, other slices into []any. It reports false for a value that has no counterpart.
func Normalize(v any) (any, bool) {
	switch v := v.(type) {
	case nil, bool, float64, string, BigInt, []byte, Undefined:
		return v, true
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			n, ok := Normalize(e)
			if !ok {
				return nil, false
			}
			out[i] = n
		}
		return out, true
	case Object:
		out := make([]Member, len(v))
		for i, m := range v {
			n, ok := Normalize(m.Value)
			if !ok {
				return nil, false
			}
			out[i] = Member{m.Key, n}
		}
		return NewObject(out), true
	case map[string]any:
		members := make([]Member, 0, len(v))
		for k, e := range v {
			n, ok := Normalize(e)
			if !ok {
				return nil, false
			}
			members = append(members, Member{k, n})
		}
		sort.Slice(members, func(i, j int) bool { return members[i].Key < members[j].Key })
		return NewObject(members), true
	}
	return normalizeReflected(reflect.ValueOf(v))
}

func normalizeReflected(r reflect.Value) (any, bool) {
	switch r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return float64(r.Int()), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return float64(r.Uint()), true
	case reflect.Float32, reflect.Float64:
		return r.Float(), true
	case reflect.String:
		return r.String(), true
	case reflect.Bool:
		return r.Bool(), true
	case reflect.Slice, reflect.Array:
		out := make([]any, r.Len())
		for i := range out {
			n, ok := Normalize(r.Index(i).Interface())
			if !ok {
				return nil, false
			}
			out[i] = n
		}
		return out, true
	default:
		return nil, false
	}
}

// canonicalNaN is the NaN that JavaScript writes, whichever it computed with.
const canonicalNaN = 0x7ff8000000000000

func appendNumber(dst []byte, f float64) []byte {
	if f == math.Trunc(f) && math.Abs(f) <= maxTaggedInteger {
		return AppendVarInt(append(dst, tagInteger), uint64(math.Abs(f)), math.Signbit(f))
	}
	if f != f {
		return binary.BigEndian.AppendUint64(append(dst, tagFloat64), canonicalNaN)
	}
	if f32 := float32(f); float64(f32) == f {
		return AppendFloat32(append(dst, tagFloat32), f32)
	}
	return AppendFloat64(append(dst, tagFloat64), f)
}

// Any reads a value in the any encoding. Byte slices alias the input.
func (d *Decoder) Any() any { return d.anyAt(0, false) }

// anyAt reads a value that is nested that deeply. As JavaScript's reader assigns the members of objects, one of the name
// __proto__ is lost unless it is asked for.
func (d *Decoder) anyAt(depth int, proto bool) any {
	if depth > MaxDepth {
		d.Fail(ErrTooDeep)
		return nil
	}
	switch tag := d.Uint8(); tag {
	case tagUndefined:
		return Undefined{}
	case tagNull:
		return nil
	case tagInteger:
		m, neg := d.VarInt()
		f := float64(m)
		if neg {
			f = math.Copysign(f, -1)
		}
		return f
	case tagFloat32:
		return float64(d.Float32())
	case tagFloat64:
		return d.Float64()
	case tagBigInt:
		return BigInt(d.Uint64())
	case tagFalse:
		return false
	case tagTrue:
		return true
	case tagString:
		return string(d.VarString())
	case tagObject:
		n := d.count(2)
		members := make([]Member, 0, min(n, fewElements))
		for i := 0; i < n && d.err == nil; i++ {
			key := string(d.VarString())
			value := d.anyAt(depth+1, proto)
			if proto || key != "__proto__" {
				members = append(members, Member{key, value})
			}
		}
		return NewObject(members)
	case tagArray:
		n := d.count(1)
		values := make([]any, 0, min(n, fewElements))
		for i := 0; i < n && d.err == nil; i++ {
			values = append(values, d.anyAt(depth+1, proto))
		}
		return values
	case tagBytes:
		return d.VarBytes()
	default:
		d.Fail(ErrInvalidAny)
		return nil
	}
}

// fewElements are what is reserved before they are read: each level of nesting may claim all bytes that are left.
const fewElements = 16

// count reads a number of elements that take at least size bytes each.
func (d *Decoder) count(size int) int {
	n := d.VarUint()
	if n > uint64(d.Len()/size) {
		d.Fail(ErrUnexpectedEnd)
		return 0
	}
	return int(n)
}

// SkipAny moves past one value of the any encoding and reports whether its bytes are just those that AppendAny would
// write for it.
func (d *Decoder) SkipAny() (canonical bool) { return d.skipAny(0) }

func (d *Decoder) skipAny(depth int) bool {
	if depth > MaxDepth {
		d.Fail(ErrTooDeep)
		return false
	}
	switch tag := d.Uint8(); tag {
	case tagUndefined, tagNull, tagFalse, tagTrue:
		return true
	case tagInteger:
		start := d.pos
		for i, b := range d.buf[start:min(start+5, len(d.buf))] {
			if b < 0x80 && (i < 4 || b < 0x10) { // No more than 31 bits.
				d.pos = start + i + 1
				return i == 0 || b != 0
			}
		}
		m, _ := d.VarInt()
		return m <= maxTaggedInteger && d.shortest(start)
	case tagFloat32:
		f := float64(d.Float32())
		return f == f && (f != math.Trunc(f) || math.Abs(f) > maxTaggedInteger)
	case tagFloat64:
		bits := d.Uint64()
		f := math.Float64frombits(bits)
		if f != f {
			return bits == canonicalNaN
		}
		return float64(float32(f)) != f && (f != math.Trunc(f) || math.Abs(f) > maxTaggedInteger)
	case tagBigInt:
		d.Uint64()
		return true
	case tagString:
		return d.skipString()
	case tagObject:
		start := d.pos
		n := d.count(2)
		canonical := d.shortest(start) && n <= 8
		var keys [8][]byte
		for i := 0; i < n && d.err == nil; i++ {
			at := d.pos
			key := d.VarString()
			canonical = canonical && d.pos-at == len(key)+varUintLen(uint64(len(key)))
			if canonical {
				canonical = len(key) > 0 && (key[0] < '0' || key[0] > '9') && string(key) != "__proto__"
				for _, other := range keys[:i] {
					canonical = canonical && !bytes.Equal(key, other)
				}
				keys[i] = key
			}
			if !d.skipAny(depth + 1) {
				canonical = false
			}
		}
		return canonical
	case tagArray:
		start := d.pos
		n := d.count(1)
		canonical := d.shortest(start)
		for i := 0; i < n && d.err == nil; i++ {
			if !d.skipAny(depth + 1) {
				canonical = false
			}
		}
		return canonical
	case tagBytes:
		at := d.pos
		b := d.VarBytes()
		return d.pos-at == len(b)+varUintLen(uint64(len(b)))
	default:
		d.Fail(ErrInvalidAny)
		return false
	}
}

func (d *Decoder) skipString() bool {
	at := d.pos
	s := d.VarString()
	return d.pos-at == len(s)+varUintLen(uint64(len(s)))
}

// SkipCheckedAny is SkipAny for a value that was read before.
func (d *Decoder) SkipCheckedAny() {
	switch d.Uint8() {
	case tagInteger:
		for d.pos < len(d.buf) && d.buf[d.pos] >= 0x80 {
			d.pos++
		}
		d.pos = min(d.pos+1, len(d.buf))
	case tagFloat32:
		d.Bytes(4)
	case tagFloat64, tagBigInt:
		d.Bytes(8)
	case tagString, tagBytes:
		d.VarBytes()
	case tagObject:
		for n := d.VarUint(); n > 0 && d.err == nil; n-- {
			d.VarBytes()
			d.SkipCheckedAny()
		}
	case tagArray:
		for n := d.VarUint(); n > 0 && d.err == nil; n-- {
			d.SkipCheckedAny()
		}
	}
}

// shortest reports whether the integer that was read from start on has no needless bytes.
func (d *Decoder) shortest(start int) bool {
	return d.err == nil && (d.pos-start == 1 || d.buf[d.pos-1] != 0)
}

func varUintLen(v uint64) int {
	n := 1
	for v > 0x7f {
		v >>= 7
		n++
	}
	return n
}

// AnyBytes reads one value and returns its canonical encoding, which aliases the input where that is canonical.
func (d *Decoder) AnyBytes() []byte {
	start := d.pos
	canonical := d.SkipAny()
	if d.err != nil {
		return nil
	}
	raw := d.buf[start:d.pos:d.pos]
	if canonical {
		return raw
	}
	v := NewDecoder(raw)
	return AppendAny(nil, v.Any())
}

// validString replaces what is not valid UTF-8, as JavaScript's encoder replaces lone surrogates.
func validString(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// String returns the object as JSON, for messages and tests.
func (o Object) String() string { return string(AppendJSON(nil, o)) }

// GoString makes %#v of values in failed tests readable.
func (o Object) GoString() string { return fmt.Sprintf("Object(%s)", o.String()) }
