package crdt

import (
	"bytes"

	"collab.dev/operator/editor/crdt/lib0"
)

// attr is a formatting attribute. JavaScript compares objects by identity; from tells which format a value is of.
type attr struct {
	key   keyRef
	value []byte // In the any encoding.
	from  origin // The format that the value comes from.
}

// origin identifies the format that a value was first part of; noOrigin if the caller gave it.
type origin uint64

const noOrigin origin = 0

func originOf(it *item) origin { return origin(it.client)<<32 | origin(it.clock) + 1 }

// attrs are attributes in the order in which they were set.
type attrs []attr

func (a attrs) get(key keyRef) (attr, bool) {
	for i := range a {
		if a[i].key == key {
			return a[i], true
		}
	}
	return attr{}, false
}

// orNull returns the attribute, null if it is not set.
func (a attrs) orNull(key keyRef) attr {
	if found, ok := a.get(key); ok {
		return found
	}
	return attr{key: key, value: anyNull}
}

func (a attrs) set(set attr) attrs {
	for i := range a {
		if a[i].key == set.key {
			a[i] = set
			return a
		}
	}
	return append(a, set)
}

func (a attrs) without(key keyRef) attrs {
	for i := range a {
		if a[i].key == key {
			return append(a[:i], a[i+1:]...)
		}
	}
	return a
}

func (a attrs) clone() attrs { return append(attrs(nil), a...) }

// apply sets an attribute, or removes it if it is null.
func (a attrs) apply(set attr) attrs {
	if set.isNull() {
		return a.without(set.key)
	}
	return a.set(set)
}

func (a attr) isNull() bool { return bytes.Equal(a.value, anyNull) }

// compound reports whether the value is an object or an array.
func (a attr) compound() bool { return len(a.value) > 0 && a.value[0] >= 116 && a.value[0] <= 118 }

// same reports whether the values are the same to JavaScript's === operator.
func (a attr) same(b attr) bool {
	if a.compound() {
		return a.from != noOrigin && a.from == b.from
	}
	return bytes.Equal(a.value, b.value)
}

// equal reports whether the values are the same, or objects with the same members, which in turn must be the same.
func (a attr) equal(b attr) bool {
	if a.same(b) {
		return true
	}
	if !a.compound() || !b.compound() {
		return false
	}
	av, bv := decodeAny(a.value), decodeAny(b.value)
	am, bm := membersOf(av), membersOf(bv)
	if len(am) != len(bm) {
		return false
	}
	for _, m := range am {
		other, ok := bm.Get(m.Key)
		if !ok || !scalarEqual(m.Value, other) {
			return false
		}
	}
	return true
}

func decodeAny(b []byte) any {
	r := lib0.NewDecoder(b)
	return r.Any()
}

// membersOf returns the enumerable members of a compound value.
func membersOf(v any) lib0.Object {
	switch v := v.(type) {
	case lib0.Object:
		return v
	case []any:
		out := make(lib0.Object, len(v))
		for i := range v {
			out[i] = lib0.Member{Key: string(lib0.AppendNumber(nil, float64(i))), Value: v[i]}
		}
		return out
	case []byte:
		out := make(lib0.Object, len(v))
		for i := range v {
			out[i] = lib0.Member{Key: string(lib0.AppendNumber(nil, float64(i))), Value: float64(v[i])}
		}
		return out
	}
	return nil
}

func scalarEqual(a, b any) bool {
	switch a.(type) {
	case lib0.Object, []any, []byte:
		return false // Different objects, whatever they hold.
	}
	switch b.(type) {
	case lib0.Object, []any, []byte:
		return false
	}
	return a == b
}

// attrsFrom turns attributes that a caller gave into their internal form.
func (d *Doc) attrsFrom(o lib0.Object) attrs {
	out := make(attrs, 0, len(o))
	for _, m := range o {
		if _, undefined := m.Value.(lib0.Undefined); undefined {
			continue
		}
		out = out.set(attr{key: d.keys.internString(m.Key), value: lib0.AppendAny(nil, m.Value)})
	}
	return out
}

// object returns the attributes as an object.
func (a attrs) object(d *Doc) lib0.Object {
	if len(a) == 0 {
		return nil
	}
	members := make([]lib0.Member, len(a))
	for i := range a {
		members[i] = lib0.Member{Key: d.keys.name(a[i].key), Value: cloneBytes(decodeAny(a[i].value))}
	}
	return lib0.NewObject(members)
}

// formatAttr returns the attribute that the format r sets.
func (d *Doc) formatAttr(r ref) attr {
	it := d.item(r)
	key, value := d.formatOf(it)
	a := attr{key: key, value: value, from: originOf(it)}
	if len(d.sameValues) > 0 && a.compound() {
		if first, ok := d.sameValues[a.from]; ok {
			a.from = first
		}
	}
	return a
}
