package crdt

// Array is a shared list of values.
type Array struct{ handle }

// NewArray returns a detached array. The values must be supported; Insert reports it if they are not.
func NewArray(values ...any) *Array {
	return &Array{handle{kind: KindArray, list: append([]any(nil), values...)}}
}

// Len returns the number of elements.
func (a *Array) Len() int { return a.listLen() }

// Insert adds values before position index.
func (a *Array) Insert(index int, values ...any) error { return a.listInsert(index, values) }

// Push adds values at the end.
func (a *Array) Push(values ...any) error { return a.listPush(values) }

// Delete removes length elements from position index on.
func (a *Array) Delete(index, length int) error { return a.listDelete(index, length) }

// Get returns the element at a position, or nil beyond the end.
func (a *Array) Get(index int) any { return a.listGet(index) }

// Values returns all elements.
func (a *Array) Values() []any { return a.listSlice(0, a.listLen()) }

// Slice returns the elements from one position to another.
func (a *Array) Slice(from, to int) []any { return a.listSlice(from, to) }

// JSON implements Shared.
func (a *Array) JSON() any { return a.json(0) }

func (a *Array) json(depth int) any {
	out := []any{}
	for _, v := range a.Values() {
		out = append(out, toJSON(v, depth+1))
	}
	return out
}

// The methods below are those of all types that are lists of values.

func (h *handle) listLen() int {
	if h.doc == nil {
		return len(h.list)
	}
	return int(h.doc.node(h.node).length)
}

func (h *handle) listInsert(index int, values []any) error {
	if err := checkValues(values); err != nil {
		return err
	}
	if h.doc == nil {
		if index < 0 || index > len(h.list) {
			return ErrOutOfBounds
		}
		list := append([]any(nil), h.list[:index]...)
		h.list = append(append(list, values...), h.list[index:]...)
		return nil
	}
	return h.edit(func(tx *Transaction) error { return h.doc.insertValuesAt(tx, h.node, index, values) })
}

// listPush adds values behind the last item, even if that is deleted, as Yjs does.
func (h *handle) listPush(values []any) error {
	if err := checkValues(values); err != nil {
		return err
	}
	if h.doc == nil {
		h.list = append(h.list, values...)
		return nil
	}
	return h.edit(func(tx *Transaction) error {
		h.doc.insertValues(tx, h.node, h.doc.node(h.node).last, values)
		return nil
	})
}

func (h *handle) listDelete(index, length int) error {
	if h.doc == nil {
		if index < 0 || length < 0 || index+length > len(h.list) {
			return ErrOutOfBounds
		}
		h.list = append(h.list[:index:index], h.list[index+length:]...)
		return nil
	}
	return h.edit(func(tx *Transaction) error { return h.doc.deleteValues(tx, h.node, index, length) })
}

func (h *handle) listGet(index int) any {
	if index < 0 || index >= h.listLen() {
		return nil
	}
	if h.doc == nil {
		return h.list[index]
	}
	r, within := h.doc.seek(h.node, index+1)
	if r == 0 {
		return nil
	}
	return h.doc.value(h.doc.item(r), uint32(within-1))
}

func (h *handle) listSlice(from, to int) []any {
	from, to = max(from, 0), min(to, h.listLen())
	if from >= to {
		return nil
	}
	if h.doc == nil {
		return append([]any(nil), h.list[from:to]...)
	}
	return h.doc.listValues(h.node, from, to)
}
