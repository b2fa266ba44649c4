package protocol

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

const (
	maxPresences    = 16384
	maxPresenceSize = 256 << 10
	maxTombstones   = 4096
	// maxPresent and maxPresentBytes bound a room: who joins is told of everybody.
	maxPresent      = 8192
	maxPresentBytes = 8 << 20
)

// Presence is what one Yjs client says about itself.
type Presence struct {
	// Client is the Yjs client's number.
	Client uint64
	// Clock orders the states of one client.
	Clock uint64
	// State is JSON; "null" says that the client has left.
	State string
}

// Gone says that the client has left.
func (p Presence) Gone() bool { return p.State == "null" }

// ParseAwareness reads an awareness update, all of data. Its errors wrap this package's.
func ParseAwareness(data []byte) ([]Presence, error) {
	r := reader{data}
	n, err := r.number()
	if err != nil {
		return nil, err
	}
	// An entry takes three bytes at least, so that a short message cannot make us reserve much memory.
	if n > maxPresences || n > uint64(len(r.rest)) {
		return nil, fmt.Errorf("%w: %d presences", ErrLimit, n)
	}
	out := make([]Presence, 0, n)
	for range n {
		p := Presence{}
		if p.Client, err = r.number(); err != nil {
			return nil, err
		}
		if p.Clock, err = r.number(); err != nil {
			return nil, err
		}
		state, err := r.bytes()
		if err != nil {
			return nil, err
		}
		if len(state) > maxPresenceSize {
			return nil, fmt.Errorf("%w: a presence of %d bytes", ErrLimit, len(state))
		}
		// JavaScript clients throw on what is no JSON, so that nobody may send it to others.
		if !utf8.Valid(state) || !json.Valid(state) {
			return nil, fmt.Errorf("%w: a presence that is not JSON", ErrText)
		}
		p.State = string(state)
		out = append(out, p)
	}
	if len(r.rest) > 0 {
		return nil, fmt.Errorf("%w: %d", ErrTrailing, len(r.rest))
	}
	return out, nil
}

// EncodeAwareness writes an awareness update.
func EncodeAwareness(presences []Presence) []byte {
	out := appendNumber(nil, uint64(len(presences)))
	for _, p := range presences {
		out = appendNumber(appendNumber(out, p.Client), p.Clock)
		out = append(appendNumber(out, uint64(len(p.State))), p.State...)
	}
	return out
}

// Room is the presence of everybody in one document, by the rules of y-protocols. O is who announced a client: a
// client is removed when whoever announced it leaves. It has room for 8192 clients and 8 MiB of what they say: what is more
// is ignored. It is not safe for concurrent use.
type Room[O comparable] struct {
	present map[uint64]announced[O]
	left    map[uint64]uint64
	// bytes is what the states of all who are present take.
	bytes int
}

type announced[O comparable] struct {
	Presence
	by O
}

// Apply takes what somebody says. changed is what is news to the others. stale is the departure of clients that are
// back with an old clock, which they must hear of to raise it: a reconnecting client uses its old clock, which all
// others ignore.
//
// Yjs clients repeat what they hear of others, so that most of what arrives is no news.
func (r *Room[O]) Apply(presences []Presence, by O) (changed, stale []Presence) {
	if r.present == nil {
		r.present, r.left = map[uint64]announced[O]{}, map[uint64]uint64{}
	}
	for _, p := range presences {
		known, here := r.present[p.Client]
		clock, gone := r.left[p.Client]
		switch {
		case here && (p.Clock > known.Clock || p.Clock == known.Clock && p.Gone()):
			switch {
			case p.Gone():
				r.remove(p.Client, p.Clock)
			case r.bytes+len(p.State)-len(known.State) > maxPresentBytes:
				continue
			default:
				r.add(p, known.by)
			}
			changed = append(changed, p)
		case here:
		case p.Gone():
			if !gone || p.Clock > clock {
				r.remove(p.Client, p.Clock)
				changed = append(changed, p)
			}
		case gone && p.Clock <= clock:
			stale = append(stale, Presence{Client: p.Client, Clock: clock, State: "null"})
		case len(r.present) >= maxPresent, r.bytes+len(p.State) > maxPresentBytes:
		default:
			delete(r.left, p.Client)
			r.add(p, by)
			changed = append(changed, p)
		}
	}
	return changed, stale
}

// Leave removes all clients that somebody has announced and returns their departures.
func (r *Room[O]) Leave(by O) []Presence {
	var out []Presence
	for id, p := range r.present {
		if p.by == by {
			gone := Presence{Client: id, Clock: p.Clock + 1, State: "null"}
			r.remove(id, gone.Clock)
			out = append(out, gone)
		}
	}
	slices.SortFunc(out, byClient)
	return out
}

// Forget removes all clients that somebody has announced, as if they had never been here: nobody is told.
func (r *Room[O]) Forget(by O) {
	for id, p := range r.present {
		if p.by == by {
			r.drop(id)
		}
	}
}

// Announced is how many of the clients here somebody has announced. It takes time that grows with all.
func (r *Room[O]) Announced(by O) (n int) {
	for _, p := range r.present {
		if p.by == by {
			n++
		}
	}
	return n
}

// Here returns what of presences is about clients that are here.
func (r *Room[O]) Here(presences []Presence) []Presence {
	return slices.DeleteFunc(slices.Clone(presences), func(p Presence) bool {
		_, here := r.present[p.Client]
		return !here
	})
}

// Present returns everybody whose announcer is accepted; a nil accept takes all.
func (r *Room[O]) Present(accept func(O) bool) []Presence {
	var out []Presence
	for _, p := range r.present {
		if accept == nil || accept(p.by) {
			out = append(out, p.Presence)
		}
	}
	slices.SortFunc(out, byClient)
	return out
}

// Latest returns the newest of what several awareness updates say of each client. Equal clocks keep the later one.
func Latest(updates ...[]Presence) []Presence {
	latest := map[uint64]Presence{}
	for _, update := range updates {
		for _, p := range update {
			if old, ok := latest[p.Client]; !ok || p.Clock >= old.Clock {
				latest[p.Client] = p
			}
		}
	}
	return slices.SortedFunc(maps.Values(latest), byClient)
}

func (r *Room[O]) add(p Presence, by O) {
	r.drop(p.Client)
	r.present[p.Client] = announced[O]{p, by}
	r.bytes += len(p.State)
}

func (r *Room[O]) drop(id uint64) {
	r.bytes -= len(r.present[id].State)
	delete(r.present, id)
}

func (r *Room[O]) remove(id, clock uint64) {
	r.drop(id)
	if len(r.left) >= maxTombstones {
		clear(r.left)
	}
	r.left[id] = clock
}

func byClient(a, b Presence) int { return cmp.Compare(a.Client, b.Client) }
