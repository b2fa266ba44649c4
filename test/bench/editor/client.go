package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

const (
	// readBuffer holds many updates of one character: a busy connection is read with few calls.
	readBuffer  = 4096
	dialTimeout = 30 * time.Second
)

// client is one connection to one document. Only one goroutine may write and one read.
type client struct {
	ws      *websocket.Conn
	dialect protocol.Dialect
	address string
	out     []byte
	in      bytes.Buffer
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
	dialer := websocket.Dialer{ReadBufferSize: readBuffer, WriteBufferSize: 1024}
	ws, response, err := dialer.DialContext(ctx, "ws://"+loopback+":"+r.port+path, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", r.system.name, err)
	}
	_ = response.Body.Close()
	c.ws = ws
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
	c.out = c.dialect.Append(c.out[:0], c.address, kind, payload)
	if err := c.ws.WriteMessage(websocket.BinaryMessage, c.out); err != nil {
		return fmt.Errorf("send to the server: %w", err)
	}
	return nil
}

// read returns the next message. Its payload is valid until the next read.
func (c *client) read() (protocol.Message, error) {
	_, r, err := c.ws.NextReader()
	if err != nil {
		return protocol.Message{}, fmt.Errorf("receive from the server: %w", err)
	}
	c.in.Reset()
	if _, err := c.in.ReadFrom(r); err != nil {
		return protocol.Message{}, fmt.Errorf("receive from the server: %w", err)
	}
	_, m, err := c.dialect.Parse(c.in.Bytes())
	return m, err
}

func (c *client) close() { _ = c.ws.Close() }

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
