// Package awareness keeps what peers tell about themselves while they are connected (name, color, cursor), as
// y-protocols does: one JSON state per client, ordered by a clock, forgotten 30 seconds after it was last renewed.
//
// The package knows nothing of documents or connections. It does not run a timer: whoever owns States calls
// [States.Expire] now and then. States is not safe for concurrent use.
package awareness

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"collab.dev/operator/editor/crdt/lib0"
)

// Timeout is how long a state lasts that is not renewed.
const Timeout = 30 * time.Second

// ErrInvalid reports bytes that are no awareness update.
var ErrInvalid = errors.New("invalid awareness update")

// ErrTooMany reports an update that would make the number of known clients exceed Limits.
var ErrTooMany = errors.New("too many awareness clients")

// Limits bound what peers can make States hold. Zero fields do not bound.
type Limits struct {
	// Clients is the largest number of clients that are known, present or remembered.
	Clients int
	// StateBytes is the largest size of one client's state.
	StateBytes int
}

// Entry is the state of one client.
type Entry struct {
	Client uint64
	Clock  uint64
	// State is JSON; nil says that the client is gone.
	State []byte
}

// Change tells which clients an update added, changed and removed.
type Change struct {
	// Updated are the clients whose state was renewed; in Changed are those of them whose state differs.
	Added, Updated, Changed, Removed []uint64
}

// Empty reports whether nothing happened.
func (c Change) Empty() bool { return len(c.Added)+len(c.Updated)+len(c.Removed) == 0 }

// Clients returns all clients of the change, which is what has to be told to others.
func (c Change) Clients() []uint64 { return slices.Concat(c.Added, c.Updated, c.Removed) }

// States are the states of the clients of one document.
type States struct {
	now     func() time.Time
	limits  Limits
	clients map[uint64]*client
}

type client struct {
	clock   uint64
	state   []byte // Nil once the client is gone.
	renewed time.Time
}

// New returns empty states that take the time from now.
func New(now func() time.Time, limits Limits) *States {
	return &States{now: now, limits: limits, clients: make(map[uint64]*client)}
}

var null = []byte("null")

