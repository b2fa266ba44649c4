package crdt

import (
	"collab.dev/operator/editor/crdt/lib0"
)

// Subdoc is a document within a document: a name and options. Its content is a document of its own, which whoever
// needs it loads by its GUID.
type Subdoc struct {
	guid    string
	options []byte // In the any encoding.
	load    bool   // Whether to load it as soon as it is inserted: as in Yjs, if it was made here or loads itself.
	deleted bool
}

// NewSubdoc returns a subdocument that can be put into a document. The meta data, which peers see, may be nil.
func NewSubdoc(guid string, meta any, autoLoad, keepHistory bool) *Subdoc {
	if guid == "" {
		guid = randomGUID()
	}
	var o lib0.Object
	if keepHistory {
		o = append(o, lib0.Member{Key: "gc", Value: false})
	}
	if autoLoad {
		o = append(o, lib0.Member{Key: "autoLoad", Value: true})
	}
	if meta != nil {
		o = append(o, lib0.Member{Key: "meta", Value: meta})
	}
	return &Subdoc{guid: guid, options: lib0.AppendAny(nil, o), load: true}
}

// subdocFromWire reads the options of a subdocument as Yjs does, which keeps those that it knows.
func subdocFromWire(guid string, options []byte) *Subdoc {
	r := lib0.NewDecoder(options)
	o, _ := r.Any().(lib0.Object)
	keep, autoLoad := false, false
	if gc, ok := o.Get("gc"); ok {
		keep = !truthy(gc)
	}
	if auto, ok := o.Get("autoLoad"); ok {
		autoLoad = truthy(auto)
	}
	meta, _ := o.Get("meta")
	if _, undefined := meta.(lib0.Undefined); undefined {
		meta = nil
	}
	s := NewSubdoc(guid, meta, autoLoad, keep)
	s.guid, s.load = guid, autoLoad
	return s
}

func truthy(v any) bool {
	switch v := v.(type) {
	case nil, lib0.Undefined:
		return false
	case bool:
		return v
	case float64:
		return v != 0 && v == v
	case string:
		return v != ""
	}
	return true
}

// GUID returns the name of the document.
func (s *Subdoc) GUID() string { return s.guid }

// Meta returns the data that is stored with the name, or nil.
func (s *Subdoc) Meta() any {
	r := lib0.NewDecoder(s.options)
	o, _ := r.Any().(lib0.Object)
	meta, _ := o.Get("meta")
	return meta
}

// AutoLoad reports whether peers are asked to load the document at once.
func (s *Subdoc) AutoLoad() bool {
	r := lib0.NewDecoder(s.options)
	o, _ := r.Any().(lib0.Object)
	auto, _ := o.Get("autoLoad")
	return truthy(auto)
}

func (s *Subdoc) encodedOptions() []byte { return s.options }

func (d *Doc) integrateSubdoc(tx *Transaction, it *item) {
	tx.subdocsAdded = append(tx.subdocsAdded, it.content)
}

func (d *Doc) deleteSubdoc(tx *Transaction, it *item) {
	d.subdocs[it.content].deleted = true
	if !tx.adds(it) {
		tx.subdocsRemoved = append(tx.subdocsRemoved, d.subdocs[it.content])
	}
}

// subdocChange returns what a transaction did to subdocuments. What it both added and deleted does not count.
func (d *Doc) subdocChange(tx *Transaction) SubdocChange {
	c := SubdocChange{Removed: tx.subdocsRemoved}
	for _, i := range tx.subdocsAdded {
		s := d.subdocs[i]
		if s == nil || s.deleted {
			continue
		}
		c.Added = append(c.Added, s)
		if s.load {
			c.Loaded = append(c.Loaded, s)
		}
	}
	return c
}

// Subdocs returns the subdocuments that are part of the document.
func (d *Doc) Subdocs() []*Subdoc {
	var out []*Subdoc
	for _, c := range d.clients {
		for _, block := range c.structs.blocks {
			for _, e := range block {
				if it := d.item(e.ref); it.kind == kindDoc && !it.deleted() {
					out = append(out, d.subdocs[it.content])
				}
			}
		}
	}
	return out
}
