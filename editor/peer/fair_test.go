package peer

import (
	"bytes"
	"context"
	"testing"

	"pgregory.net/rapid"
)

// drain takes all that waits.
func drain(q *Fair) (frames []*Frame) {
	for f := q.next(); f != nil; f = q.next() {
		frames = append(frames, f)
	}
	return frames
}

func TestChannelsTakeTurns(t *testing.T) {
	q := NewFair(1<<20, 1<<20, true)
	large := bytes.Repeat([]byte{1}, 3*chunk+1)
	q.Push(&Frame{Kind: Content, Channel: 1, Parts: [][]byte{large}})
	q.Push(&Frame{Kind: ContentEnd, Channel: 1, Parts: [][]byte{{2}, {3}}})
	for id := range uint64(3) {
		q.Push(&Frame{Kind: Update, Channel: 2, ID: id, Parts: [][]byte{{4}}})
	}
	q.Push(&Frame{Kind: Pong})
	var got []Kind
	for _, f := range drain(q) {
		got = append(got, f.Kind)
	}
	want := []Kind{Pong, Part, Update, Update, Update, Part, Part, Content, ContentEnd}
	if len(got) != len(want) {
		t.Fatalf("sent %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("sent %v, want %v", got, want)
		}
	}
}

func TestAChannelThatFallsBehindIsCutAndNoOther(t *testing.T) {
	q := NewFair(1000, 1<<20, true)
	push := func(channel uint32, size int) uint32 {
		return q.Push(&Frame{Kind: Update, Channel: channel, Parts: [][]byte{make([]byte, size)}})
	}
	push(2, 10)
	if cut := push(1, 5000); cut != 0 {
		t.Fatal("the only frame of a channel is too much")
	}
	if cut := push(1, 10); cut != 1 {
		t.Fatalf("channel %d is cut", cut)
	}
	if cut := push(1, 5000); cut != 0 {
		t.Fatal("a channel is cut twice")
	}
	q.Drop(1)
	frames := drain(q)
	if len(frames) != 2 || frames[0].Kind != Update || frames[0].Channel != 2 || frames[1].Kind != Moved ||
		frames[1].Channel != 1 {
		t.Fatalf("sent %+v", frames)
	}
	if q.used != 0 || len(q.lanes) != 0 {
		t.Fatalf("%d bytes are left in %d channels", q.used, len(q.lanes))
	}
	q.Cut(3)
	if frames := drain(q); len(frames) != 1 || frames[0].Kind != Moved {
		t.Fatalf("sent %+v", frames)
	}
}

func TestTheLargestChannelIsCutWhenAllHoldTooMuch(t *testing.T) {
	q := NewFair(1000, 3000, true)
	for range 9 {
		q.Push(&Frame{Kind: Update, Channel: 1, Parts: [][]byte{make([]byte, 10)}})
	}
	for channel := uint32(2); ; channel++ {
		cut := q.Push(&Frame{Kind: Update, Channel: channel, Parts: [][]byte{make([]byte, 100)}})
		if cut == 1 {
			return
		}
		if cut != 0 || channel > 100 {
			t.Fatalf("channel %d is cut", cut)
		}
	}
}

// TestFramesArriveWholeHoweverTheyAreSent pushes, pops, cuts and drops at random, and looks at the other end.
func TestFramesArriveWholeHoweverTheyAreSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, end := NewFair(2<<20, 4<<20, true), joiner{}
		want := map[uint32][]*Frame{}
		gone := map[uint32]bool{}
		receive := func(f *Frame) {
			got, err := end.join(f)
			if err != nil {
				t.Fatal(err)
			}
			if f.Kind == Part {
				if got.Kind != Pong {
					t.Fatalf("a part became %+v", got)
				}
				return
			}
			if got.Kind == Moved {
				gone[got.Channel] = true
				return
			}
			sent := want[got.Channel]
			if gone[got.Channel] || len(sent) == 0 || sent[0].ID != got.ID || len(sent[0].Parts) != len(got.Parts) {
				t.Fatalf("got frame %d of channel %d", got.ID, got.Channel)
			}
			for i, part := range sent[0].Parts {
				if !bytes.Equal(part, got.Parts[i]) {
					t.Fatalf("frame %d of channel %d arrived with %d bytes, not %d", got.ID, got.Channel, len(got.Parts[i]), len(part))
				}
			}
			want[got.Channel] = sent[1:]
		}
		next := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				channel := uint32(rapid.IntRange(1, 4).Draw(t, "channel"))
				if q.lanes[channel] == nil && gone[channel] {
					delete(want, channel) // It is another channel of the same number.
					delete(gone, channel)
				}
				next++
				f := &Frame{Kind: Update, Channel: channel, ID: next}
				for range rapid.IntRange(0, 2).Draw(t, "parts") {
					size := rapid.SampledFrom([]int{0, 1, chunk - 1, chunk, chunk + 1, 5 * chunk}).Draw(t, "size")
					f.Parts = append(f.Parts, bytes.Repeat([]byte{byte(next)}, size))
				}
				want[channel] = append(want[channel], f)
				q.Push(f)
			},
			"pop": func(*rapid.T) {
				if f := q.next(); f != nil {
					receive(f)
				}
			},
			"cut": func(t *rapid.T) { q.Cut(uint32(rapid.IntRange(1, 4).Draw(t, "channel"))) },
			"drop": func(t *rapid.T) {
				channel := uint32(rapid.IntRange(1, 4).Draw(t, "channel"))
				q.Drop(channel)
				if l := q.lanes[channel]; l == nil {
					delete(want, channel)
					delete(gone, channel)
				}
			},
		})
		for _, f := range drain(q) {
			receive(f)
		}
		for channel, left := range want {
			if len(left) > 0 && !gone[channel] {
				t.Fatalf("%d frames of channel %d did not arrive", len(left), channel)
			}
		}
		if len(end) != 0 || q.used != 0 {
			t.Fatalf("%d frames are incomplete; %d bytes are counted", len(end), q.used)
		}
	})
}

func TestWhoTakesWaitsForWhatComes(t *testing.T) {
	q := NewFair(1000, 1000, true)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan *Frame)
	go func() {
		defer close(got)
		for f, ok := q.Pop(ctx); ok; f, ok = q.Pop(ctx) {
			got <- f
		}
	}()
	for id := range uint64(100) {
		q.Push(&Frame{Kind: Update, Channel: 1, ID: id})
		if f := <-got; f.ID != id {
			t.Fatalf("got %d, want %d", f.ID, id)
		}
	}
	cancel()
	if _, ok := <-got; ok {
		t.Fatal("something came after the end")
	}
}
