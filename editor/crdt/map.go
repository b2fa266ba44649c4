package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// Map is a shared map from strings to values.
type Map struct{ handle }

// NewMap returns a detached map with the given members.
func NewMap(members ...lib0.Member) *Map {
	return &Map{handle{kind: KindMap, members: append([]lib0.Member(nil), members...)}}
}

// Len returns the number of entries.
func (m *Map) Len() int { return len(m.Members()) }

// Set sets the value of a key.
func (m *Map) Set(key string, value any) error { return m.entrySet(key, value) }

// Get returns the value of a key.
func (m *Map) Get(key string) (value any, ok bool) { return m.entryGet(key) }

// Has reports whether the map has a value for the key.
func (m *Map) Has(key string) bool {
	_, ok := m.entryGet(key)
	return ok
}

// Delete removes a key.
func (m *Map) Delete(key string) error { return m.entryDelete(key) }

// Clear removes all keys.
func (m *Map) Clear() error {
	if m.doc == nil {
		m.members = nil
		return nil
	}
	return m.edit(func(tx *Transaction) error {
		for _, member := range m.doc.members(m.node) {
			m.doc.deleteEntry(tx, m.node, member.Key)
		}
		return nil
	})
}

// Members returns the keys and their values, in the order in which the keys appeared.
func (m *Map) Members() []lib0.Member { return m.entryMembers() }

// JSON implements Shared.
func (m *Map) JSON() any { return m.json(0) }

func (m *Map) json(depth int) any {
	members := m.Members()
	for i := range members {
		members[i].Value = toJSON(members[i].Value, depth+1)
	}
	return lib0.NewObject(members)
}

// The methods below are those of all types that have entries.

func (h *handle) entrySet(key string, value any) error {
	if err := checkValue(value); err != nil {
		return err
	}
	if h.doc == nil {
		for i := range h.members {
			if h.members[i].Key == key {
				h.members[i].Value = value
				return nil
			}
		}
		h.members = append(h.members, lib0.Member{Key: key, Value: value})
		return nil
	}
	return h.edit(func(tx *Transaction) error {
		h.doc.setEntry(tx, h.node, key, value)
		return nil
	})
}

func (h *handle) entryGet(key string) (any, bool) {
	if h.doc == nil {
		return lib0.Object(h.members).Get(key)
	}
	r := h.doc.currentOf(h.node, key)
	if r == 0 {
		return nil, false
	}
	it := h.doc.item(r)
	if it.deleted() {
		return nil, false
	}
	return h.doc.value(it, it.length-1), true
}

func (h *handle) entryDelete(key string) error {
	if h.doc == nil {
		for i := range h.members {
			if h.members[i].Key == key {
				h.members = append(h.members[:i], h.members[i+1:]...)
				break
			}
		}
		return nil
	}
	return h.edit(func(tx *Transaction) error {
		h.doc.deleteEntry(tx, h.node, key)
		return nil
	})
}

func (h *handle) entryMembers() []lib0.Member {
	if h.doc == nil {
		return append([]lib0.Member(nil), h.members...)
	}
	return h.doc.members(h.node)
}
