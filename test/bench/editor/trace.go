package main

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// keystroke inserts text at a position, or deletes one character there if text is empty.
type keystroke struct {
	at   int
	text string
}

// readTrace reads the editing trace of B4 from the benchmark of the document engine, which tells how it is stored.
func readTrace(path string) ([]keystroke, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the trace: %w", err)
	}
	defer func() { _ = file.Close() }()
	z, err := gzip.NewReader(file)
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
	if size > len(raw) {
		return nil, errors.New("read the trace: it is cut short")
	}
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
			k.text, text = string(text[:n]), text[n:]
			cursor++
		}
		out = append(out, k)
	}
	return out, nil
}
