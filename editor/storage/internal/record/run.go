package record

import (
	"encoding/binary"
	"iter"
)

// A run is several records in one: a format byte, which no record begins with, and each record behind its length as a
// varint.
const runFormat = 3

// AppendRun appends a record to a run, or begins one if that is empty.
func AppendRun(run, record []byte) []byte {
	if len(run) == 0 {
		run = append(run, runFormat)
	}
	run = binary.AppendUvarint(run, uint64(len(record)))
	return append(run, record...)
}

// Records ranges over the records of a run, which are parts of it; what is no run is taken as a record. Where a run has
// no record, also after none at all, the last that is yielded is nil, which is malformed.
func Records(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(b) == 0 || b[0] != runFormat {
			yield(b)
			return
		}
		for rest := b[1:]; ; {
			length, n := binary.Uvarint(rest)
			if n <= 0 || length > uint64(len(rest)-n) {
				yield(nil)
				return
			}
			end := n + int(length)
			if !yield(rest[n:end:end]) || end == len(rest) {
				return
			}
			rest = rest[end:]
		}
	}
}
