package protocol

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMessagesAreWhatHocuspocusWrites(t *testing.T) {
	for _, c := range []struct {
		kind    Kind
		payload []byte
		wire    []byte
	}{
		{SyncStep1, EmptyStateVector(), []byte{1, 'd', 0, 0, 1, 0}},
		{SyncStep2, EmptyUpdate(), []byte{1, 'd', 0, 1, 2, 0, 0}},
		{Update, []byte{7}, []byte{1, 'd', 0, 2, 1, 7}},
		{Awareness, []byte{0}, []byte{1, 'd', 1, 1, 0}},
		{Token, []byte("t"), []byte{1, 'd', 2, 0, 1, 't'}},
		{TokenExpires, nil, []byte{1, 'd', 2, 0}},
		{Denied, []byte("no"), []byte{1, 'd', 2, 1, 2, 'n', 'o'}},
		{Authenticated, []byte(ReadOnly), append([]byte{1, 'd', 2, 2, 8}, ReadOnly...)},
		{QueryAwareness, nil, []byte{1, 'd', 3}},
		{Stateless, []byte("x"), []byte{1, 'd', 5, 1, 'x'}},
		{Close, nil, []byte{1, 'd', 7, 0}},
		{SyncStatus, Saved, []byte{1, 'd', 8, 1}},
	} {
		if got := Hocuspocus.Append(nil, "d", c.kind, c.payload); !bytes.Equal(got, c.wire) {
			t.Errorf("kind %d: wrote %v, want %v", c.kind, got, c.wire)
		}
		address, got, err := Hocuspocus.Parse(c.wire)
		if err != nil || string(address) != "d" || got.Kind != c.kind || !bytes.Equal(got.Payload, c.payload) {
			t.Errorf("read %v: %q, %v, %v", c.wire, address, got, err)
		}
	}
	for kind, wire := range map[Kind][]byte{Ping: {9}, Pong: {10}} {
		if got := Hocuspocus.Append(nil, "d", kind, nil); !bytes.Equal(got, wire) {
			t.Errorf("kind %d: wrote %v", kind, got)
		}
		if address, got, err := Hocuspocus.Parse(wire); err != nil || len(address) > 0 || got.Kind != kind {
			t.Errorf("read %v: %q, %v, %v", wire, address, got, err)
		}
	}
	if _, got, err := Hocuspocus.Parse([]byte{1, 'd', 4, 0, 1, 0}); err != nil || got.Kind != SyncStep1 || !got.Reply {
		t.Errorf("a step that answers one: %v, %v", got, err)
	}
	if _, got, err := Hocuspocus.Parse([]byte{1, 'd', 2, 0, 1, 't', 2, 'v', '4'}); err != nil || string(got.Payload) != "t" {
		t.Errorf("a token with the provider's version: %v, %v", got, err)
	}
}

func TestMalformedMessagesOfHocuspocusAreRefused(t *testing.T) {
	long := func(n int) []byte { return append(appendNumber(nil, uint64(n)), strings.Repeat("x", n)...) }
	for _, c := range []struct {
		wire []byte
		want error
	}{
		{nil, ErrTruncated},
		{[]byte{2, 'd'}, ErrTruncated},
		{[]byte{1, 'd'}, ErrTruncated},
		{[]byte{1, 0xff, 3}, ErrText},
		{append(long(maxAddress+1), 3), ErrLimit},
		{[]byte{1, 'd', 9}, ErrUnknown},
		{[]byte{1, 'd', 11}, ErrUnknown},
		{[]byte{1, 'd', 2, 3, 0}, ErrUnknown},
		{[]byte{1, 'd', 0, 2, 1, 7, 0}, ErrTrailing},
		{[]byte{1, 'd', 8}, ErrTruncated},
		{[]byte{1, 'd', 5, 1, 0xff}, ErrText},
		{append([]byte{1, 'd', 2, 0}, long(maxToken+1)...), ErrLimit},
		{append([]byte{1, 'd', 2, 0, 1, 't'}, long(maxAddress+1)...), ErrLimit},
		{[]byte{9, 0}, ErrTruncated},
	} {
		if _, _, err := Hocuspocus.Parse(c.wire); !errors.Is(err, c.want) {
			t.Errorf("%.40v: %v, want %v", c.wire, err, c.want)
		}
	}
}

func FuzzParseHocuspocus(f *testing.F) {
	for kind := SyncStep1; kind <= Pong; kind++ {
		payload := []byte(nil)
		if kind == SyncStatus {
			payload = Saved
		}
		f.Add(Hocuspocus.Append(nil, "acme/plan\x00session", kind, payload))
	}
	f.Add([]byte{1, 'd', 2, 0, 1, 't', 2, 'v', '4'})
	f.Add([]byte{1, 'd', 4, 0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		before := slices.Clone(data)
		address, m, err := Hocuspocus.Parse(data)
		if err != nil {
			if address != nil || m.Kind != 0 || m.Payload != nil {
				t.Fatalf("%q and %v with the error %v", address, m, err)
			}
			return
		}
		if len(address) > maxAddress || !utf8.Valid(address) {
			t.Fatalf("the address is %q", address)
		}
		switch m.Kind {
		case Token, Denied, Authenticated, Stateless, Close:
			if !utf8.Valid(m.Payload) || m.Kind == Token && len(m.Payload) > maxToken {
				t.Fatalf("the text of %d is %q", m.Kind, m.Payload)
			}
		default:
		}
		wire := Hocuspocus.Append(nil, string(address), m.Kind, m.Payload)
		sameAddress, again, err := Hocuspocus.Parse(wire)
		if err != nil || again.Kind != m.Kind || !bytes.Equal(again.Payload, m.Payload) ||
			!bytes.Equal(sameAddress, address) {
			t.Fatalf("%q, %v became %q, %v, %v", address, m, sameAddress, again, err)
		}
		// Whoever adds to what was parsed must not write over what follows it.
		_, _ = append(address, '!'), append(m.Payload, '!')
		if !bytes.Equal(data, before) {
			t.Fatalf("%v was written over: %v", before, data)
		}
	})
}
