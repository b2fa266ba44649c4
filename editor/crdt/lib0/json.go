package lib0

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendJSON appends v as JSON.stringify writes it. Undefined members are left out, undefined elements and numbers
// that JSON lacks become null, a byte slice becomes an object of its indices, and a BigInt (which JSON.stringify
// refuses) its digits.
func AppendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil, Undefined:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return AppendNumber(dst, v)
	case BigInt:
		return strconv.AppendInt(dst, int64(v), 10)
	case string:
		return appendJSONString(dst, v)
	case []byte:
		dst = append(dst, '{')
		for i, b := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '"')
			dst = strconv.AppendInt(dst, int64(i), 10)
			dst = append(dst, '"', ':')
			dst = strconv.AppendInt(dst, int64(b), 10)
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendJSON(dst, e)
		}
		return append(dst, ']')
	case Object:
		dst = append(dst, '{')
		first := true
		for _, m := range v {
			if _, undefined := m.Value.(Undefined); undefined {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendJSONString(dst, m.Key), ':')
			dst = AppendJSON(dst, m.Value)
		}
		return append(dst, '}')
	}
	if n, ok := Normalize(v); ok {
		return AppendJSON(dst, n)
	}
	return append(dst, "null"...)
}

// AppendAnyJSON appends a value that is given in the any encoding as JSON, with members of the name __proto__, which
// reading the encoding drops.
func AppendAnyJSON(dst, value []byte) []byte {
	d := NewDecoder(value)
	return AppendJSON(dst, d.anyAt(0, true))
}

