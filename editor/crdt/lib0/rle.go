package lib0

// RleEncoder writes runs of equal bytes. The last run has no count: it lasts until the reader stops asking.
type RleEncoder struct {
	buf   []byte
	last  byte
	count uint64
}

// Write appends v.
func (e *RleEncoder) Write(v byte) {
	if e.count > 0 && e.last == v {
		e.count++
		return
	}
	if e.count > 0 {
		e.buf = AppendVarUint(e.buf, e.count-1)
	}
	e.count = 1
	e.last = v
	e.buf = append(e.buf, v)
}

// Bytes returns what was written.
func (e *RleEncoder) Bytes() []byte { return e.buf }

// RleDecoder reads what RleEncoder wrote.
type RleDecoder struct {
	dec     Decoder
	last    byte
	count   uint64
	forever bool
}

// NewRleDecoder returns a decoder of buf.
func NewRleDecoder(buf []byte) RleDecoder { return RleDecoder{dec: NewDecoder(buf)} }

// Err returns the first error that a read met.
func (d *RleDecoder) Err() error { return d.dec.err }

// Read returns the next byte.
func (d *RleDecoder) Read() byte {
	if d.forever {
		return d.last
	}
	if d.count == 0 {
		d.last = d.dec.Uint8()
		if d.dec.err != nil {
			return 0
		}
		if d.dec.Len() == 0 {
			d.forever = true
			return d.last
		}
		d.count = d.dec.VarUint() + 1
	}
	d.count--
	return d.last
}

// UintOptRleEncoder writes unsigned integers; a run of equal ones is the negated value and a count.
type UintOptRleEncoder struct {
	buf   []byte
	last  uint64
	count uint64
}

// Write appends v.
func (e *UintOptRleEncoder) Write(v uint64) {
	if e.last == v {
		e.count++
		return
	}
	e.flush()
	e.count = 1
	e.last = v
}

func (e *UintOptRleEncoder) flush() {
	if e.count == 0 {
		return
	}
	e.buf = AppendVarInt(e.buf, e.last, e.count > 1)
	if e.count > 1 {
		e.buf = AppendVarUint(e.buf, e.count-2)
	}
	e.count = 0
}

// Bytes ends the last run and returns what was written; nothing may be written afterwards.
func (e *UintOptRleEncoder) Bytes() []byte {
	e.flush()
	return e.buf
}

// UintOptRleDecoder reads what UintOptRleEncoder wrote.
type UintOptRleDecoder struct {
	dec   Decoder
	last  uint64
	count uint64
}

// NewUintOptRleDecoder returns a decoder of buf.
func NewUintOptRleDecoder(buf []byte) UintOptRleDecoder {
	return UintOptRleDecoder{dec: NewDecoder(buf)}
}

// Err returns the first error that a read met.
func (d *UintOptRleDecoder) Err() error { return d.dec.err }

// Read returns the next integer.
func (d *UintOptRleDecoder) Read() uint64 {
	if d.count == 0 {
		v, run := d.dec.VarInt()
		d.last = v
		d.count = 1
		if run {
			d.count = d.dec.VarUint() + 2
		}
		if d.dec.err != nil {
			d.count = 0
			return 0
		}
	}
	d.count--
	return d.last
}

// IntDiffOptRleEncoder writes integers as differences to their predecessor; a run of equal differences is written once
// with a count. The lowest bit of a difference tells whether a count follows.
type IntDiffOptRleEncoder struct {
	buf   []byte
	last  int64
	diff  int64
	count uint64
}

// Write appends v.
func (e *IntDiffOptRleEncoder) Write(v int64) {
	if e.diff == v-e.last {
		e.last = v
		e.count++
		return
	}
	e.flush()
	e.count = 1
	e.diff = v - e.last
	e.last = v
}

func (e *IntDiffOptRleEncoder) flush() {
	if e.count == 0 {
		return
	}
	encoded := e.diff * 2
	if e.count > 1 {
		encoded++
	}
	if encoded < 0 {
		e.buf = AppendVarInt(e.buf, uint64(-encoded), true)
	} else {
		e.buf = AppendVarInt(e.buf, uint64(encoded), false)
	}
	if e.count > 1 {
		e.buf = AppendVarUint(e.buf, e.count-2)
	}
	e.count = 0
}

