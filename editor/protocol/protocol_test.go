package protocol

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestMessagesAreWhatYWebsocketWrites(t *testing.T) {
	for _, c := range []struct {
		kind    Kind
		payload []byte
		wire    []byte
	}{
		{SyncStep1, EmptyStateVector(), []byte{0, 0, 1, 0}},
		{SyncStep2, EmptyUpdate(), []byte{0, 1, 2, 0, 0}},
		{Update, []byte{7}, []byte{0, 2, 1, 7}},
		{Awareness, []byte{0}, []byte{1, 1, 0}},
		{QueryAwareness, nil, []byte{3}},
	} {
		if got := Encode(c.kind, c.payload); !bytes.Equal(got, c.wire) {
			t.Errorf("kind %d: wrote %v, want %v", c.kind, got, c.wire)
		}
		got, err := Parse(c.wire)
		if err != nil || got.Kind != c.kind || !bytes.Equal(got.Payload, c.payload) {
			t.Errorf("read %v: %v, %v", c.wire, got, err)
		}
	}
}

func TestMalformedMessagesAreRefused(t *testing.T) {
	for _, c := range []struct {
		wire []byte
		want error
	}{
		{nil, ErrTruncated},
		{[]byte{0}, ErrTruncated},
		{[]byte{0, 3, 0}, ErrUnknown},
		{[]byte{9}, ErrUnknown},
		{[]byte{0, 2, 5, 1}, ErrTruncated},
		{[]byte{0, 2, 1, 1, 1}, ErrTrailing},
		{[]byte{0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, ErrNumber},
		{[]byte{3, 0}, ErrTrailing},
	} {
		if _, err := Parse(c.wire); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.wire, err, c.want)
		}
	}
	if _, err := ParseAwareness([]byte{0xff, 0x7f, 0}); !errors.Is(err, ErrLimit) {
		t.Errorf("announced more presences than bytes: %v", err)
	}
}

func TestPresenceFollowsTheClientsClocks(t *testing.T) {
	var r Room[string]
	at := func(clock uint64, state string) []Presence {
		return []Presence{{Client: 1, Clock: clock, State: state}}
	}
	if changed, _ := r.Apply(at(5, "{}"), "a"); len(changed) != 1 {
		t.Fatal("a new client is news")
	}
	if changed, _ := r.Apply(at(5, "{}"), "b"); len(changed) != 0 {
		t.Fatal("an echo is no news")
	}
	if gone := r.Leave("b"); len(gone) != 0 {
		t.Fatal("who only repeats a presence does not take it along")
	}
	gone := r.Leave("a")
	if len(gone) != 1 || gone[0].Clock != 6 || !gone[0].Gone() {
		t.Fatalf("left: %v", gone)
	}
	changed, stale := r.Apply(at(5, "{}"), "a")
	if len(changed) != 0 || len(stale) != 1 || stale[0].Clock != 6 {
		t.Fatalf("back with an old clock: %v, %v", changed, stale)
	}
	if changed, _ := r.Apply(at(7, "{}"), "a"); len(changed) != 1 {
		t.Fatal("a raised clock brings the client back")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0, 0})
	f.Add(Encode(Awareness, EncodeAwareness([]Presence{{Client: 1, Clock: 2, State: `{"a":1}`}})))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(Encode(m.Kind, m.Payload))
		if err != nil || again.Kind != m.Kind || !bytes.Equal(again.Payload, m.Payload) {
			t.Fatalf("%v became %v, %v", m, again, err)
		}
		if m.Kind != Awareness {
			return
		}
		presences, err := ParseAwareness(m.Payload)
		if err != nil {
			return
		}
		if _, err := ParseAwareness(EncodeAwareness(presences)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestARoomIsBounded(t *testing.T) {
	var r Room[string]
	for id := range uint64(2 * maxPresent) {
		r.Apply([]Presence{{Client: id, Clock: 1, State: "{}"}}, "crowd")
	}
	if n := len(r.Present(nil)); n != maxPresent {
		t.Fatalf("%d are present", n)
	}
	if changed, _ := r.Apply([]Presence{{Client: 1, Clock: 2, State: "{}"}}, "crowd"); len(changed) != 1 {
		t.Fatal("who is here cannot change in a full room")
	}
	r.Leave("crowd")
	if r.bytes != 0 {
		t.Fatalf("%d bytes are left of nobody", r.bytes)
	}
	large := `"` + strings.Repeat("x", maxPresenceSize-2) + `"`
	for id := range uint64(100) {
		r.Apply([]Presence{{Client: id, Clock: 1, State: large}}, "loud")
	}
	if r.bytes > maxPresentBytes || r.bytes < maxPresentBytes-maxPresenceSize {
		t.Fatalf("%d bytes are kept", r.bytes)
	}
	if r.Announced("loud") != len(r.Present(nil)) || r.Announced("crowd") != 0 {
		t.Fatal("the clients that somebody has announced are not counted")
	}
}
