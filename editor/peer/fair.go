package peer

import (
	"context"
	"sync"
)

// chunk is how much a channel sends, in bytes, before others have their turn.
const chunk = 256 << 10

// Fair is the queue before a link: its channels take turns, a part of a large frame at a time, and what belongs to no
// channel goes first. Its writers never block: a channel that has fallen too far behind is cut, which leaves a Moved
// of all that waited in it, so that the other end begins afresh. Frames of the kind Content do not count: who sends
// them has to bound them. It is safe for concurrent use.
type Fair struct {
	channel, total int
	split          bool
	wake           chan struct{}

	mu     sync.Mutex
	urgent []*Frame
	lanes  map[uint32]*lane
	// turns are the lanes that have frames, in the order in which they have their turn.
	turns []*lane
	used  int
}

// lane is what waits in a channel.
type lane struct {
	channel uint32
	frames  []*Frame
	used    int
	// sent is how much of the first frame's first part was sent, turn how much was sent in this turn.
	sent, turn int
	// cut says that it takes nothing anymore, over that nobody has the channel.
	cut, over bool
}

// NewFair returns a queue that holds so many bytes for one channel and for all. split says whether the other end puts
// frames together that come in parts.
func NewFair(channel, total int, split bool) *Fair {
	return &Fair{channel: channel, total: total, split: split, wake: make(chan struct{}, 1), lanes: map[uint32]*lane{}}
}

// Push adds a frame, which is dropped if its channel was cut. It returns the channel that was cut to make room, or 0.
func (q *Fair) Push(f *Frame) (cut uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.signal()
	if f.Channel == 0 {
		q.urgent = append(q.urgent, f)
		return 0
	}
	l := q.lanes[f.Channel]
	if l == nil {
		l = &lane{channel: f.Channel}
		q.lanes[f.Channel] = l
	}
	if l.cut {
		return 0
	}
	if len(l.frames) == 0 {
		q.turns = append(q.turns, l)
	}
	l.frames = append(l.frames, f)
	q.count(l, f, 1)
	switch {
	case l.used > q.channel && len(l.frames) > 1:
	case q.used > q.total && len(q.turns) > 1:
		for _, other := range q.turns {
			if other.used > l.used {
				l = other
			}
		}
	default:
		return 0
	}
	q.cut(l)
	return l.channel
}

// Cut cuts a channel.
func (q *Fair) Cut(channel uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.signal()
	l := q.lanes[channel]
	if l == nil {
		l = &lane{channel: channel}
		q.lanes[channel] = l
	}
	if l.cut {
		return
	}
	if len(l.frames) == 0 {
		q.turns = append(q.turns, l)
	}
	q.cut(l)
}

func (q *Fair) cut(l *lane) {
	for _, f := range l.frames {
		q.count(l, f, -1)
	}
	moved := &Frame{Kind: Moved, Channel: l.channel}
	l.frames, l.sent, l.cut = []*Frame{moved}, 0, true
	q.count(l, moved, 1)
}

// Drop forgets a channel that nobody has anymore, with what waits in it. If it was cut, the other end is still told.
func (q *Fair) Drop(channel uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[channel]
	switch {
	case l == nil:
		return
	case l.cut && len(l.frames) > 0:
		l.over = true
		return
	}
	delete(q.lanes, channel)
	for _, f := range l.frames {
		q.count(l, f, -1)
	}
	for i, other := range q.turns {
		if other == l {
			q.turns = append(q.turns[:i], q.turns[i+1:]...)
			break
		}
	}
	if l.sent > 0 { // The other end waits for the rest.
		q.urgent = append(q.urgent, &Frame{Kind: Part, Channel: channel})
		q.signal()
	}
}

func (q *Fair) count(l *lane, f *Frame, sign int) {
	if f.Kind != Content {
		l.used += sign * f.Size()
		q.used += sign * f.Size()
	}
}

// Pop takes what is to be sent next, waiting for it. It returns false when ctx ends. Only one goroutine may pop.
func (q *Fair) Pop(ctx context.Context) (*Frame, bool) {
	for {
		if f := q.next(); f != nil {
			return f, true
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil, false
		}
	}
}

func (q *Fair) next() *Frame {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.urgent) > 0 {
		f := q.urgent[0]
		q.urgent = q.urgent[1:]
		return f
	}
	if len(q.turns) == 0 {
		return nil
	}
	l := q.turns[0]
	f := l.frames[0]
	if q.split && len(f.Parts) > 0 && len(f.Parts[0])-l.sent > chunk {
		from := l.sent
		l.sent += chunk
		q.took(l, chunk)
		return &Frame{Kind: Part, Channel: l.channel, ID: uint64(len(f.Parts[0])), Parts: [][]byte{f.Parts[0][from:l.sent]}}
	}
	l.frames[0] = nil
	l.frames = l.frames[1:]
	q.count(l, f, -1)
	q.took(l, f.Size()-l.sent)
	if l.sent == 0 {
		return f
	}
	last := *f
	last.Parts = append([][]byte{f.Parts[0][l.sent:]}, f.Parts[1:]...)
	l.sent = 0
	return &last
}

// took ends the turn of the first lane when it has taken enough, or has nothing more.
func (q *Fair) took(l *lane, bytes int) {
	l.turn += bytes
	more := len(l.frames) > 0
	if more && l.turn < chunk {
		return
	}
	l.turn = 0
	q.turns = q.turns[1:]
	switch {
	case more:
		q.turns = append(q.turns, l)
	case !l.cut || l.over:
		delete(q.lanes, l.channel)
	}
}

func (q *Fair) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// joiner puts frames together that came in parts.
type joiner map[uint32][]byte

// join takes what was received: a whole frame, or a part, instead of which a sign of life is returned.
func (j joiner) join(f *Frame) (*Frame, error) {
	whole, begun := j[f.Channel]
	if f.Kind != Part {
		delete(j, f.Channel)
		// What a frame does not complete was cut off.
		if begun && len(f.Parts) > 0 && len(whole)+len(f.Parts[0]) == cap(whole) {
			f.Parts[0] = append(whole, f.Parts[0]...)
		}
		return f, nil
	}
	life := &Frame{Kind: Pong}
	if len(f.Parts) != 1 {
		delete(j, f.Channel)
		return life, nil
	}
	if !begun {
		if f.ID > maxFrame {
			return nil, errFrame
		}
		whole = make([]byte, 0, f.ID)
	}
	if len(whole)+len(f.Parts[0]) > cap(whole) {
		return nil, errFrame
	}
	j[f.Channel] = append(whole, f.Parts[0]...)
	return life, nil
}