// Bytes ends the last run and returns what was written; nothing may be written afterwards.
func (e *IntDiffOptRleEncoder) Bytes() []byte {
	e.flush()
	return e.buf
}

// IntDiffOptRleDecoder reads what IntDiffOptRleEncoder wrote.
type IntDiffOptRleDecoder struct {
	dec   Decoder
	last  int64
	diff  int64
	count uint64
}

// NewIntDiffOptRleDecoder returns a decoder of buf.
func NewIntDiffOptRleDecoder(buf []byte) IntDiffOptRleDecoder {
	return IntDiffOptRleDecoder{dec: NewDecoder(buf)}
}

// Err returns the first error that a read met.
func (d *IntDiffOptRleDecoder) Err() error { return d.dec.err }

// Read returns the next integer, which a lying input can make negative but not larger than 2^53.
func (d *IntDiffOptRleDecoder) Read() int64 {
	if d.count == 0 {
		m, neg := d.dec.VarInt()
		encoded := int64(m)
		if neg {
			encoded = -encoded
		}
		d.diff = encoded >> 1 // Rounds towards minus infinity, as Math.floor does.
		d.count = 1
		if encoded&1 != 0 {
			d.count = d.dec.VarUint() + 2
		}
		if d.dec.err != nil {
			d.count = 0
			return 0
		}
	}
	d.count--
	d.last += d.diff
	if d.last > MaxSafeInteger || d.last < -MaxSafeInteger {
		d.dec.Fail(ErrOutOfRange)
		d.count = 0
		d.last = 0
	}
	return d.last
}

// StringEncoder writes strings as one concatenation and the lengths, in UTF-16 code units, of its parts.
type StringEncoder struct {
	text []byte
	lens UintOptRleEncoder
}

// Write appends the UTF-8 string s.
func (e *StringEncoder) Write(s []byte) {
	e.text = append(e.text, s...)
	e.lens.Write(uint64(UTF16Len(s)))
}

// WriteString appends the UTF-8 string s.
func (e *StringEncoder) WriteString(s string) {
	n := len(e.text)
	e.text = append(e.text, s...)
	e.lens.Write(uint64(UTF16Len(e.text[n:])))
}

// Bytes ends the column and returns it; nothing may be written afterwards.
func (e *StringEncoder) Bytes() []byte {
	return append(AppendVarBytes(nil, e.text), e.lens.Bytes()...)
}

// StringDecoder reads what StringEncoder wrote.
type StringDecoder struct {
	text []byte
	lens UintOptRleDecoder
	err  error
	// half is set when the previous string ended within a surrogate pair.
	half bool
}

// NewStringDecoder returns a decoder of buf.
func NewStringDecoder(buf []byte) StringDecoder {
	head := NewDecoder(buf)
	text := head.VarString()
	d := StringDecoder{text: text, err: head.err}
	d.lens = NewUintOptRleDecoder(buf[head.pos:])
	return d
}

// Err returns the first error that a read met.
func (d *StringDecoder) Err() error {
	if d.err != nil {
		return d.err
	}
	return d.lens.Err()
}

// Read returns the next string, which aliases the input unless it begins or ends within a surrogate pair: such a half
// becomes U+FFFD.
func (d *StringDecoder) Read() []byte {
	n := d.lens.Read()
	if d.err != nil || d.lens.Err() != nil {
		return nil
	}
	if n == 0 {
		return d.text[:0]
	}
	var out []byte
	copied := false
	if d.half {
		copied = true
		out = append(out, "\uFFFD"...)
		d.half = false
		n--
	}
	at, whole := UTF16Offset(d.text, n)
	if at < 0 {
		d.err = ErrUnexpectedEnd
		return nil
	}
	head := d.text[:at:at]
	d.text = d.text[at:]
	if !whole { // The cut is in the middle of the four bytes at the front.
		copied = true
		d.text = d.text[4:]
		d.half = true
	}
	if !copied {
		return head
	}
	out = append(out, head...)
	if !whole {
		out = append(out, "\uFFFD"...)
	}
	return out
}
