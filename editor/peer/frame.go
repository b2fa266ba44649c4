// Package peer owns the link between editor pods: its frames, their bytes, and the gRPC stream with mutual TLS that
// carries them.
//
// One stream leads from a pod, as edge, to another pod, as owner; the documents that the edge needs from that owner
// are channels of it. The package knows nothing of documents, shards or clients: it carries frames.
package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Kind says what a frame is.
type Kind uint8

// The kinds of frames, with the fields that they use.
const (
	// Ping asks the owner for a Pong.
	Ping Kind = iota + 1
	// Pong answers Ping.
	Pong
	// Attach opens a channel to the document Text, whose shard has epoch ID as far as the edge knows.
	Attach
	// Attached says that the channel is open; Parts[0] is the document's state vector, ID how many bytes it may grow by.
	Attached
	// Refused says that the channel cannot be opened: the pod does not serve the document or, with the Text Deleted,
	// nobody does.
	Refused
	// Moved closes a channel: the pod serves the document no longer.
	Moved
	// Detach closes a channel: the edge needs the document no longer.
	Detach
	// Update is a change, Parts[0]. From the edge it has a number, ID, and an Author, Text; a second part asks for an echo.
	Update
	// Ack says that the edge's update ID is stored.
	Ack
	// Rejected says that the edge's update ID will never be stored, and why: Text.
	Rejected
	// Awareness is an awareness update, Parts[0].
	Awareness
	// Sync asks, under the number ID, for what somebody with the state vector Parts[0] lacks.
	Sync
	// Content answers Sync ID with an update, Parts[0].
	Content
	// ContentEnd ends the answer to Sync ID with the document's state vector and an awareness update.
	ContentEnd
	// Release asks the previous owner for the shard Channel, which has a new owner at epoch ID. It is a call of its own.
	Release
	// Released answers Release.
	Released
	// Stateless is an application's message to everybody in the document, Parts[0]. It is not kept.
	Stateless
	// Check asks, under the number ID, whether the document has all of the update Parts[0], which is not integrated: Ack
	// says that it has, durably.
	Check
	// Follow asks the edge to take the document's updates from the store's feed if ID is 1, and from the owner if it is 0.
	Follow
	// Following says where the edge takes them from, as Follow does.
	Following
	// Evict, under the number ID, asks the owner to close the document for everybody, so that it is opened as it is
	// stored: Ack says that the stores have all of it.
	Evict
	// Part is the next piece, Parts[0], of the first part of the channel's next frame, which has ID bytes; without a piece
	// it says that the rest will not come. Streams put frames together.
	Part
)

// Deleted is why a channel is refused for good: the document is deleted.
const Deleted = "deleted"

// maxParts bounds what one frame makes its reader reserve.
const maxParts = 1 << 20

// Frame is one message of the link.
type Frame struct {
	Kind    Kind
	Channel uint32
	ID      uint64
	Text    string
	Parts   [][]byte
}

// Author is the Text of an edge's Update: how the change came, and from which user.
func Author(origin, user string) string { return origin + "\x00" + user }

// SplitAuthor undoes Author.
func SplitAuthor(text string) (origin, user string) {
	origin, user, _ = strings.Cut(text, "\x00")
	return origin, user
}

// Single returns a frame with one part, which takes one piece of memory with it.
func Single(kind Kind, part []byte) *Frame {
	f := &struct {
		Frame
		only [1][]byte
	}{Frame{Kind: kind}, [1][]byte{part}}
	f.Parts = f.only[:]
	return &f.Frame
}

// Size is about the memory that the frame holds, in bytes.
func (f *Frame) Size() int {
	n := 64 + len(f.Text)
	for _, p := range f.Parts {
		n += 24 + len(p)
	}
	return n
}

var errFrame = errors.New("malformed frame")

// codec writes frames for gRPC: kind, channel, id, text, parts; numbers in variable length, bytes after their length.
type codec struct{}

// Name is the content subtype of the link's calls.
func (codec) Name() string { return "collab-peer-v1" }

// Marshal writes a frame.
func (codec) Marshal(v any) ([]byte, error) {
	f, ok := v.(*Frame)
	if !ok {
		return nil, fmt.Errorf("cannot encode a %T", v)
	}
	out := make([]byte, 0, f.Size())
	out = append(out, byte(f.Kind))
	out = binary.AppendUvarint(out, uint64(f.Channel))
	out = binary.AppendUvarint(out, f.ID)
	out = append(binary.AppendUvarint(out, uint64(len(f.Text))), f.Text...)
	out = binary.AppendUvarint(out, uint64(len(f.Parts)))
	for _, p := range f.Parts {
		out = append(binary.AppendUvarint(out, uint64(len(p))), p...)
	}
	return out, nil
}

// Unmarshal reads a frame. The frame keeps a copy of the bytes, which gRPC uses again.
func (codec) Unmarshal(data []byte, v any) error {
	f, ok := v.(*Frame)
	if !ok {
		return fmt.Errorf("cannot decode a %T", v)
	}
	if len(data) == 0 {
		return errFrame
	}
	rest := append([]byte(nil), data[1:]...)
	bad := false
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			bad = true
			return 0
		}
		rest = rest[size:]
		return n
	}
	bytes := func() []byte {
		n := number()
		if bad || n > uint64(len(rest)) {
			bad = true
			return nil
		}
		out := rest[:n:n]
		rest = rest[n:]
		return out
	}
	channel := number()
	*f = Frame{Kind: Kind(data[0]), Channel: uint32(channel), ID: number(), Text: string(bytes())}
	parts := number()
	if bad || channel > 1<<32-1 || parts > maxParts || parts > uint64(len(rest)) {
		return errFrame
	}
	f.Parts = make([][]byte, 0, parts)
	for range parts {
		f.Parts = append(f.Parts, bytes())
	}
	if bad || len(rest) > 0 {
		return errFrame
	}
	return nil
}