// AppendNumber appends f as JavaScript prints a number, and null where JSON has none.
func AppendNumber(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	if f == 0 {
		return append(dst, '0') // Also for the negative zero.
	}
	abs := math.Abs(f)
	if abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// JavaScript writes the exponent without a leading zero: 1e-7, not 1e-07.
	if n := len(dst); n-start >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

const hexDigits = "0123456789abcdef"

func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i, r := range s {
		if r == utf8.RuneError {
			if half, ok := halfAt(s[i:]); ok {
				dst = append(dst, '\\', 'u', 'd', hexDigits[half>>8&15], hexDigits[half>>4&15], hexDigits[half&15])
				continue
			}
			if isRestOfHalf(s, i) {
				continue
			}
		}
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\b':
			dst = append(dst, '\\', 'b')
		case r == '\f':
			dst = append(dst, '\\', 'f')
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// ParseJSON reads a JSON text as JSON.parse does: numbers are float64, objects keep JavaScript's order of members.
func ParseJSON(text []byte) (any, error) { return parseJSON(jsonParser{text: text}) }

// CompactJSON brings a JSON text to the form that JSON.stringify gives to what JSON.parse reads, with halves of
// surrogate pairs as they are.
func CompactJSON(text []byte) ([]byte, error) {
	v, err := parseJSON(jsonParser{text: text, halves: true})
	if err != nil {
		return nil, err
	}
	return AppendJSON(nil, v), nil
}

func parseJSON(p jsonParser) (any, error) {
	if !utf8.Valid(p.text) {
		return nil, ErrInvalidString
	}
	p.space()
	v := p.value(0)
	p.space()
	if p.err == nil && p.pos != len(p.text) {
		p.err = ErrInvalidJSON
	}
	if p.err != nil {
		return nil, p.err
	}
	return v, nil
}

type jsonParser struct {
	text []byte
	// halves makes halves of surrogate pairs be kept, in the three bytes that UTF-8 does not allow for them.
	halves bool
	pos    int
	err    error
}

func (p *jsonParser) fail(err error) {
	if p.err == nil {
		p.err = err
		p.pos = len(p.text)
	}
}

func (p *jsonParser) space() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *jsonParser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *jsonParser) literal(word string) {
	if len(p.text)-p.pos < len(word) || string(p.text[p.pos:p.pos+len(word)]) != word {
		p.fail(ErrInvalidJSON)
		return
	}
	p.pos += len(word)
}

func (p *jsonParser) value(depth int) any {
	if depth > MaxDepth {
		p.fail(ErrTooDeep)
		return nil
	}
	switch c := p.peek(); {
	case c == 'n':
		p.literal("null")
		return nil
	case c == 't':
		p.literal("true")
		return true
	case c == 'f':
		p.literal("false")
		return false
	case c == '"':
		return p.str()
	case c == '[':
		return p.array(depth)
	case c == '{':
		return p.object(depth)
	case c == '-' || (c >= '0' && c <= '9'):
		return p.number()
	default:
		p.fail(ErrInvalidJSON)
		return nil
	}
}

func (p *jsonParser) array(depth int) any {
	p.pos++
	values := []any{}
	p.space()
	if p.peek() == ']' {
		p.pos++
		return values
	}
	for p.err == nil {
		p.space()
		values = append(values, p.value(depth+1))
		p.space()
		c := p.peek()
		p.pos++
		if c == ']' {
			return values
		}
		if c != ',' {
			p.fail(ErrInvalidJSON)
		}
	}
	return nil
}

func (p *jsonParser) object(depth int) any {
	p.pos++
	var members []Member
	p.space()
	if p.peek() == '}' {
		p.pos++
		return Object{}
	}
	for p.err == nil {
		p.space()
		if p.peek() != '"' {
			p.fail(ErrInvalidJSON)
			return nil
		}
		key := p.str()
		p.space()
		if p.peek() != ':' {
			p.fail(ErrInvalidJSON)
			return nil
		}
		p.pos++
		p.space()
		members = append(members, Member{key, p.value(depth + 1)})
		p.space()
		c := p.peek()
		p.pos++
		if c == '}' {
			return NewObject(members)
		}
		if c != ',' {
			p.fail(ErrInvalidJSON)
		}
	}
	return nil
}

func (p *jsonParser) number() any {
	start := p.pos
	if p.peek() == '-' {
		p.pos++
	}
	for c := p.peek(); (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'; c = p.peek() {
		p.pos++
	}
	raw := p.text[start:p.pos]
	if !json.Valid(raw) {
		p.fail(ErrInvalidJSON)
		return nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && !math.IsInf(f, 0) {
		p.fail(ErrInvalidJSON)
		return nil
	}
	return f
}

func (p *jsonParser) str() string {
	p.pos++
	start := p.pos
	for p.pos < len(p.text) && p.text[p.pos] != '"' && p.text[p.pos] != '\\' && p.text[p.pos] >= 0x20 {
		p.pos++
	}
	if p.peek() == '"' {
		p.pos++
		return string(p.text[start : p.pos-1])
	}
	out := append([]byte(nil), p.text[start:p.pos]...)
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		p.pos++
		switch {
		case c == '"':
			return string(out)
		case c < 0x20:
			p.fail(ErrInvalidJSON)
			return ""
		case c != '\\':
			out = append(out, c)
		default:
			out = p.escape(out)
		}
	}
	p.fail(ErrInvalidJSON)
	return ""
}

// halfLead is the first of the bytes of half a surrogate pair.
const halfLead = 0xED

// halfAt returns the half of a surrogate pair that s starts with.
func halfAt(s string) (half uint16, ok bool) {
	if len(s) < 3 || s[0] != halfLead || s[1] < 0xA0 || s[1] > 0xBF || s[2] < 0x80 || s[2] > 0xBF {
		return 0, false
	}
	return 0xD000 | uint16(s[1]&0x3F)<<6 | uint16(s[2]&0x3F), true
}

// isRestOfHalf reports whether the byte at i is the second or the third of half a surrogate pair.
func isRestOfHalf(s string, i int) bool {
	for back := 1; back <= 2 && back <= i; back++ {
		if _, ok := halfAt(s[i-back:]); ok {
			return true
		}
	}
	return false
}

func (p *jsonParser) escape(out []byte) []byte {
	c := p.peek()
	p.pos++
	switch c {
	case '"', '\\', '/':
		return append(out, c)
	case 'b':
		return append(out, '\b')
	case 'f':
		return append(out, '\f')
	case 'n':
		return append(out, '\n')
	case 'r':
		return append(out, '\r')
	case 't':
		return append(out, '\t')
	case 'u':
		r := p.hex4()
		if utf16.IsSurrogate(r) {
			if p.pos+1 < len(p.text) && p.text[p.pos] == '\\' && p.text[p.pos+1] == 'u' {
				at := p.pos
				p.pos += 2
				if pair := utf16.DecodeRune(r, p.hex4()); pair != utf8.RuneError {
					return utf8.AppendRune(out, pair)
				}
				p.pos = at
			}
			if p.halves {
				return append(out, halfLead, byte(0x80|r>>6&0x3F), byte(0x80|r&0x3F))
			}
		}
		return utf8.AppendRune(out, r) // U+FFFD for a half.
	}
	p.fail(ErrInvalidJSON)
	return out
}

func (p *jsonParser) hex4() rune {
	if len(p.text)-p.pos < 4 {
		p.fail(ErrInvalidJSON)
		return 0
	}
	n, err := strconv.ParseUint(string(p.text[p.pos:p.pos+4]), 16, 32)
	if err != nil {
		p.fail(ErrInvalidJSON)
		return 0
	}
	p.pos += 4
	return rune(n)
}
