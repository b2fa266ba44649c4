// Package record owns the bytes in which stores keep an operation. It knows nothing of where they keep them.
package record

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unsafe"

	"collab.dev/operator/editor/storage"
)

// ErrMalformed says that a record is not one of ours, or that no store takes what it holds.
var ErrMalformed = errors.New("malformed log record")

// A record is: a format byte, the time in microseconds since 1970 and the sequence number as varints, the document,
// the user and, in the second format, the origin as length and bytes, and the update as the rest.
const (
	plainFormat  = 1
	originFormat = 2
)

// Encode returns the record of an entry, which ends with the update. Publish is not part of it.
func Encode(e storage.Entry) []byte {
	return Append(make([]byte, 0, len(e.Document)+len(e.User)+len(e.Origin)+len(e.Update)+32), e)
}

// Append appends the record of an entry to b.
func Append(b []byte, e storage.Entry) []byte {
	format := byte(plainFormat)
	if e.Origin != "" {
		format = originFormat
	}
	b = append(b, format)
	b = binary.AppendVarint(b, e.Time.UnixMicro())
	b = binary.AppendVarint(b, e.Seq)
	b = appendString(b, e.Document)
	b = appendString(b, e.User)
	if format == originFormat {
		b = appendString(b, e.Origin)
	}
	return append(b, e.Update...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Decode reads a record. The entry's update is the end of it. It fails with ErrMalformed.
func Decode(b []byte) (storage.Entry, error) {
	e, err := Peek(b)
	e.Document, e.User, e.Origin = strings.Clone(e.Document), strings.Clone(e.User), strings.Clone(e.Origin)
	return e, err
}

// Peek reads a record as Decode does, but copies nothing: the entry's strings, too, are parts of it. Whoever keeps one
// must clone it.
func Peek(b []byte) (storage.Entry, error) {
	if len(b) == 0 || b[0] != plainFormat && b[0] != originFormat {
		return storage.Entry{}, ErrMalformed
	}
	r := reader{rest: b[1:]}
	e := storage.Entry{Time: time.UnixMicro(r.varint()).UTC(), Seq: r.varint(), Document: r.string(), User: r.string()}
	if b[0] == originFormat {
		e.Origin = r.string()
	}
	// What the database would refuse must not be taken out of the log as if it could be stored.
	if r.bad || e.Seq < 1 || storage.CheckEntry(e) != nil {
		return storage.Entry{}, ErrMalformed
	}
	e.Update = r.rest
	return e, nil
}

// reader takes fields off the front of a record. After the first malformed one, everything reads as empty.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// string takes a string, which is a part of the record.
func (r *reader) string() string {
	length, n := binary.Uvarint(r.rest)
	if n <= 0 || length > uint64(len(r.rest)-n) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := r.rest[n : n+int(length)]
	r.rest = r.rest[n+int(length):]
	return unsafe.String(unsafe.SliceData(s), len(s))
}
