package durable

import (
	"encoding/binary"
	"errors"
	"time"

	"collab.dev/operator/editor/storage"
)

// errRecord says that a log record is not one of ours.
var errRecord = errors.New("malformed log record")

// A log record is: a format byte, the time in microseconds since 1970 and the sequence number as varints, the document
// and the user as length and bytes, and the update as the rest.
const recordFormat = 1

func encodeRecord(e storage.Entry) []byte {
	b := make([]byte, 0, len(e.Document)+len(e.User)+len(e.Update)+32)
	b = append(b, recordFormat)
	b = binary.AppendVarint(b, e.Time.UnixMicro())
	b = binary.AppendVarint(b, e.Seq)
	b = appendString(b, e.Document)
	b = appendString(b, e.User)
	return append(b, e.Update...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func decodeRecord(b []byte) (storage.Entry, error) {
	if len(b) == 0 || b[0] != recordFormat {
		return storage.Entry{}, errRecord
	}
	r := reader{rest: b[1:]}
	e := storage.Entry{Time: time.UnixMicro(r.varint()).UTC(), Seq: r.varint(), Document: r.string(), User: r.string()}
	if r.bad || e.Document == "" || e.Seq < 1 {
		return storage.Entry{}, errRecord
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

func (r *reader) string() string {
	length, n := binary.Uvarint(r.rest)
	if n <= 0 || length > uint64(len(r.rest)-n) {
		r.bad, r.rest = true, nil
		return ""
	}
	s := string(r.rest[n : n+int(length)])
	r.rest = r.rest[n+int(length):]
	return s
}
