package lib0

import "encoding/binary"

// UTF16Len returns the length of valid UTF-8 in UTF-16 code units, which is how JavaScript counts.
func UTF16Len(s []byte) int {
	i := ASCIIPrefix(s)
	n := i
	for ; i < len(s); i++ {
		b := s[i]
		if b&0xC0 != 0x80 { // Not a continuation.
			n++
			if b >= 0xF0 { // Beyond the basic plane: a surrogate pair.
				n++
			}
		}
	}
	return n
}

// UTF16Offset returns the byte offset at which n code units of valid UTF-8 end. Where n cuts a surrogate pair, it is
// the offset of that pair and whole is false. It returns -1 if s is shorter.
func UTF16Offset(s []byte, n uint64) (offset int, whole bool) {
	i := ASCIIPrefix(s[:min(uint64(len(s)), n)])
	if uint64(i) >= n {
		return int(n), true
	}
	n -= uint64(i)
	for i < len(s) {
		if n == 0 {
			return i, true
		}
		switch b := s[i]; {
		case b < 0x80:
			i++
			n--
		case b < 0xE0:
			i += 2
			n--
		case b < 0xF0:
			i += 3
			n--
		default:
			if n == 1 {
				return i, false
			}
			i += 4
			n -= 2
		}
	}
	if n == 0 {
		return i, true
	}
	return -1, false
}

// ASCIIPrefix returns how many of the leading bytes are ASCII, rounded down to what is quick to find.
func ASCIIPrefix(s []byte) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		if binary.LittleEndian.Uint64(s[i:])&0x8080808080808080 != 0 {
			return i
		}
	}
	for ; i < len(s) && s[i] < 0x80; i++ {
	}
	return i
}
