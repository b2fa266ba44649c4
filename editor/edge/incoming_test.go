package edge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"pgregory.net/rapid"
)

// heard is what was made of the bytes of a client.
type heard struct {
	opcode  byte
	payload string
}

// receives is a receiver.
type receives func(opcode byte, payload []byte) error

func (r receives) receive(opcode byte, payload []byte) error { return r(opcode, payload) }

// collect feeds chunks and returns what was taken, and the code of the first error.
func collect(in *incoming, chunks ...[]byte) (all []heard, code int) {
	for _, chunk := range chunks {
		err := in.feed(slices.Clone(chunk), receives(func(opcode byte, payload []byte) error {
			all = append(all, heard{opcode, string(payload)})
			return nil
		}))
		var wrong *frameError
		if errors.As(err, &wrong) && code == 0 {
			code = wrong.code
		}
	}
	return all, code
}

// clientFrame is a frame as a client sends it.
func clientFrame(first byte, payload []byte) []byte {
	frame := appendFrame(nil, first&^finalBit, payload)
	frame[0] = first
	size := len(frame) - len(payload)
	mask := []byte{1, 0x80, 0xff, 7}
	out := append(slices.Clone(frame[:size]), mask...)
	out[1] |= maskBit
	for i, b := range payload {
		out = append(out, b^mask[i%4])
	}
	return out
}

// record returns what gorilla's client sends when it is told to write, compressed or not.
func record(t *testing.T, compressed bool, write func(*websocket.Conn) error) []byte {
	t.Helper()
	sent := make(chan []byte, 1)
	upgrader := websocket.Upgrader{EnableCompression: compressed}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = socket.Close() }()
		_ = socket.NetConn().SetReadDeadline(time.Now().Add(time.Minute))
		var all bytes.Buffer
		_, _ = all.ReadFrom(socket.NetConn())
		sent <- all.Bytes()
	}))
	defer server.Close()
	dialer := websocket.Dialer{EnableCompression: compressed, WriteBufferSize: 700}
	socket, response, err := dialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if err := errors.Join(write(socket), socket.Close()); err != nil {
		t.Fatal(err)
	}
	return <-sent
}

func TestWhatAClientSendsIsUnderstoodHoweverItArrives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		compressed := rapid.Bool().Draw(rt, "compressed")
		var want []heard
		sent := record(t, compressed, func(socket *websocket.Conn) error {
			for i := range rapid.IntRange(1, 6).Draw(rt, "messages") {
				// Larger ones than the client's buffer become several frames.
				size := rapid.SampledFrom([]int{0, 1, 8, 125, 126, 699, 700, 5000, 65535, 65536, 90000}).Draw(rt, "size")
				payload := bytes.Repeat([]byte{byte(i), 'a', 7}, size/3+1)[:size]
				if rapid.Bool().Draw(rt, "ping") {
					want = append(want, heard{websocket.PingMessage, "p"})
					if err := socket.WriteControl(websocket.PingMessage, []byte("p"), time.Time{}); err != nil {
						return err
					}
				}
				socket.EnableWriteCompression(rapid.Bool().Draw(rt, "compress"))
				kind := rapid.SampledFrom([]int{websocket.BinaryMessage, websocket.TextMessage}).Draw(rt, "kind")
				want = append(want, heard{byte(kind), string(payload)})
				w, err := socket.NextWriter(kind)
				if err != nil {
					return err
				}
				for part := range slices.Chunk(payload, 1000) {
					if _, err := w.Write(part); err != nil {
						return err
					}
				}
				if err := w.Close(); err != nil {
					return err
				}
			}
			return nil
		})
		var chunks [][]byte
		for rest := sent; len(rest) > 0; {
			n := min(rapid.SampledFrom([]int{1, 2, 5, 100, 4096, 16384, 1 << 20}).Draw(rt, "chunk"), len(rest))
			if n < 100 && len(rest) > 10000 { // Few small ones do.
				chunks, rest = append(chunks, rest[:n]), rest[n:]
				n = min(5000, len(rest))
			}
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		in := &incoming{deflate: compressed, limit: readLimit}
		got, code := collect(in, chunks...)
		if code != 0 || !slices.Equal(got, want) {
			rt.Fatalf("code %d, got %d of %d messages", code, len(got), len(want))
		}
		if in.begun != nil {
			rt.Fatalf("something is held after the last message: %+v", in.begun)
		}
	})
}

func TestAControlFrameMayComeBetweenTheFramesOfAMessage(t *testing.T) {
	sent := slices.Concat(
		clientFrame(websocket.BinaryMessage, []byte("ab")),
		clientFrame(finalBit|websocket.PingMessage, []byte("p")),
		clientFrame(continuation, nil),
		clientFrame(finalBit|continuation, []byte("c")),
	)
	want := []heard{{websocket.PingMessage, "p"}, {websocket.BinaryMessage, "abc"}}
	if got, code := collect(&incoming{limit: readLimit}, sent); code != 0 || !slices.Equal(got, want) {
		t.Fatalf("got %v, code %d", got, code)
	}
}

