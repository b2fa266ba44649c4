// Package protocol owns the bytes that Yjs clients and servers exchange, in two dialects: y-websocket's and
// Hocuspocus's. It reads and writes messages of sync, awareness and authentication, and keeps presence.
//
// It reads bytes of strangers, so that every length is checked before it is used. It knows nothing of sockets,
// documents or stores; updates and state vectors are opaque. What the messages mean is told in docs/protocol.md.
package protocol

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Kind says what a message is. The values are ours; on the wire a kind is one or two variable-length numbers, which
// differ between the dialects.
type Kind uint8

// The kinds of messages.
const (
	// SyncStep1 carries a state vector and asks for what the sender lacks.
	SyncStep1 Kind = iota + 1
	// SyncStep2 answers SyncStep1 with an update.
	SyncStep2
	// Update carries one change.
	Update
	// Awareness carries presence: cursors, names, colors.
	Awareness
	// QueryAwareness asks for the presence of everybody.
	QueryAwareness
	// Token is a client's access token, to begin with or to replace one that expires.
	Token
	// Denied is the server's refusal, with a reason.
	Denied
	// Authenticated says that a token was accepted; its payload is the scope, ReadWrite or ReadOnly.
	Authenticated
	// TokenExpires asks a client for a new token. In y-websocket's dialect its payload is the number of seconds that are
	// left, as EncodeSeconds writes it; Hocuspocus has none.
	TokenExpires
	// Stateless carries an application's own message, which is not kept. Hocuspocus only.
	Stateless
	// Close ends the use of one document of several on the connection. Hocuspocus only.
	Close
	// SyncStatus says whether a change is durable: Saved or NotSaved. Hocuspocus only.
	SyncStatus
	// Ping and Pong are about the connection, not about a document. Hocuspocus only.
	Ping
	// Pong answers Ping.
	Pong
)

// The scopes of Authenticated.
const (
	ReadWrite = "read-write"
	ReadOnly  = "readonly"
)

// The payloads of SyncStatus.
var (
	Saved    = []byte{1}
	NotSaved = []byte{0}
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
	// ErrText says that what must be text or JSON is not.
	ErrText = errors.New("malformed text")
)

// Message is one message. Payload is the state vector, update, awareness update, token or text that it carries; it
// shares the bytes that were parsed.
type Message struct {
	Kind    Kind
	Payload []byte
	// Reply says of a SyncStep1 that it answers one, so that it is not to be answered with another one. Hocuspocus only.
	Reply bool
}

// Dialect is how messages are written.
type Dialect uint8

// The dialects.
const (
	// YWebsocket is spoken by y-websocket: a connection is about one document.
	YWebsocket Dialect = iota + 1
	// Hocuspocus is spoken by @hocuspocus/provider: every message begins with the address of the document that it is
	// about, which is its name, and on request an identifier after a NUL.
	Hocuspocus
)

// String returns the dialect's name, as metrics have it.
func (d Dialect) String() string {
	if d == Hocuspocus {
		return "hocuspocus"
	}
	return "y-websocket"
}

// The first number of a message; y-websocket has those up to wireQueryAwareness.
const (
	wireSync               = 0
	wireAwareness          = 1
	wireAuth               = 2
	wireQueryAwareness     = 3
	wireSyncReply          = 4
	wireStateless          = 5
	wireBroadcastStateless = 6
	wireClose              = 7
	wireSyncStatus         = 8
	wirePing               = 9
	wirePong               = 10
)

// The second number of a message of sync.
const (
	wireStep1  = 0
	wireStep2  = 1
	wireUpdate = 2
)

// The second number of a message of authentication. y-protocols knows only the refusal and ignores the others, which
// are ours.
const (
	wireYDenied        = 0
	wireYToken         = 1
	wireYAuthenticated = 2
	wireYExpires       = 3

	wireHToken         = 0
	wireHDenied        = 1
	wireHAuthenticated = 2
)

const (
	// maxSafeInteger is the largest number that lib0 writes: JavaScript's Number.MAX_SAFE_INTEGER.
	maxSafeInteger = 1<<53 - 1
	// maxAddress and maxToken bound texts, in bytes.
	maxAddress = 512
	maxToken   = 16 << 10
)

// Parse reads one message, all of data, and in Hocuspocus's dialect the address that it begins with. Its errors wrap
// this package's.
func (d Dialect) Parse(data []byte) (address []byte, m Message, err error) {
	r := reader{data}
	if d == Hocuspocus {
		if len(data) == 1 && (data[0] == wirePing || data[0] == wirePong) {
			return nil, Message{Kind: map[byte]Kind{wirePing: Ping, wirePong: Pong}[data[0]]}, nil
		}
		if address, err = r.text(maxAddress); err != nil {
			return nil, Message{}, err
		}
	}
	m, err = d.parse(&r)
	if err == nil && len(r.rest) > 0 {
		err = fmt.Errorf("%w: %d", ErrTrailing, len(r.rest))
	}
	if err != nil {
		return nil, Message{}, err
	}
	return address, m, nil
}

