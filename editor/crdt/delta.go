package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// Op is a step of a delta, which describes the content of a text or a change of a list. Just one of Insert, Delete and
// Retain is set.
type Op struct {
	// Insert is what is inserted: in a text a string, an embedded value or a Shared; in a list []any.
	Insert any
	// Delete is the number of elements that are removed.
	Delete int
	// Retain is the number of elements that stay, formatted with Attributes if there are any.
	Retain int
	// Attributes are the formatting of what is inserted, or the change of formatting of what stays, where nil ends an
	// attribute.
	Attributes lib0.Object
}

// Object returns the step as Yjs shows it: an object with insert, delete or retain, and attributes.
func (o Op) Object() lib0.Object {
	var out lib0.Object
	switch {
	case o.Insert != nil:
		out = append(out, lib0.Member{Key: "insert", Value: o.Insert})
	case o.Delete > 0:
		out = append(out, lib0.Member{Key: "delete", Value: float64(o.Delete)})
	default:
		out = append(out, lib0.Member{Key: "retain", Value: float64(o.Retain)})
	}
	if len(o.Attributes) > 0 {
		out = append(out, lib0.Member{Key: "attributes", Value: o.Attributes})
	}
	return out
}

// DeltaJSON returns a delta as Yjs shows it, with shared types as their JSON.
func DeltaJSON(ops []Op) []any {
	out := make([]any, len(ops))
	for i, op := range ops {
		o := op.Object()
		if values, ok := op.Insert.([]any); ok {
			list := make([]any, len(values))
			for i, v := range values {
				list[i] = toJSON(v, 0)
			}
			o[0].Value = list
		} else if op.Insert != nil {
			o[0].Value = toJSON(op.Insert, 0)
		}
		out[i] = o
	}
	return out
}
