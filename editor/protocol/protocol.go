// Package protocol owns the bytes that y-websocket clients and servers exchange: sync, awareness and their bounds.
//
// It reads bytes of strangers, so that every length is checked before it is used. It knows nothing of sockets,
// documents or stores; updates and state vectors are opaque.
package protocol

import (
	"errors"
	"fmt"
)

// Kind says what a message is. The values are ours; on the wire a kind is one or two variable-length numbers.
type Kind uint8

// The kinds of messages that y-websocket's clients send and understand.
const (
	// SyncStep1 carries a state vector and asks for what the sender lacks.
	SyncStep1 Kind = iota + 1
	// SyncStep2 answers SyncStep1 with an update.
	SyncStep2
	// Update carries one change.
	Update
	// Awareness carries presence: cursors, names, colors.
	Awareness
	// Auth carries a refusal of the server. Servers ignore it.
	Auth
	// QueryAwareness asks for the presence of everybody.
	QueryAwareness
)

const (
	wireSync           = 0
	wireAwareness      = 1
	wireAuth           = 2
	wireQueryAwareness = 3

	wireStep1  = 0
	wireStep2  = 1
	wireUpdate = 2

	// maxSafeInteger is the largest number that lib0 writes: JavaScript's Number.MAX_SAFE_INTEGER.
	maxSafeInteger = 1<<53 - 1
)

var (
	// ErrTruncated says that the message ends before its content does.
	ErrTruncated = errors.New("the message is cut short")
	// ErrTrailing says that bytes follow the message.
	ErrTrailing = errors.New("bytes follow the message")
	// ErrNumber says that a number exceeds what JavaScript can represent.
	ErrNumber = errors.New("a number is too large")
	// ErrUnknown says that the message's type is not part of the protocol.
	ErrUnknown = errors.New("unknown type of message")
	// ErrLimit says that a count or a length exceeds what is accepted.
	ErrLimit = errors.New("too many or too long entries")
)

// Message is one message. Payload is the state vector, update or awareness update that it carries; it shares the bytes
// that were parsed.
type Message struct {
	Kind    Kind
	Payload []byte
}

// Parse reads one message, all of data. Its errors wrap this package's.
func Parse(data []byte) (Message, error) {
	r := reader{data}
	kind, err := r.number()
	if err != nil {
		return Message{}, err
	}
	m := Message{}
	switch kind {
	case wireSync:
		step, err := r.number()
		if err != nil {
			return Message{}, err
		}
		if step > wireUpdate {
			return Message{}, fmt.Errorf("%w: sync step %d", ErrUnknown, step)
		}
		m.Kind = [...]Kind{wireStep1: SyncStep1, wireStep2: SyncStep2, wireUpdate: Update}[step]
		m.Payload, err = r.bytes()
		if err != nil {
			return Message{}, err
		}
	case wireAwareness:
		m.Kind = Awareness
		if m.Payload, err = r.bytes(); err != nil {
			return Message{}, err
		}
	case wireAuth:
		m.Kind, m.Payload = Auth, r.rest
		return m, nil
	case wireQueryAwareness:
		m.Kind = QueryAwareness
	default:
		return Message{}, fmt.Errorf("%w: %d", ErrUnknown, kind)
	}
	if len(r.rest) > 0 {
		return Message{}, fmt.Errorf("%w: %d", ErrTrailing, len(r.rest))
	}
	return m, nil
}

// Encode writes a message of any kind but Auth, which only carries refusals.
func Encode(kind Kind, payload []byte) []byte {
	out := make([]byte, 0, len(payload)+8)
	switch kind {
	case SyncStep1:
		out = append(out, wireSync, wireStep1)
	case SyncStep2:
		out = append(out, wireSync, wireStep2)
	case Update:
		out = append(out, wireSync, wireUpdate)
	case Awareness:
		out = append(out, wireAwareness)
	case QueryAwareness:
		return append(out, wireQueryAwareness)
	default:
		panic(fmt.Sprintf("protocol: cannot encode kind %d", kind))
	}
	return append(appendNumber(out, uint64(len(payload))), payload...)
}

// EmptyUpdate is the update that changes nothing: no structs, no deletions.
func EmptyUpdate() []byte { return []byte{0, 0} }

// EmptyStateVector is the state vector of a document without content.
func EmptyStateVector() []byte { return []byte{0} }

// IsEmptyUpdate says that an update changes nothing.
func IsEmptyUpdate(update []byte) bool {
	return len(update) == 0 || len(update) == 2 && update[0] == 0 && update[1] == 0
}

type reader struct{ rest []byte }

func (r *reader) number() (uint64, error) {
	var n uint64
	for shift := 0; ; shift += 7 {
		if len(r.rest) == 0 {
			return 0, ErrTruncated
		}
		b := r.rest[0]
		r.rest = r.rest[1:]
		if shift > 49 {
			return 0, ErrNumber
		}
		n |= uint64(b&0x7f) << shift
		if n > maxSafeInteger {
			return 0, ErrNumber
		}
		if b < 0x80 {
			return n, nil
		}
	}
}

func (r *reader) bytes() ([]byte, error) {
	n, err := r.number()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.rest)) {
		return nil, fmt.Errorf("%w: %d bytes announced, %d there", ErrTruncated, n, len(r.rest))
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out, nil
}

func appendNumber(out []byte, n uint64) []byte {
	for n >= 0x80 {
		out = append(out, byte(n)|0x80)
		n >>= 7
	}
	return append(out, byte(n))
}
