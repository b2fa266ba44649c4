package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

const (
	// readBuffer is how much is read at least where there is as much.
	readBuffer  = 4096
	dialTimeout = 30 * time.Second
)

// client is one connection to one document. Only one goroutine may write and one read.
type client struct {
	conn    net.Conn
	dialect protocol.Dialect
	address string
	// message and out are room for what is sent.
	message, out []byte
	// in is what has arrived and was not taken.
	in       []byte
	messages messages
}

// connect opens a document as an empty Yjs client does: it asks for what it lacks.
func (r *running) connect(ctx context.Context, document string) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c := &client{dialect: r.system.dialect, address: "bench/" + document}
	path := "/collab/" + c.address
	if c.dialect == protocol.Hocuspocus {
		path = "/hocuspocus"
	}
	host := loopback + ":" + r.port
	var err error
	if c.conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", host); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", r.system.name, err)
	}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	if c.in, err = handshake(c.conn, host, path); err != nil {
		c.close()
		return nil, fmt.Errorf("connect to %s: %w", r.system.name, errors.Join(err, ctx.Err()))
	}
	if c.dialect == protocol.Hocuspocus {
		err = c.write(protocol.Token, []byte("none"))
	}
	if err = errors.Join(err, c.write(protocol.SyncStep1, protocol.EmptyStateVector())); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *client) write(kind protocol.Kind, payload []byte) error {
	c.out = c.append(c.out[:0], kind, payload)
	return c.send(c.out)
}

// append appends a message as it is sent.
func (c *client) append(out []byte, kind protocol.Kind, payload []byte) []byte {
	c.message = c.dialect.Append(c.message[:0], c.address, kind, payload)
	return appendFrame(out, binaryFrame, c.message)
}

func (c *client) send(frame []byte) error {
	if _, err := c.conn.Write(frame); err != nil {
		return fmt.Errorf("send to the server: %w", err)
	}
	return nil
}

// read returns the next message. Its payload is valid until the next read.
func (c *client) read() (protocol.Message, error) {
	for {
		m, rest, ok, err := c.take(c.in, func(ping []byte) error {
			return c.send(appendFrame(nil, pongFrame, ping))
		})
		c.in = rest
		if ok || err != nil {
			return m, err
		}
		if len(c.in) == cap(c.in) {
			c.in = slices.Grow(c.in, readBuffer)
		}
		n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		if err != nil {
			return protocol.Message{}, fmt.Errorf("receive from the server: %w", err)
		}
	}
}

// take takes the next message off the front of data, which keeps its payload. ok is false if the rest has not arrived.
func (c *client) take(data []byte, pong func(ping []byte) error) (m protocol.Message, rest []byte, ok bool, err error) {
	for {
		kind, payload, rest, err := c.messages.next(data)
		if err != nil || kind == 0 {
			return protocol.Message{}, rest, false, err
		}
		switch data = rest; kind {
		case closeFrame:
			err = closed(payload)
		case pingFrame:
			err = pong(payload)
		case pongFrame:
		default:
			_, m, err = c.dialect.Parse(payload)
			return m, rest, err == nil, err
		}
		if err != nil {
			return protocol.Message{}, rest, false, err
		}
	}
}

func (c *client) close() { _ = c.conn.Close() }

// content reads the answer to SyncStep1: the updates that make up the document.
func (c *client) content(ctx context.Context) ([][]byte, error) {
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	var out [][]byte
	for {
		m, err := c.read()
		if err != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		switch m.Kind {
		case protocol.Update, protocol.SyncStep2:
			if !protocol.IsEmptyUpdate(m.Payload) {
				out = append(out, bytes.Clone(m.Payload))
			}
			if m.Kind == protocol.SyncStep2 {
				return out, nil
			}
		case protocol.Denied:
			return nil, fmt.Errorf("the server denies access: %s", m.Payload)
		default:
		}
	}
}

// joined is what it took to open a document, from the connection's begin to the last byte of the content.
type joined struct {
	took    time.Duration
	updates [][]byte
}

// text is the text of the document that was received.
func (j joined) text() (string, error) {
	doc := crdt.NewDoc(crdt.Options{})
	for _, u := range j.updates {
		if err := doc.ApplyUpdate(u, nil); err != nil {
			return "", fmt.Errorf("the received document: %w", err)
		}
	}
	return doc.Text(root).String(), nil
}

// join opens a document, receives it and leaves.
func (r *running) join(ctx context.Context, document string) (joined, error) {
	begin := time.Now()
	c, err := r.connect(ctx, document)
	if err != nil {
		return joined{}, err
	}
	defer c.close()
	updates, err := c.content(ctx)
	return joined{took: time.Since(begin), updates: updates}, err
}