func (d Dialect) parse(r *reader) (Message, error) {
	kind, err := r.number()
	if err != nil {
		return Message{}, err
	}
	if d == YWebsocket && kind > wireQueryAwareness {
		return Message{}, fmt.Errorf("%w: %d", ErrUnknown, kind)
	}
	m := Message{}
	switch kind {
	case wireSync, wireSyncReply:
		step, err := r.number()
		if err != nil {
			return Message{}, err
		}
		if step > wireUpdate {
			return Message{}, fmt.Errorf("%w: sync step %d", ErrUnknown, step)
		}
		m.Kind = [...]Kind{wireStep1: SyncStep1, wireStep2: SyncStep2, wireUpdate: Update}[step]
		m.Reply = kind == wireSyncReply
		m.Payload, err = r.bytes()
		return m, err
	case wireAwareness:
		m.Kind = Awareness
		m.Payload, err = r.bytes()
	case wireAuth:
		return d.parseAuth(r)
	case wireQueryAwareness:
		m.Kind = QueryAwareness
	case wireStateless, wireBroadcastStateless:
		m.Kind = Stateless
		m.Payload, err = r.text(len(r.rest))
	case wireClose:
		// Servers give a reason, clients do not.
		m.Kind = Close
		if len(r.rest) > 0 {
			m.Payload, err = r.text(len(r.rest))
		}
	case wireSyncStatus:
		m.Kind = SyncStatus
		if len(r.rest) == 0 {
			return Message{}, ErrTruncated
		}
		m.Payload, r.rest = r.rest[:1:1], r.rest[1:]
	default:
		return Message{}, fmt.Errorf("%w: %d", ErrUnknown, kind)
	}
	return m, err
}

func (d Dialect) parseAuth(r *reader) (Message, error) {
	kind, err := r.number()
	if err != nil {
		return Message{}, err
	}
	m := Message{}
	switch {
	case d == YWebsocket && kind == wireYExpires:
		m.Kind = TokenExpires
		m.Payload, r.rest = r.rest, nil
		return m, nil
	case d == YWebsocket && kind == wireYToken || d == Hocuspocus && kind == wireHToken:
		if d == Hocuspocus && len(r.rest) == 0 {
			return Message{Kind: TokenExpires}, nil
		}
		m.Kind = Token
		if m.Payload, err = r.text(maxToken); err != nil {
			return Message{}, err
		}
		if d == Hocuspocus && len(r.rest) > 0 {
			// Since its version 3.4 the provider tells its version.
			_, err = r.text(maxAddress)
		}
		return m, err
	case d == YWebsocket && kind == wireYDenied, d == Hocuspocus && kind == wireHDenied:
		m.Kind = Denied
	case kind == wireYAuthenticated:
		m.Kind = Authenticated
	default:
		return Message{}, fmt.Errorf("%w: authentication %d", ErrUnknown, kind)
	}
	m.Payload, err = r.text(len(r.rest))
	return m, err
}

// wireHead is what a message of each kind begins with, without its address, and whether the payload's length precedes
// the payload.
func (d Dialect) head(kind Kind) (first, second int, counted bool) {
	const none = -1
	switch kind {
	case SyncStep1:
		return wireSync, wireStep1, true
	case SyncStep2:
		return wireSync, wireStep2, true
	case Update:
		return wireSync, wireUpdate, true
	case Awareness:
		return wireAwareness, none, true
	case QueryAwareness:
		return wireQueryAwareness, none, false
	case Token:
		if d == YWebsocket {
			return wireAuth, wireYToken, true
		}
		return wireAuth, wireHToken, true
	case Denied:
		if d == YWebsocket {
			return wireAuth, wireYDenied, true
		}
		return wireAuth, wireHDenied, true
	case Authenticated:
		if d == YWebsocket {
			return wireAuth, wireYAuthenticated, true
		}
		return wireAuth, wireHAuthenticated, true
	case TokenExpires:
		if d == YWebsocket {
			return wireAuth, wireYExpires, false
		}
		return wireAuth, wireHToken, false
	case Stateless:
		return wireStateless, none, true
	case Close:
		return wireClose, none, true
	case SyncStatus:
		return wireSyncStatus, none, false
	case Ping:
		return wirePing, none, false
	case Pong:
		return wirePong, none, false
	default:
		panic(fmt.Sprintf("protocol: unknown kind %d", kind))
	}
}

// AppendHead appends to out what precedes a payload of the given size in a message. The address is ignored in
// y-websocket's dialect.
func (d Dialect) AppendHead(out []byte, address string, kind Kind, size int) []byte {
	first, second, counted := d.head(kind)
	if d == Hocuspocus && kind != Ping && kind != Pong {
		out = append(appendNumber(out, uint64(len(address))), address...)
	}
	out = append(out, byte(first))
	if second >= 0 {
		out = append(out, byte(second))
	}
	if counted {
		out = appendNumber(out, uint64(size))
	}
	return out
}

// Append appends a message to out.
func (d Dialect) Append(out []byte, address string, kind Kind, payload []byte) []byte {
	return append(d.AppendHead(out, address, kind, len(payload)), payload...)
}

// Parse reads one message in y-websocket's dialect, all of data. Its errors wrap this package's.
func Parse(data []byte) (Message, error) {
	_, m, err := YWebsocket.Parse(data)
	return m, err
}

// Encode writes a message in y-websocket's dialect.
func Encode(kind Kind, payload []byte) []byte {
	return YWebsocket.Append(make([]byte, 0, len(payload)+8), "", kind, payload)
}

// EncodeSeconds writes the payload of TokenExpires.
func EncodeSeconds(n int) []byte { return appendNumber(nil, uint64(max(n, 0))) }

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

// text reads a text of limited length. JavaScript clients throw on bytes that are not UTF-8, so that nobody may send
// them to others.
func (r *reader) text(limit int) ([]byte, error) {
	out, err := r.bytes()
	switch {
	case err != nil:
		return nil, err
	case len(out) > limit:
		return nil, fmt.Errorf("%w: a text of %d bytes", ErrLimit, len(out))
	case !utf8.Valid(out):
		return nil, fmt.Errorf("%w: not UTF-8", ErrText)
	}
	return out, nil
}

func appendNumber(out []byte, n uint64) []byte {
	for n >= 0x80 {
		out = append(out, byte(n)|0x80)
		n >>= 7
	}
	return append(out, byte(n))
}
