// Package shard owns which shards this pod serves: it follows the ShardMap, takes shards over, serves their documents
// to edges, and hands them over again.
//
// It knows nothing of client connections or of how documents are stored.
package shard

import (
	"sync"

	"github.com/cespare/xxhash/v2"

	"collab.dev/operator/api/v1alpha1"
)

// Map is one version of the ShardMap. It never changes.
type Map struct {
	members map[string]v1alpha1.ShardMember
	shards  []v1alpha1.ShardAssignment
}

// NewMap indexes a ShardMap.
func NewMap(spec v1alpha1.ShardMapSpec) *Map {
	m := &Map{members: map[string]v1alpha1.ShardMember{}, shards: make([]v1alpha1.ShardAssignment, len(spec.Shards))}
	for _, member := range spec.Members {
		m.members[member.Name] = member
	}
	for _, s := range spec.Shards {
		if int(s.Shard) < len(m.shards) {
			m.shards[s.Shard] = s
		}
	}
	return m
}

// Alone returns the map of a single process, which owns all shards for good.
func Alone(name string, shards int32) *Map {
	spec := v1alpha1.ShardMapSpec{Members: []v1alpha1.ShardMember{{Name: name}}}
	for n := range shards {
		spec.Shards = append(spec.Shards, v1alpha1.ShardAssignment{Shard: n, Owner: name, Epoch: 1})
	}
	return NewMap(spec)
}

// Of returns the shard of a document, "org/document", among a number of shards that is a power of two.
func Of(document string, shards int) int32 {
	return int32(xxhash.Sum64String(document) & uint64(shards-1))
}

// Assignment returns who owns a document's shard, and where. It returns false while nobody does.
func (m *Map) Assignment(document string) (v1alpha1.ShardAssignment, v1alpha1.ShardMember, bool) {
	if m == nil || len(m.shards) == 0 {
		return v1alpha1.ShardAssignment{}, v1alpha1.ShardMember{}, false
	}
	s := m.shards[Of(document, len(m.shards))]
	member, ok := m.members[s.Owner]
	return s, member, ok
}

// Maps holds the newest ShardMap. The zero value holds none yet. It is safe for concurrent use.
type Maps struct {
	mu      sync.Mutex
	current *Map
	changed chan struct{}
}

// Set replaces the map.
func (m *Maps) Set(next *Map) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = next
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// Current returns the newest map, nil if there was none yet, and a channel that is closed when a newer one comes.
func (m *Maps) Current() (*Map, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.current, m.changed
}
