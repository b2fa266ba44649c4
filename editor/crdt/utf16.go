package crdt

import (
	"slices"
	"unicode/utf16"
	"unicode/utf8"

	"collab.dev/operator/editor/crdt/lib0"
)

const replacement = 0xFFFD

// decodeUTF16 appends the valid UTF-8 s as UTF-16 code units.
func decodeUTF16(dst []uint16, s []byte) []uint16 {
	at := len(dst)
	dst = slices.Grow(dst, len(s)) // There are no more units than bytes.
	out := dst[at : at+len(s)]
	n := 0
	for i := 0; i < len(s); {
		if b := s[i]; b < utf8.RuneSelf {
			out[n] = uint16(b)
			n++
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		i += size
		if r > 0xFFFF {
			high, low := utf16.EncodeRune(r)
			out[n], out[n+1] = uint16(high), uint16(low)
			n += 2
			continue
		}
		out[n] = uint16(r)
		n++
	}
	return dst[:at+n]
}

// appendUTF16 appends the code units s as UTF-8. Half a surrogate pair becomes U+FFFD.
func appendUTF16(dst []byte, s []uint16) []byte {
	for i := 0; i < len(s); i++ {
		u := s[i]
		switch {
		case u < utf8.RuneSelf:
			dst = append(dst, byte(u))
		case u < 0x800:
			dst = append(dst, 0xC0|byte(u>>6), 0x80|byte(u&0x3F))
		default:
			r := rune(u)
			if utf16.IsSurrogate(r) {
				next := rune(0)
				if i+1 < len(s) {
					next = rune(s[i+1])
				}
				if r = utf16.DecodeRune(r, next); r != replacement {
					i++
				}
			}
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// utf8Len returns how many bytes appendUTF16 appends.
func utf8Len(s []uint16) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		u := s[i]
		if u < utf8.RuneSelf {
			continue
		}
		n++
		if u >= 0x800 {
			n++
			if isHigh(u) && i+1 < len(s) && isLow(s[i+1]) {
				i++ // Two units, counted once each, are four bytes: two more in all.
			}
		}
	}
	return n
}

func isHigh(u uint16) bool { return u&0xFC00 == 0xD800 }

func isLow(u uint16) bool { return u&0xFC00 == 0xDC00 }

// appendVarUTF16 appends s as a UTF-8 string behind its length.
func appendVarUTF16(dst []byte, s []uint16) []byte {
	return appendUTF16(lib0.AppendVarUint(dst, uint64(utf8Len(s))), s)
}

// appendString appends s as UTF-16 code units; what is not valid UTF-8 becomes U+FFFD.
func appendString(dst []uint16, s string) []uint16 {
	for i := 0; i < len(s); {
		if b := s[i]; b < utf8.RuneSelf {
			dst = append(dst, uint16(b))
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		dst = utf16.AppendRune(dst, r)
		i += n
	}
	return dst
}

// utf16Len returns how many code units appendString appends.
func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}
