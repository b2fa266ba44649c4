package protocol_test

import (
	_ "embed"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt/lib0"
	"collab.dev/operator/editor/crdt/yjs"
	"collab.dev/operator/editor/protocol"
	"pgregory.net/rapid"
)

//go:embed presence.mjs
var presenceScript string

// Clients of y-protocols say who they are, in any order and repeatedly, go and come back. What a Room lets through
// makes an observer know just what one knows who hears everything, and what the Room knows itself.
func TestRoomsAgreeWithYProtocols(t *testing.T) {
	node := yjs.StartForTest(t, presenceScript)
	values := rapid.SampledFrom([]any{
		lib0.Object{{Key: "user", Value: lib0.Object{{Key: "name", Value: "Zoë 😀"}, {Key: "color", Value: "#fff"}}}},
		lib0.Object{{Key: "cursor", Value: []any{1, 2.5, nil}}}, lib0.Object{},
		lib0.Object{{Key: "1", Value: "a"}, {Key: "2", Value: "b"}}, nil,
	})
	rapid.Check(t, func(t *rapid.T) {
		call := func(request ...any) any {
			t.Helper()
			answer, err := node.Call(request)
			if err != nil {
				t.Fatal(err)
			}
			if text, failed := answer.(string); failed && strings.HasPrefix(text, "failed: ") {
				t.Fatal(text)
			}
			return answer
		}
		update := func(answer any) []byte {
			t.Helper()
			b, ok := answer.([]byte)
			if !ok {
				t.Fatalf("no update: %v", answer)
			}
			return b
		}
		count := rapid.IntRange(1, 4).Draw(t, "clients")
		name := func(i int) string { return fmt.Sprint("client ", i) }
		for i := range count {
			call("new", name(i), i+1, false)
		}
		call("new", "hears all", 998, true)
		call("new", "in the room", 999, true)
		var room protocol.Room[string]
		var said [][]byte // With who announced it in by.
		var by []string
		announce := func(presences []protocol.Presence) {
			if len(presences) > 0 {
				call("apply", "in the room", protocol.EncodeAwareness(presences))
			}
		}
		compare := func() {
			t.Helper()
			here := []any{}
			for _, p := range room.Present(nil) {
				here = append(here, []any{float64(p.Client), p.State})
			}
			for _, observer := range []string{"hears all", "in the room"} {
				if got := call("states", observer); !reflect.DeepEqual(got, any(here)) {
					t.Fatalf("who %s knows %v, the room %v", observer, got, here)
				}
			}
		}
		hear := func(u []byte, who string) {
			presences, err := protocol.ParseAwareness(u)
			if err != nil {
				t.Fatal(err)
			}
			if again := protocol.EncodeAwareness(presences); !reflect.DeepEqual(again, u) {
				t.Fatalf("%x becomes %x", u, again)
			}
			call("apply", "hears all", u)
			changed, stale := room.Apply(presences, who)
			announce(changed)
			if len(stale) > 0 && who != "" {
				call("apply", who, protocol.EncodeAwareness(stale))
				said, by = append(said, update(call("say", who))), append(by, who)
			}
			compare()
		}
		t.Repeat(map[string]func(*rapid.T){
			"say": func(t *rapid.T) {
				who := name(rapid.IntRange(0, count-1).Draw(t, "client"))
				said, by = append(said, update(call("set", who, values.Draw(t, "state")))), append(by, who)
			},
			"hear": func(t *rapid.T) {
				if len(said) == 0 {
					return
				}
				i := rapid.IntRange(0, len(said)-1).Draw(t, "update")
				hear(said[i], by[i])
			},
			"leave": func(t *rapid.T) {
				gone := room.Leave(name(rapid.IntRange(0, count-1).Draw(t, "client")))
				announce(gone)
				if len(gone) > 0 {
					call("apply", "hears all", protocol.EncodeAwareness(gone))
				}
				compare()
			},
		})
	})
}
