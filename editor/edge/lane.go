package edge

import (
	"context"
	"sync"
	"time"
)

const (
	// minInterval and maxInterval bound the time between two turns of a lane.
	minInterval = 2 * time.Millisecond
	maxInterval = 150 * time.Millisecond
	// patience is how many times longer than the processor makes work wait a lane waits for more of it.
	patience = 4
)

// lane brings what happens in rooms to clients, in turns: what came to a room since the last turn becomes one message,
// written once and sent to all, so that what a change costs does not grow with the changes that come with it.
//
// When nothing happened for a while a turn begins at once. Otherwise it waits for the time that the processor makes
// everybody wait anyway, and some more: the busier the process, the more a turn brings.
type lane struct {
	// wake has a value when there is something to do.
	wake chan struct{}

	mu    sync.Mutex
	rooms []*room
	conns []*conn
	// hurry asks for the connections' turn at once.
	hurry bool

	// The rest is the running goroutine's. buffer is for what one connection gets.
	buffer []byte
	// late is how late turns began lately, on average.
	late time.Duration
}

func newLane() *lane { return &lane{wake: make(chan struct{}, 1)} }

// room asks for a turn of a room.
func (l *lane) room(r *room) {
	l.mu.Lock()
	l.rooms = append(l.rooms, r)
	first := len(l.rooms) == 1
	l.mu.Unlock()
	if first {
		l.poke()
	}
}

// conn asks for a turn of a connection, at once if it is urgent.
func (l *lane) conn(c *conn, urgent bool) {
	l.mu.Lock()
	if c != nil {
		l.conns = append(l.conns, c)
	}
	first := len(l.conns) == 1
	l.hurry = l.hurry || urgent
	l.mu.Unlock()
	if first || urgent {
		l.poke()
	}
}

func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run takes turns until ctx ends.
func (l *lane) run(ctx context.Context) {
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	var rooms []*room
	var conns []*conn
	var next time.Time
	for {
		l.mu.Lock()
		waiting, hurry := len(l.rooms)+len(l.conns) > 0, l.hurry
		l.hurry = false
		l.mu.Unlock()
		wait := time.Until(next)
		switch {
		case hurry:
			conns = l.connections(conns)
			continue
		case !waiting:
			select {
			case <-l.wake:
				continue
			case <-ctx.Done():
				return
			}
		case wait > 0:
			timer.Reset(wait)
			select {
			case <-timer.C:
				l.late += (time.Since(next) - l.late) / 8
			case <-l.wake:
				continue
			case <-ctx.Done():
				return
			}
		default:
			l.late -= l.late / 8
		}
		next = time.Now().Add(min(max(patience*l.late, minInterval), maxInterval))
		l.mu.Lock()
		rooms, l.rooms = l.rooms, rooms[:0]
		l.mu.Unlock()
		for i, r := range rooms {
			r.turn()
			rooms[i] = nil
			// At once, while the processor's caches have what the room's members share, and nobody waits for other rooms.
			conns = l.connections(conns)
		}
		conns = l.connections(conns)
	}
}

// connections takes the connections' turn. It returns room for the next one.
func (l *lane) connections(spare []*conn) []*conn {
	l.mu.Lock()
	conns := l.conns
	l.conns = spare[:0]
	l.mu.Unlock()
	for i, c := range conns {
		l.buffer = c.turn(l.buffer)
		conns[i] = nil
	}
	return conns
}
