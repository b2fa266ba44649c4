package auth

import (
	"sync"
	"time"
)

// revocations are those in force, and who waits for one. It is safe for concurrent use.
type revocations struct {
	// keep is how long a revocation matters: no token that it concerns lives longer.
	keep time.Duration

	mu       sync.Mutex
	families map[string]time.Time // until when it is kept
	users    map[string]cut
	watchers map[string]map[*watcher]struct{} // by family or user, under familyKey and userKey
}

// cut ends what a user began until at.
type cut struct{ at, until time.Time }

type watcher struct {
	identity *Identity
	revoked  func()
}

func newRevocations(keep time.Duration) *revocations {
	return &revocations{
		keep: keep, families: map[string]time.Time{}, users: map[string]cut{},
		watchers: map[string]map[*watcher]struct{}{},
	}
}

// endedBy says whether the identity is revoked by a user's revocation at a time. Tokens of our sessions carry a time of the
// same clock; an application's iat has whole seconds, so that one of the very second counts as before.
func (i *Identity) endedBy(at time.Time) bool {
	if !i.began.IsZero() {
		return !i.began.After(at)
	}
	return i.issued.Unix() <= at.Unix()
}

func (r *revocations) revoked(i *Identity) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ends(i)
}

// ends is revoked for whom holds the lock.
func (r *revocations) ends(i *Identity) bool {
	if _, ended := r.families[i.Family]; ended && i.Family != "" {
		return true
	}
	user, found := r.users[i.User]
	return found && i.endedBy(user.at)
}

// add takes revocations in and calls those who wait for them.
func (r *revocations) add(batch []Revocation, now time.Time) {
	for _, w := range r.insert(batch, now) {
		w.revoked()
	}
}

func (r *revocations) insert(batch []Revocation, now time.Time) []*watcher {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ended []*watcher
	for _, one := range batch {
		until := now.Add(r.keep)
		if !one.Recorded.IsZero() {
			until = one.Recorded.Add(r.keep)
		}
		if !now.Before(until) {
			continue
		}
		name := familyKey(one.Family)
		if one.Family != "" {
			r.families[one.Family] = until
		} else {
			name = userKey(one.User)
			if known, found := r.users[one.User]; !found || one.At.After(known.at) {
				r.users[one.User] = cut{at: one.At, until: until}
			}
		}
		for w := range r.watchers[name] {
			if r.ends(w.identity) {
				r.forget(w)
				ended = append(ended, w)
			}
		}
	}
	return ended
}

// prune drops what concerns no token anymore.
func (r *revocations) prune(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for family, until := range r.families {
		if !now.Before(until) {
			delete(r.families, family)
		}
	}
	for user, c := range r.users {
		if !now.Before(c.until) {
			delete(r.users, user)
		}
	}
}

// list returns all that are in force.
func (r *revocations) list(now time.Time) []Revocation {
	r.prune(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Revocation, 0, len(r.families)+len(r.users))
	for family := range r.families {
		all = append(all, Revocation{Family: family})
	}
	for user, c := range r.users {
		all = append(all, Revocation{User: user, At: c.at})
	}
	return all
}

// size returns how many are in force.
func (r *revocations) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.families) + len(r.users)
}

func familyKey(family string) string { return "family " + family }
func userKey(user string) string     { return "user " + user }

// watch calls revoked when the identity is revoked, at once if it is.
func (r *revocations) watch(i *Identity, revoked func()) (stop func()) {
	w := &watcher{identity: i, revoked: revoked}
	if !r.enter(w) {
		revoked()
		return func() {}
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.forget(w)
	}
}

// enter says whether there is something to wait for.
func (r *revocations) enter(w *watcher) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ends(w.identity) {
		return false
	}
	for _, name := range w.names() {
		if r.watchers[name] == nil {
			r.watchers[name] = map[*watcher]struct{}{}
		}
		r.watchers[name][w] = struct{}{}
	}
	return true
}

func (r *revocations) forget(w *watcher) {
	for _, name := range w.names() {
		delete(r.watchers[name], w)
		if len(r.watchers[name]) == 0 {
			delete(r.watchers, name)
		}
	}
}

func (w *watcher) names() []string {
	names := []string{userKey(w.identity.User)}
	if w.identity.Family != "" {
		names = append(names, familyKey(w.identity.Family))
	}
	return names
}
