package edge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/edge"
)

func TestASessionTakesPartLikeAClient(t *testing.T) {
	store := newMemory()
	pods := startPodsOn(t, 2, store)
	assign(pods, pods, "pod-1", "", 1)
	c := connect(t, pods[1], "a")
	c.edit("first")
	session, err := pods[0].edge.Open("acme/a", "rest", "ada")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	doc := crdt.NewDoc(crdt.Options{})
	await(t, "the session to see the change", func() bool {
		state, err := session.State(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := doc.ApplyUpdate(state, nil); err != nil {
			t.Fatal(err)
		}
		return doc.Map("changes").Has("first")
	})
	var update []byte
	doc.OnUpdate(func(u []byte, _ any) { update = u })
	if err := doc.Map("changes").Set("second", true); err != nil {
		t.Fatal(err)
	}
	if err := session.Apply(ctx, update); err != nil {
		t.Fatal(err)
	}
	entries := store.entries("acme/a")
	if last := entries[len(entries)-1]; last.User != "ada" || last.Origin != "rest" {
		t.Errorf("stored as %q by %q", last.Origin, last.User)
	}
	await(t, "the client to see the change", func() bool { return c.changes() == 2 })

	refused := &edge.RefusedError{}
	if err := session.Apply(ctx, []byte("no update")); !errors.As(err, &refused) || refused.Reason != document.Malformed {
		t.Errorf("a malformed update: %v", err)
	}
	if _, err := pods[0].edge.Open("nowhere", "", ""); !errors.Is(err, edge.ErrName) {
		t.Errorf("a name without organization: %v", err)
	}
}

func TestASessionWaitsForAnOwner(t *testing.T) {
	pods := startPods(t, 1)
	session, err := pods[0].edge.Open("acme/a", "rest", "")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := session.State(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("without an owner: %v", err)
	}
	assign(pods, pods, "pod-0", "", 1)
	long, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := session.State(long); err != nil {
		t.Fatal(err)
	}
}

func TestAClientThatSpeaksNonsenseIsToldSo(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	for name, test := range map[string]struct {
		kind int
		data []byte
		code int
	}{
		"text":          {websocket.TextMessage, []byte("hello"), websocket.CloseUnsupportedData},
		"no message":    {websocket.BinaryMessage, []byte{77}, websocket.CloseInvalidFramePayloadData},
		"too large":     {websocket.BinaryMessage, make([]byte, 17<<20), websocket.CloseMessageTooBig},
		"cut presence":  {websocket.BinaryMessage, []byte{1, 1, 9}, websocket.CloseInvalidFramePayloadData},
		"an empty step": {websocket.BinaryMessage, []byte{0}, websocket.CloseInvalidFramePayloadData},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, pods[0], "a")
			c.mu.Lock()
			_ = c.conn.WriteMessage(test.kind, test.data) // The server may close while it is being written.
			c.mu.Unlock()
			<-c.closed
			if !websocket.IsCloseError(c.err, test.code) && name != "too large" {
				t.Errorf("closed with %v", c.err)
			}
		})
	}
}
