package edge

import (
	"compress/flate"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/protocol"
)

const (
	// compressFrom is from how many bytes on compressing a message pays.
	compressFrom = 1024
	// maxSpare bounds the buffers that are kept for the next message.
	maxSpare = 64 << 10
)

// A WebSocket frame's first byte: its kind, that it is the message's last, and that the message is compressed.
const (
	finalBit      = 0x80
	compressedBit = 0x40
)

// appendFrame appends a whole message as a WebSocket server sends it, RFC 6455, section 5.2.
func appendFrame(out []byte, first byte, payload []byte) []byte {
	return append(appendHeader(out, first, len(payload)), payload...)
}

func appendHeader(out []byte, first byte, size int) []byte {
	out = append(out, finalBit|first)
	switch {
	case size < 126:
		return append(out, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, 126), uint16(size))
	default:
		return binary.BigEndian.AppendUint64(append(out, 127), uint64(size))
	}
}

// appendMessage appends what is said in a dialect, compressed if the client knows how to and it pays.
func appendMessage(
	out []byte, dialect protocol.Dialect, address string, kind protocol.Kind, payload []byte, deflate bool,
) []byte {
	var room [64]byte
	head := dialect.AppendHead(room[:0], address, kind, len(payload))
	size := len(head) + len(payload)
	if !deflate || size < compressFrom {
		out = appendHeader(slices.Grow(out, size+largestHeader), websocket.BinaryMessage, size)
		return append(append(out, head...), payload...)
	}
	d, _ := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	return appendFrame(out, websocket.BinaryMessage|compressedBit, d.deflate(head, payload))
}

// deflater compresses messages as RFC 7692 has it, each by itself.
type deflater struct {
	writer *flate.Writer
	out    []byte
}

var deflaters = sync.Pool{New: func() any {
	d := &deflater{}
	d.writer, _ = flate.NewWriter(d, flate.BestSpeed) // The level is valid.
	return d
}}

// Write implements io.Writer for the compressor.
func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

// deflate returns the compressed message, whose parts follow each other, until the next call.
func (d *deflater) deflate(message ...[]byte) []byte {
	if cap(d.out) > maxSpare {
		d.out = nil
	}
	d.out = d.out[:0]
	d.writer.Reset(d)
	for _, part := range message {
		_, _ = d.writer.Write(part) // It writes to memory.
	}
	_ = d.writer.Flush()
	return d.out[:len(d.out)-4] // Section 7.2.1: without the empty block that a flush ends with.
}

// message is what happened in a room, for all members.
type message struct {
	kind    protocol.Kind
	payload []byte
	// presences are what the payload of awareness says.
	presences []protocol.Presence
	// frames are what was made of it for members so far; nil if nobody else gets it.
	frames *frames
}

// frames are a message as it is sent, one for each sort of connections, of which there is mostly one.
type frames struct {
	all  []frame
	room [1]frame
}

func newFrames() *frames {
	f := &frames{}
	f.all = f.room[:0]
	return f
}

// frame is a message as it is sent to all whose connections are of one sort.
type frame struct {
	dialect protocol.Dialect
	address string
	deflate bool
	bytes   []byte
}

// frame returns the message as it is sent to a client, nil if it is for that one only.
func (m message) frame(dialect protocol.Dialect, address string, deflate bool) []byte {
	if m.frames == nil {
		return nil
	}
	for _, f := range m.frames.all {
		if f.dialect == dialect && f.address == address && f.deflate == deflate {
			return f.bytes
		}
	}
	made := frame{dialect, address, deflate, appendMessage(nil, dialect, address, m.kind, m.payload, deflate)}
	m.frames.all = append(m.frames.all, made)
	return made.bytes
}
