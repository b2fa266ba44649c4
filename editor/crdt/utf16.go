package crdt

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"collab.dev/operator/editor/crdt/lib0"
)

const replacement = 0xFFFD

// units is text as UTF-16 code units: a byte each as long as none is beyond Latin-1, as JavaScript engines keep
// strings, and two bytes each from then on.
type units struct {
	b    []byte
	wide bool
}

func (u units) len() int {
	if u.wide {
		return len(u.b) / 2
	}
	return len(u.b)
}

func (u units) at(i int) uint16 {
	if u.wide {
		return binary.LittleEndian.Uint16(u.b[2*i:])
	}
	return uint16(u.b[i])
}

// slice returns the units from one to another, which alias u.
func (u units) slice(from, to int) units {
	if u.wide {
		return units{u.b[2*from : 2*to], true}
	}
	return units{u.b[from:to], false}
}

// grow makes room for n more units.
func (u *units) grow(n int) {
	if u.wide {
		n *= 2
	}
	u.b = slices.Grow(u.b, n)
}

func (u *units) widen() {
	wide := make([]byte, 2*len(u.b), 2*cap(u.b))
	for i, c := range u.b {
		wide[2*i] = c
	}
	u.b, u.wide = wide, true
}

// appendText appends valid UTF-8.
func (u *units) appendText(s []byte) {
	if !u.wide {
		n := lib0.ASCIIPrefix(s)
		u.b = append(u.b, s[:n]...)
		s = s[n:]
		for ; len(s) > 0 && s[0] <= 0xC3; s = s[n:] { // Latin-1.
			if n = 1; s[0] < utf8.RuneSelf {
				u.b = append(u.b, s[0])
			} else {
				n = 2
				u.b = append(u.b, s[0]<<6|s[1]&0x3F)
			}
		}
		if len(s) == 0 {
			return
		}
		u.widen()
	}
	u.b = slices.Grow(u.b, 2*len(s)) // There are no more units than bytes.
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			u.b = append(u.b, c, 0)
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		i += size
		if r > 0xFFFF {
			high, low := utf16.EncodeRune(r)
			u.b = binary.LittleEndian.AppendUint16(u.b, uint16(high))
			r = low
		}
		u.b = binary.LittleEndian.AppendUint16(u.b, uint16(r))
	}
}

// appendUnits appends the units of v.
func (u *units) appendUnits(v units) {
	if u.wide == v.wide {
		u.b = append(u.b, v.b...)
		return
	}
	if !u.wide {
		if !v.beyondLatin() {
			for i := range v.len() {
				u.b = append(u.b, v.b[2*i])
			}
			return
		}
		u.widen()
		u.b = append(u.b, v.b...)
		return
	}
	for _, c := range v.b {
		u.b = append(u.b, c, 0)
	}
}

func (u units) beyondLatin() bool {
	for i := 1; u.wide && i < len(u.b); i += 2 {
		if u.b[i] != 0 {
			return true
		}
	}
	return false
}

// replace puts a replacement character in the place of a unit of wide text.
func (u *units) replace(i int) { binary.LittleEndian.PutUint16(u.b[2*i:], replacement) }

// appendTo appends the units as UTF-8. Half a surrogate pair becomes U+FFFD.
func (u units) appendTo(dst []byte) []byte {
	if !u.wide {
		n := lib0.ASCIIPrefix(u.b)
		dst = append(dst, u.b[:n]...)
		for _, c := range u.b[n:] {
			if c < utf8.RuneSelf {
				dst = append(dst, c)
			} else {
				dst = append(dst, 0xC0|c>>6, 0x80|c&0x3F)
			}
		}
		return dst
	}
	for i, n := 0, u.len(); i < n; i++ {
		c := u.at(i)
		if c < utf8.RuneSelf {
			dst = append(dst, byte(c))
			continue
		}
		r := rune(c)
		if utf16.IsSurrogate(r) {
			next := rune(0)
			if i+1 < n {
				next = rune(u.at(i + 1))
			}
			if r = utf16.DecodeRune(r, next); r != replacement {
				i++
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// utf8Len returns how many bytes appendTo appends.
func (u units) utf8Len() int {
	n := u.len()
	if !u.wide {
		for _, c := range u.b[lib0.ASCIIPrefix(u.b):] {
			n += int(c >> 7)
		}
		return n
	}
	for i, all := 0, u.len(); i < all; i++ {
		c := u.at(i)
		if c < utf8.RuneSelf {
			continue
		}
		n++
		if c >= 0x800 {
			n++
			if isHigh(c) && i+1 < all && isLow(u.at(i+1)) {
				i++ // Two units, counted once each, are four bytes: two more in all.
			}
		}
	}
	return n
}

func isHigh(u uint16) bool { return u&0xFC00 == 0xD800 }

func isLow(u uint16) bool { return u&0xFC00 == 0xDC00 }
