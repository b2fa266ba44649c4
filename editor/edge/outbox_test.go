package edge

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

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

func update(payload []byte) message { return message{kind: protocol.Update, payload: payload} }

// taken takes out what waits.
func taken(t *testing.T, o *outbox) []item {
	t.Helper()
	b := o.take()
	if b == nil {
		t.Fatal("nothing waits")
	}
	return b.items
}

func TestWaitingChangesBecomeOneMessage(t *testing.T) {
	var o outbox
	c := &conn{dialect: protocol.YWebsocket}
	a, b := &client{conn: c}, &client{conn: c}
	if ask, _ := o.add(a, message{kind: protocol.Authenticated}); !ask {
		t.Fatal("nobody asks for a turn")
	}
	for _, u := range typed(t, "hello") {
		if ask, room := o.add(a, update(u)); ask || !room {
			t.Fatal("another turn, or no room")
		}
	}
	other := typed(t, "x")[0]
	o.add(b, update(other))

	items := taken(t, &o)
	if len(items) != 3 || items[0].kind != protocol.Authenticated {
		t.Fatalf("got %d messages", len(items))
	}
	doc := crdt.NewDoc(crdt.Options{})
	hello := items[1].whole()
	if len(hello) != 1 || doc.ApplyUpdate(hello[0], nil) != nil || doc.Text("t").String() != "hello" {
		t.Fatalf("got %d updates that say %q", len(hello), doc.Text("t").String())
	}
	if x := items[2].whole(); items[2].to != b || !bytes.Equal(x[0], other) {
		t.Fatal("the other document's change is not its own message")
	}
	if ask, _ := o.add(a, update(other)); ask {
		t.Fatal("a turn while another one writes")
	}
	if !o.written() {
		t.Fatal("what came meanwhile is not asked a turn for")
	}
	if again := taken(t, &o); len(again) != 1 || len(again[0].more) != 0 {
		t.Fatal("what came meanwhile is not a message of its own")
	}
	if o.written() || o.bytes != 0 {
		t.Fatalf("something is left: %d bytes", o.bytes)
	}
	if ask, _ := o.add(a, update(other)); !ask {
		t.Fatal("nobody asks for a turn again")
	}
}

func TestOfWaitingPresenceOnlyTheNewestIsKept(t *testing.T) {
	var o outbox
	k := &client{conn: &conn{dialect: protocol.YWebsocket}}
	for clock := range uint64(1000) {
		o.add(k, presence([]protocol.Presence{{Client: 1, Clock: clock, State: "{}"}}))
	}
	o.add(k, presence([]protocol.Presence{{Client: 2, Clock: 1, State: "{}"}}))
	items := taken(t, &o)
	if len(items) != 1 {
		t.Fatalf("%d messages wait", len(items))
	}
	presences, err := protocol.ParseAwareness(items[0].whole()[0])
	if err != nil || len(presences) != 2 || presences[0].Clock != 999 {
		t.Fatalf("got %v, %v", presences, err)
	}
}

func TestAClientThatDoesNotReadIsCutOffInTheEnd(t *testing.T) {
	var o outbox
	k := &client{conn: &conn{dialect: protocol.YWebsocket}}
	for _, u := range typed(t, strings.Repeat("x", 20_000)) {
		if _, room := o.add(k, update(u)); !room {
			t.Fatal("no room for what one client types")
		}
	}
	answer := message{kind: protocol.SyncStep2, payload: make([]byte, 4*queueBytes)}
	if _, room := o.add(k, answer); !room {
		t.Fatal("no room for a large document")
	}
	if _, room := o.add(k, answer); room {
		t.Fatal("64 MiB wait for a client that asks and asks")
	}
	o.close(websocket.FormatCloseMessage(CloseResync, "too slow"))
	if items := taken(t, &o); len(items) != 1 || items[0].control != websocket.CloseMessage {
		t.Fatal("the client is not told")
	}
	if ask, room := o.add(k, update(nil)); ask || !room || o.written() {
		t.Fatal("something goes out after the close frame")
	}
}

func TestPresenceGivesWayFirst(t *testing.T) {
	var o outbox
	k := &client{conn: &conn{dialect: protocol.YWebsocket}}
	o.add(k, message{kind: protocol.SyncStep2, payload: make([]byte, queueBytes+1)})
	for clock := range uint64(3) {
		if _, room := o.add(k, presence([]protocol.Presence{{Client: 1, Clock: clock, State: "{}"}})); !room {
			t.Fatal("presence cuts off a client that is slow")
		}
	}
	if owed := o.owed(); len(owed) != 0 {
		t.Fatal("presence is due while there is no room")
	}
	if items := taken(t, &o); len(items) != 1 {
		t.Fatalf("%d messages wait", len(items))
	}
	if o.written() {
		t.Fatal("something waits")
	}
	if owed := o.owed(); len(owed) != 1 || owed[0] != k {
		t.Fatalf("presence of %d documents is due", len(owed))
	}
	if owed := o.owed(); len(owed) != 0 {
		t.Fatal("presence is due twice")
	}
}

func TestWaitingPresenceCountsAsWhatItTakes(t *testing.T) {
	var o outbox
	k := &client{conn: &conn{dialect: protocol.YWebsocket}}
	state := `"` + strings.Repeat("x", 100_000) + `"`
	for id := range uint64(200) {
		o.add(k, presence([]protocol.Presence{{Client: id, Clock: 1, State: state}}))
	}
	if o.bytes > queueBytes+2*len(state) {
		t.Fatalf("%d bytes of presence wait", o.bytes)
	}
	if len(o.missed) != 1 {
		t.Fatal("nobody knows that presence is missing")
	}
}

func TestAFrameIsMadeOnceForEveryoneOfOneSort(t *testing.T) {
	short, long := update([]byte("abc")), update(bytes.Repeat([]byte("abc"), compressFrom))
	for _, m := range []message{short, long} {
		m.frames = newFrames()
		first := m.frame(protocol.YWebsocket, "", true)
		if again := m.frame(protocol.YWebsocket, "", true); &first[0] != &again[0] {
			t.Error("made again")
		}
		m.frame(protocol.Hocuspocus, "acme/a", true)
		m.frame(protocol.Hocuspocus, "acme/b", true)
		m.frame(protocol.YWebsocket, "", false)
		if n := len(m.frames.all); n != 4 {
			t.Errorf("%d frames", n)
		}
	}
}