// huge is the beginning of a frame that says it has n bytes.
func huge(n uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{finalBit | websocket.BinaryMessage, maskBit | 127}, n), 0, 0, 0, 0)
}

func TestAMalformedFrameIsAnsweredWithItsCode(t *testing.T) {
	binaryFrame := func(first byte) []byte { return clientFrame(first|websocket.BinaryMessage, []byte("x")) }
	zeros := compress(make([]byte, readLimit+1))
	for name, c := range map[string]struct {
		sent []byte
		code int
	}{
		"not masked":                   {appendFrame(nil, websocket.BinaryMessage, []byte("x")), websocket.CloseProtocolError},
		"a reserved bit":               {binaryFrame(finalBit | 0x20), websocket.CloseProtocolError},
		"an unknown kind":              {clientFrame(finalBit|3, nil), websocket.CloseProtocolError},
		"an unknown control frame":     {clientFrame(finalBit|11, nil), websocket.CloseProtocolError},
		"a ping in parts":              {clientFrame(websocket.PingMessage, nil), websocket.CloseProtocolError},
		"a long ping":                  {clientFrame(finalBit|websocket.PingMessage, make([]byte, 126)), websocket.CloseProtocolError},
		"the end of no message":        {clientFrame(finalBit|continuation, nil), websocket.CloseProtocolError},
		"a message within another":     {append(binaryFrame(0), binaryFrame(finalBit)...), websocket.CloseProtocolError},
		"a compressed continuation":    {append(binaryFrame(0), clientFrame(compressedBit|continuation, nil)...), websocket.CloseProtocolError},
		"too large":                    {huge(readLimit + 1), websocket.CloseMessageTooBig},
		"impossibly large":             {huge(1 << 63), websocket.CloseMessageTooBig},
		"a compressed one that is not": {clientFrame(finalBit|compressedBit|websocket.BinaryMessage, []byte{0xff}), websocket.CloseInvalidFramePayloadData},
		"a bomb":                       {clientFrame(finalBit|compressedBit|websocket.BinaryMessage, zeros), websocket.CloseMessageTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			in := &incoming{deflate: true, limit: readLimit}
			got, code := collect(in, c.sent, binaryFrame(finalBit))
			if code != c.code || len(got) != 0 {
				t.Errorf("code %d, took %v, want code %d and nothing", code, got, c.code)
			}
			if in.begun != nil {
				t.Error("what was malformed is held")
			}
		})
	}
	t.Run("compressed without having agreed to it", func(t *testing.T) {
		if _, code := collect(&incoming{limit: readLimit}, binaryFrame(finalBit|compressedBit)); code != websocket.CloseProtocolError {
			t.Errorf("code %d", code)
		}
	})
	t.Run("too large in parts", func(t *testing.T) {
		part := make([]byte, readLimit/4+1)
		chunks := [][]byte{clientFrame(websocket.BinaryMessage, part)}
		for range 3 {
			chunks = append(chunks, clientFrame(continuation, part))
		}
		if _, code := collect(&incoming{limit: readLimit}, chunks...); code != websocket.CloseMessageTooBig {
			t.Errorf("code %d", code)
		}
	})
}

func compress(message []byte) []byte {
	d, _ := deflaters.Get().(*deflater)
	return slices.Clone(d.deflate(message))
}

func FuzzIncoming(f *testing.F) {
	compressed := compress(bytes.Repeat([]byte("yjs"), 500))
	f.Add(clientFrame(finalBit|websocket.BinaryMessage, []byte("hello")), uint8(3))
	f.Add(clientFrame(finalBit|compressedBit|websocket.BinaryMessage, compressed), uint8(50))
	f.Add(slices.Concat(clientFrame(websocket.BinaryMessage, []byte("a")), clientFrame(finalBit|websocket.PingMessage, []byte("p")),
		clientFrame(finalBit|continuation, []byte("b"))), uint8(1))
	f.Add(clientFrame(finalBit|websocket.CloseMessage, websocket.FormatCloseMessage(1000, "")), uint8(2))
	f.Add(clientFrame(finalBit|websocket.BinaryMessage, make([]byte, 300)), uint8(255))
	f.Fuzz(func(t *testing.T, sent []byte, chunk uint8) {
		whole, code := collect(&incoming{deflate: true, limit: readLimit}, sent)
		parts, partly := collect(&incoming{deflate: true, limit: readLimit}, slices.Collect(slices.Chunk(sent, int(chunk)+1))...)
		if code != partly || !slices.Equal(whole, parts) {
			t.Fatalf("at once: %d messages, code %d; in parts: %d, code %d", len(whole), code, len(parts), partly)
		}
	})
}
