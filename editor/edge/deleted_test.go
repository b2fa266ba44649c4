package edge_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/protocol"
)

func TestADeletedDocumentLetsEverybodyGo(t *testing.T) {
	store := newMemory()
	pods := startPodsOn(t, 2, store)
	assign(pods, pods, "pod-1", "", 1)
	clients := []*yjs{connect(t, pods[0], "a"), connect(t, pods[1], "a")}
	clients[0].edit("first")
	other := connect(t, pods[0], "b")
	for _, c := range clients {
		await(t, "the change", func() bool { return c.knows(1) })
	}
	provider := open(t, pods[0], "/hocuspocus")
	ask := func() {
		message := protocol.Hocuspocus.Append(nil, "acme/a", protocol.SyncStep1, protocol.EmptyStateVector())
		if err := provider.WriteMessage(websocket.BinaryMessage, message); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(kinds ...protocol.Kind) protocol.Kind {
		if err := provider.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for {
			_, data, err := provider.ReadMessage()
			if err != nil {
				t.Fatalf("waiting for messages %d: %v", kinds, err)
			}
			if _, m, err := protocol.Hocuspocus.Parse(data); err == nil && slices.Contains(kinds, m.Kind) {
				return m.Kind
			}
		}
	}
	ask()
	hear(protocol.SyncStep2)
	session, err := pods[0].edge.Open("acme/a", "rest", "")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	store.remove("acme/a", true)
	if err := pods[0].edge.Evict(ctx, "acme/a"); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		<-c.closed
		if !websocket.IsCloseError(c.err, edge.CloseDeleted) {
			t.Errorf("closed with %v", c.err)
		}
	}
	hear(protocol.Denied)
	hear(protocol.Close)
	if _, err := session.State(ctx); !errors.Is(err, edge.ErrDeleted) {
		t.Errorf("the state of a deleted document: %v", err)
	}
	if err := pods[0].edge.Evict(ctx, "acme/a"); err != nil {
		t.Errorf("evicting from what is deleted: %v", err)
	}
	if err := end(t, open(t, pods[1], "/collab/acme/a")); !websocket.IsCloseError(err, edge.CloseDeleted) {
		t.Errorf("who comes later is let go with %v", err)
	}
	other.mustBeConnected(t)

	store.remove("acme/a", false)
	// The owner may just have said once more that the document is deleted.
	for ask(); hear(protocol.SyncStep2, protocol.Close) != protocol.SyncStep2; {
		ask()
	}
	late := connect(t, pods[1], "a")
	await(t, "what was there before", func() bool { return late.knows(1) })
}
