package edge

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/gorilla/websocket"
)

// frameError says what is wrong with a client's frames: the code is for the close frame.
type frameError struct {
	code   int
	reason string
}

func (e *frameError) Error() string { return e.reason }

func malformed(reason string) error { return &frameError{websocket.CloseProtocolError, reason} }

// tooBig is the error of a message that is larger than a client may send.
func tooBig(limit int) error {
	return &frameError{websocket.CloseMessageTooBig, fmt.Sprintf("a message may have at most %d bytes", limit)}
}

// incoming makes messages of the bytes of a client, as RFC 6455, section 5, and RFC 7692 have them. It holds nothing
// between two messages, so that it costs an idle connection nothing.
type incoming struct {
	// deflate says that messages may be compressed, in both directions. It never changes.
	deflate bool
	// broken says that a frame was malformed: nobody knows where the next one begins.
	broken bool
	// limit bounds a message, uncompressed.
	limit int32
	// begun is what has arrived of a message that is not complete, nil if there is none.
	begun *begun
}

// begun is the beginning of a message.
type begun struct {
	// partial is the beginning of a frame whose end has not arrived.
	partial []byte
	// message is what earlier frames of a message brought; kind is its kind, 0 if no message has begun, and compressed what
	// its first frame said.
	message    []byte
	kind       byte
	compressed bool
}

const (
	continuation  = 0
	maskBit       = 0x80
	reservedBits  = 0x30
	maxControl    = 125
	largestHeader = 14
)

// header is a frame's. size is its own size, length that of the payload.
type header struct {
	final, compressed bool
	opcode            byte
	mask              [4]byte
	size, length      int
}

// parseHeader reads a header. It returns false if data does not have all of it.
func parseHeader(data []byte, limit int) (h header, whole bool, err error) {
	if len(data) < 2 {
		return h, false, nil
	}
	h = header{final: data[0]&finalBit != 0, compressed: data[0]&compressedBit != 0, opcode: data[0] & 0xf}
	length, size := uint64(data[1]&^maskBit), 2
	switch length {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if data[0]&reservedBits != 0 {
		return h, false, malformed("reserved bits are set")
	}
	if data[1]&maskBit == 0 {
		return h, false, malformed("frames of clients must be masked")
	}
	if len(data) < size+4 {
		return h, false, nil
	}
	switch size {
	case 4:
		length = uint64(binary.BigEndian.Uint16(data[2:]))
	case 10:
		length = binary.BigEndian.Uint64(data[2:])
	}
	h.mask = [4]byte(data[size:])
	switch control := h.opcode >= websocket.CloseMessage; {
	case control && (h.opcode > websocket.PongMessage || !h.final || h.compressed || length > maxControl):
		return h, false, malformed("a control frame that is none")
	case !control && h.opcode > websocket.BinaryMessage:
		return h, false, malformed("an unknown kind of frame")
	case length > uint64(limit): //nolint:gosec // It is positive.
		return h, false, tooBig(limit)
	}
	h.size, h.length = size+4, int(length) //nolint:gosec // At most the limit.
	return h, true, nil
}

// receiver takes messages and control frames. The payload is its own.
type receiver interface {
	receive(opcode byte, payload []byte) error
}

// feed takes bytes as they arrive, and hands on each message, and each control frame, that they complete. Errors are a
// frameError, after which everything is skipped, or the receiver's, after which nothing can be fed.
func (in *incoming) feed(data []byte, to receiver) error {
	if in.broken {
		return nil
	}
	err := in.parse(data, to)
	if err != nil {
		if wrong := (*frameError)(nil); errors.As(err, &wrong) {
			in.broken, in.begun = true, nil
		}
	}
	return err
}

func (in *incoming) parse(data []byte, to receiver) error {
	var here begun // Most messages are complete, and need no memory of their own.
	b := &here
	if in.begun != nil {
		b = in.begun
	}
	if len(b.partial) > 0 {
		b.partial = append(b.partial, data...)
		data = b.partial
	}
	for {
		h, whole, err := parseHeader(data, int(in.limit))
		if err != nil {
			return err
		}
		if !whole || len(data) < h.size+h.length {
			break
		}
		payload := unmask(data[h.size:h.size+h.length], h.mask)
		data = data[h.size+h.length:]
		if err := in.frame(b, h, payload, to); err != nil {
			return err
		}
	}
	switch {
	case len(data) == 0:
		b.partial = nil
	case len(b.partial) == 0 || len(data) < len(b.partial):
		b.partial = bytes.Clone(data)
	}
	switch {
	case len(b.partial) == 0 && b.kind == 0:
		in.begun = nil
	case in.begun == nil:
		kept := here
		in.begun = &kept
	}
	return nil
}

// frame takes a whole frame.
func (in *incoming) frame(b *begun, h header, payload []byte, to receiver) error {
	switch {
	case h.opcode >= websocket.CloseMessage:
		return to.receive(h.opcode, payload)
	case (h.opcode == continuation) != (b.kind != 0), h.compressed && (!in.deflate || h.opcode == continuation):
		return malformed("a frame out of order")
	case len(b.message)+len(payload) > int(in.limit):
		return tooBig(int(in.limit))
	case h.opcode != continuation:
		b.kind, b.compressed = h.opcode, h.compressed
	}
	if !h.final {
		b.message = append(b.message, payload...)
		return nil
	}
	if len(b.message) > 0 {
		payload = append(b.message, payload...)
	}
	kind, compressed := b.kind, b.compressed
	b.message, b.kind, b.compressed = nil, 0, false
	if compressed {
		var err error
		if payload, err = inflate(payload, int(in.limit)); err != nil {
			return err
		}
	}
	return to.receive(kind, payload)
}

// unmask returns a copy of a payload without its mask.
func unmask(payload []byte, mask [4]byte) []byte {
	out := make([]byte, len(payload))
	key := binary.LittleEndian.Uint32(mask[:])
	wide := uint64(key)<<32 | uint64(key)
	i := 0
	for ; i+8 <= len(payload); i += 8 {
		binary.LittleEndian.PutUint64(out[i:], binary.LittleEndian.Uint64(payload[i:])^wide)
	}
	for ; i < len(payload); i++ {
		out[i] = payload[i] ^ mask[i&3]
	}
	return out
}

// blocks end a compressed message: the empty block that its sender has cut off, RFC 7692, section 7.2.2, and a last one.
var blocks = []byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// inflate decompresses a message. What is on the wire may be a thousandth of what comes out of it.
func inflate(payload []byte, limit int) ([]byte, error) {
	reader, _ := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(reader)
	if resetter, ok := reader.(flate.Resetter); ok {
		_ = resetter.Reset(io.MultiReader(bytes.NewReader(payload), bytes.NewReader(blocks)), nil) // It never fails.
	}
	out, err := io.ReadAll(io.LimitReader(reader, int64(limit)+1))
	switch {
	case len(out) > limit:
		return nil, tooBig(limit)
	case err != nil:
		return nil, &frameError{websocket.CloseInvalidFramePayloadData, "the compressed message is malformed"}
	}
	return out, nil
}
