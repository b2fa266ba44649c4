package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// A WebSocket frame, RFC 6455, section 5: the kinds that matter, and the other bits of its first two bytes.
const (
	binaryFrame = 2
	closeFrame  = 8
	pingFrame   = 9
	pongFrame   = 10

	finalBit     = 0x80
	reservedBits = 0x70
	maskBit      = 0x80
)

// mask is the RFC's example. Servers take any, and have the same work with it.
var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// handshake asks for a WebSocket, without compression, and returns what the server has sent after its answer.
func handshake(conn io.ReadWriter, host, path string) ([]byte, error) {
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, host)
	if err != nil {
		return nil, fmt.Errorf("ask for a WebSocket: %w", err)
	}
	reader := bufio.NewReaderSize(conn, readBuffer)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for a WebSocket: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("ask for a WebSocket: %s", response.Status)
	}
	return reader.Peek(reader.Buffered())
}

// appendFrame appends a whole message, or a control frame, as a client sends it.
func appendFrame(out []byte, kind byte, payload []byte) []byte {
	out = append(out, finalBit|kind)
	switch n := len(payload); {
	case n < 126:
		out = append(out, maskBit|byte(n))
	case n < 1<<16:
		out = binary.BigEndian.AppendUint16(append(out, maskBit|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, maskBit|127), uint64(n))
	}
	out = append(out, mask[:]...)
	for i, b := range payload {
		out = append(out, b^mask[i&3])
	}
	return out
}

// messages makes messages of a server's frames.
type messages struct {
	// begun is what the earlier frames of a message brought.
	begun []byte
}

// next takes the next message or control frame off the front of data, which keeps the payload. The kind is 0 if the
// rest has not arrived.
func (m *messages) next(data []byte) (kind byte, payload, rest []byte, err error) {
	for {
		f, rest, err := parseFrame(data)
		switch {
		case err != nil || f.payload == nil:
			return 0, nil, data, err
		case f.kind >= closeFrame:
			return f.kind, f.payload, rest, nil
		case f.final && len(m.begun) == 0:
			return binaryFrame, f.payload, rest, nil
		}
		m.begun = append(m.begun, f.payload...)
		if data = rest; f.final {
			whole := m.begun
			m.begun = nil
			return binaryFrame, whole, data, nil
		}
	}
}

// frame is one of a server's. Its payload is nil if the rest of it has not arrived.
type frame struct {
	final   bool
	kind    byte
	payload []byte
}

// parseFrame takes a frame off the front of data.
func parseFrame(data []byte) (f frame, rest []byte, err error) {
	if len(data) < 2 {
		return frame{}, data, nil
	}
	if data[0]&reservedBits != 0 || data[1]&maskBit != 0 {
		return frame{}, data, errors.New("what arrived is no frame of a server")
	}
	length, size := uint64(data[1]), 2
	switch {
	case length == 126 && len(data) >= 4:
		length, size = uint64(binary.BigEndian.Uint16(data[2:])), 4
	case length == 127 && len(data) >= 10:
		length, size = binary.BigEndian.Uint64(data[2:]), 10
	case length >= 126:
		return frame{}, data, nil
	}
	if uint64(len(data)-size) < length {
		return frame{}, data, nil
	}
	end := size + int(length)
	return frame{data[0]&finalBit != 0, data[0] & 0xf, data[size:end:end]}, data[end:], nil
}

// closed is the error of a close frame.
func closed(payload []byte) error {
	if len(payload) < 2 {
		return errors.New("the server closes the connection")
	}
	return fmt.Errorf("the server closes the connection: %d %s", binary.BigEndian.Uint16(payload), payload[2:])
}