// Decode reads an update. States come out as JSON.stringify writes them.
func Decode(update []byte) ([]Entry, error) {
	d := lib0.NewDecoder(update)
	n := d.VarUint()
	if err := d.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	entries := make([]Entry, 0, min(n, uint64(d.Len()/3)))
	for range n {
		e := Entry{Client: d.VarUint(), Clock: d.VarUint()}
		text := d.VarString()
		if err := d.Err(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		state, err := lib0.ParseJSON(text)
		if err != nil {
			return nil, fmt.Errorf("%w: state of client %d: %w", ErrInvalid, e.Client, err)
		}
		if state != nil {
			e.State = lib0.AppendJSON(nil, state)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Encode returns entries as an update.
func Encode(entries []Entry) []byte {
	out := lib0.AppendVarUint(nil, uint64(len(entries)))
	for _, e := range entries {
		out = lib0.AppendVarUint(lib0.AppendVarUint(out, e.Client), e.Clock)
		if e.State == nil {
			out = lib0.AppendVarBytes(out, null)
		} else {
			out = lib0.AppendVarBytes(out, e.State)
		}
	}
	return out
}

// Apply merges an update: a state counts if its clock is higher than the known one, and the news that a client is gone
// also if the clock is the same. An invalid update changes nothing.
func (s *States) Apply(update []byte) (Change, error) {
	entries, err := Decode(update)
	if err != nil {
		return Change{}, err
	}
	return s.ApplyEntries(entries)
}

// ApplyEntries is Apply for a decoded update.
func (s *States) ApplyEntries(entries []Entry) (Change, error) {
	if err := s.admit(entries); err != nil {
		return Change{}, err
	}
	var change Change
	now := s.now()
	for _, e := range entries {
		known := s.clients[e.Client]
		clock, present := uint64(0), false
		if known != nil {
			clock, present = known.clock, known.state != nil
		}
		if e.Clock < clock || e.Clock == clock && (e.State != nil || !present) {
			continue
		}
		s.clients[e.Client] = &client{clock: e.Clock, state: e.State, renewed: now}
		switch {
		case known == nil && e.State != nil:
			change.Added = append(change.Added, e.Client)
		case known != nil && e.State == nil:
			change.Removed = append(change.Removed, e.Client)
		case e.State != nil:
			if !sameJSON(e.State, known.state) {
				change.Changed = append(change.Changed, e.Client)
			}
			change.Updated = append(change.Updated, e.Client)
		}
	}
	return change, nil
}

// admit checks the limits.
func (s *States) admit(entries []Entry) error {
	added := 0
	for _, e := range entries {
		if s.limits.StateBytes > 0 && len(e.State) > s.limits.StateBytes {
			return fmt.Errorf("%w: state of client %d has %d bytes", ErrInvalid, e.Client, len(e.State))
		}
		if s.clients[e.Client] == nil {
			added++
		}
	}
	if s.limits.Clients > 0 && len(s.clients)+added > s.limits.Clients {
		return ErrTooMany
	}
	return nil
}

// sameJSON reports whether two states are equal as JSON.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	av, aerr := lib0.ParseJSON(a)
	bv, berr := lib0.ParseJSON(b)
	return aerr == nil && berr == nil && equalDeep(av, bv)
}

func equalDeep(a, b any) bool {
	switch a := a.(type) {
	case lib0.Object:
		b, ok := b.(lib0.Object)
		if !ok || len(a) != len(b) {
			return false
		}
		for _, m := range a {
			v, ok := b.Get(m.Key)
			if !ok || !equalDeep(m.Value, v) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equalDeep)
	}
	switch b.(type) {
	case lib0.Object, []any:
		return false
	}
	return a == b
}

// Remove marks clients as gone, as when their connection was lost, and returns the update that tells others: it needs
// no higher clock, because the news that a client is gone wins. Unknown clients and those that are gone are left out.
func (s *States) Remove(clients []uint64) (Change, []byte) {
	var change Change
	for _, id := range clients {
		if c := s.clients[id]; c != nil && c.state != nil {
			c.state = nil
			change.Removed = append(change.Removed, id)
		}
	}
	if len(change.Removed) == 0 {
		return change, nil
	}
	return change, s.Encode(change.Removed)
}

// Expire removes the clients whose states were not renewed in time, and returns the update that tells others. It
// forgets clients that have been gone for as long.
func (s *States) Expire() (Change, []byte) {
	now := s.now()
	var gone []uint64
	for id, c := range s.clients {
		if now.Sub(c.renewed) < Timeout {
			continue
		}
		if c.state != nil {
			gone = append(gone, id)
			c.renewed = now // Remembered once more as long, so that an old state does not come back.
		} else {
			delete(s.clients, id)
		}
	}
	slices.Sort(gone)
	return s.Remove(gone)
}

// Encode returns the states of clients, of all that are present if clients is nil, as an update. Clients that were
// never known are left out.
func (s *States) Encode(clients []uint64) []byte {
	if clients == nil {
		clients = s.Clients()
	}
	entries := make([]Entry, 0, len(clients))
	for _, id := range clients {
		if c := s.clients[id]; c != nil {
			entries = append(entries, Entry{Client: id, Clock: c.clock, State: c.state})
		}
	}
	return Encode(entries)
}

// Clients returns the clients that are present, sorted.
func (s *States) Clients() []uint64 {
	var out []uint64
	for id, c := range s.clients {
		if c.state != nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Get returns the state of a client, nil if it is not present, and its clock.
func (s *States) Get(id uint64) (state []byte, clock uint64) {
	c := s.clients[id]
	if c == nil {
		return nil, 0
	}
	return c.state, c.clock
}

// Len returns the number of clients that are present.
func (s *States) Len() int {
	n := 0
	for _, c := range s.clients {
		if c.state != nil {
			n++
		}
	}
	return n
}
