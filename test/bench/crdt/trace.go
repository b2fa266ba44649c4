package main

import (
	"bytes"
	"compress/gzip"
	_ "embed" // For the trace.
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"
)

//go:embed testdata/automerge-paper.trace.gz
var packedTrace []byte

// keystroke inserts text at a position, or deletes one character there if text is empty.
type keystroke struct {
	at   int
	text string
}

// readTrace returns the keystrokes of B4; testdata/README.md tells how they are stored.
func readTrace() ([]keystroke, error) {
	z, err := gzip.NewReader(bytes.NewReader(packedTrace))
	if err != nil {
		return nil, fmt.Errorf("read the trace: %w", err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("read the trace: %w", err)
	}
	number := func() int {
		v, n := binary.Uvarint(raw)
		raw = raw[max(n, 0):]
		return int(v)
	}
	count, size := number(), number()
	text := raw[size:]
	out := make([]keystroke, 0, count)
	cursor := 0
	for range count {
		v := number()
		distance := v >> 1
		k := keystroke{at: cursor + (distance>>1 ^ -(distance & 1))}
		cursor = k.at
		if v&1 == 0 {
			_, n := utf8.DecodeRune(text)
			k.text = string(text[:n])
			text = text[n:]
			cursor++
		}
		out = append(out, k)
	}
	return out, nil
}
