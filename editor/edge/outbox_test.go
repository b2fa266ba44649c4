package edge

import (
	"bytes"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

// typed returns the updates of typing a text, one character each.
func typed(t *testing.T, text string) [][]byte {
	t.Helper()
	doc := crdt.NewDoc(crdt.Options{})
	var updates [][]byte
	doc.OnUpdate(func(update []byte, _ any) { updates = append(updates, update) })
	for i, r := range text {
		if err := doc.Text("t").Insert(i, string(r)); err != nil {
			t.Fatal(err)
		}
	}
	return updates
}

func TestWaitingChangesBecomeOneMessage(t *testing.T) {
	var o outbox
	a, b := &client{}, &client{}
	if begin, _ := o.add(a, protocol.Authenticated, nil); !begin {
		t.Fatal("nobody begins to write")
	}
	for _, update := range typed(t, "hello") {
		if begin, room := o.add(a, protocol.Update, update); begin || !room {
			t.Fatal("a second writer, or no room")
		}
	}
	other := typed(t, "x")[0]
	o.add(b, protocol.Update, other)

	if it := o.next(); it.kind != protocol.Authenticated {
		t.Fatalf("got %v first", it.kind)
	}
	it := o.next()
	it.merge()
	doc := crdt.NewDoc(crdt.Options{})
	if len(it.payloads) != 1 || doc.ApplyUpdate(it.payloads[0], nil) != nil || doc.Text("t").String() != "hello" {
		t.Fatalf("got %d updates that say %q", len(it.payloads), doc.Text("t").String())
	}
	if it := o.next(); it.to != b || !bytes.Equal(it.payloads[0], other) {
		t.Fatal("the other document's change is not its own message")
	}
	if o.next() != nil || o.bytes != 0 {
		t.Fatalf("something is left: %d bytes", o.bytes)
	}
	if begin, _ := o.add(a, protocol.Update, other); !begin {
		t.Fatal("nobody begins to write again")
	}
}

func TestOfWaitingPresenceOnlyTheNewestIsKept(t *testing.T) {
	var o outbox
	k := &client{}
	for clock := range uint64(1000) {
		o.add(k, protocol.Awareness, protocol.EncodeAwareness([]protocol.Presence{{Client: 1, Clock: clock, State: "{}"}}))
	}
	o.add(k, protocol.Awareness, protocol.EncodeAwareness([]protocol.Presence{{Client: 2, Clock: 1, State: "{}"}}))
	it := o.next()
	if len(it.presences) != 2 || o.next() != nil {
		t.Fatalf("%d presences wait", len(it.presences))
	}
	for _, p := range it.presences {
		if p.Client == 1 && p.Clock != 999 {
			t.Fatalf("an old presence, of clock %d", p.Clock)
		}
	}
}

func TestAClientThatDoesNotReadIsCutOffInTheEnd(t *testing.T) {
	var o outbox
	k := &client{}
	// What one client types merges to little, however much it is.
	long := typed(t, strings.Repeat("x", 20_000))
	for _, update := range long {
		if _, room := o.add(k, protocol.Update, update); !room {
			t.Fatal("no room for what merges to little")
		}
	}
	// Texts of many do not.
	room := true
	for i := 0; room && i < 100; i++ {
		doc := crdt.NewDoc(crdt.Options{})
		if err := doc.Text("t").Insert(0, strings.Repeat("x", 1<<18)); err != nil {
			t.Fatal(err)
		}
		update, err := doc.EncodeStateAsUpdate(nil)
		if err != nil {
			t.Fatal(err)
		}
		_, room = o.add(k, protocol.Update, update)
	}
	if room {
		t.Fatal("25 MiB wait for a client")
	}
	o.close(CloseResync, "too slow")
	if it := o.next(); it.code != CloseResync {
		t.Fatal("the client is not told")
	}
	if begin, room := o.add(k, protocol.Update, long[0]); begin || !room || o.next() != nil {
		t.Fatal("something goes out after the close frame")
	}
}
