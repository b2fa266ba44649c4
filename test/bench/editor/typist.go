package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// typist lets rooms type when they are due, by one goroutine. What authors send belongs to it.
type typist struct {
	load *load
	// wake has a value when a room was added that may be due before the others.
	wake chan struct{}

	mu sync.Mutex
	// rooms are those that wait for their time, the next one first.
	rooms []*room
}

func newTypist(l *load) *typist { return &typist{load: l, wake: make(chan struct{}, 1)} }

// run lets rooms type until ctx ends.
func (t *typist) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := time.Duration(0)
		for wait <= 0 && ctx.Err() == nil {
			wait = t.turn()
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-t.wake:
		case <-ctx.Done():
			return
		}
	}
}

// turn lets the first room type if it is due. It returns how long the first one has to wait.
func (t *typist) turn() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rooms) == 0 {
		return time.Hour
	}
	r := t.rooms[0]
	if wait := time.Until(r.next); wait > 0 {
		return wait
	}
	t.rooms = t.rooms[1:]
	if r.stopped {
		return 0
	}
	if err := r.typeNext(); err != nil {
		t.load.fail(err)
		return 0
	}
	if r.blocked == nil {
		t.insert(r)
	}
	return 0
}

// add lets a room type from its time on.
func (t *typist) add(r *room) {
	t.mu.Lock()
	t.insert(r)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// insert keeps the order. All rooms are equally fast, so that the place of one that has typed is the end.
func (t *typist) insert(r *room) {
	i, _ := slices.BinarySearchFunc(t.rooms, r, func(a, b *room) int { return a.next.Compare(b.next) })
	t.rooms = slices.Insert(t.rooms, i, r)
}

// stop ends a room's typing.
func (t *typist) stop(r *room) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.stopped = true
}

// send sends a frame of an author, or nothing new, and what waits for room. A room that waited for that goes on.
func (t *typist) send(a *author, frame []byte) error {
	t.mu.Lock()
	a.out = append(a.out, frame...)
	if len(a.out) == 0 {
		t.mu.Unlock()
		return nil
	}
	err := a.flush()
	goesOn := len(a.out) == 0 && a.room.blocked == a
	if goesOn {
		a.room.blocked = nil
	}
	t.mu.Unlock()
	if goesOn {
		t.add(a.room)
	}
	return err
}
