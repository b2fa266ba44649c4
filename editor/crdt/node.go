package crdt

// nodeRef names a shared type of a document, entryRef an entry of its map. Zero names none.
type (
	nodeRef  uint32
	entryRef uint32
)

// collectedNode stands for all types whose content was garbage collected, as far as the program still holds them.
const collectedNode nodeRef = 0

// TypeKind is the kind of a shared type.
type TypeKind uint8

// The kinds of shared types, numbered as in the update format. A root type has no kind until the program defines it.
const (
	KindArray TypeKind = iota
	KindMap
	KindText
	KindXmlElement
	KindXmlFragment
	KindXmlHook
	KindXmlText
	KindUndefined
)

// String returns the name that Yjs gives to the kind.
func (k TypeKind) String() string {
	names := [...]string{"Array", "Map", "Text", "XmlElement", "XmlFragment", "XmlHook", "XmlText", "undefined"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

func (k TypeKind) isText() bool { return k == KindText || k == KindXmlText }

// node is a shared type: a list of items and a map of entries, either of which may be empty.
type node struct {
	item          ref // The item that holds it, 0 for a root.
	start, last   ref // The ends of the list.
	length        uint32
	firstEntry    entryRef
	lastEntry     entryRef
	entryCount    uint32
	name          keyRef // A root's name, or that of an XML element or hook.
	kind          TypeKind
	hasFormatting bool
	collected     bool // Set of collectedNode.
	// indexed is set while Doc.indexes has a position index of the list.
	indexed bool
}

// entry is a key of a node's map: its newest item, from which the older ones follow to the left down to the first.
type entry struct {
	node  nodeRef
	key   keyRef
	item  ref
	first ref
	next  entryRef
}

// keyRef names an interned string.
type keyRef uint32

// keyTable interns the names of root types, map keys, node names and formatting attributes.
type keyTable struct {
	names []string
	index map[string]keyRef
	bytes int
}

func (t *keyTable) name(k keyRef) string { return t.names[k] }

func (t *keyTable) intern(name []byte) keyRef {
	if k, ok := t.index[string(name)]; ok {
		return k
	}
	return t.add(string(name))
}

func (t *keyTable) internString(name string) keyRef {
	if k, ok := t.index[name]; ok {
		return k
	}
	return t.add(name)
}

func (t *keyTable) add(name string) keyRef {
	if t.index == nil {
		t.index = make(map[string]keyRef)
	}
	k := keyRef(len(t.names))
	t.names = append(t.names, name)
	t.index[name] = k
	t.bytes += len(name)
	return k
}

// manyEntries is the number of map entries beyond which a node's keys are looked up by hash.
const manyEntries = 8

type entryKey struct {
	node nodeRef
	key  keyRef
}

// findEntry returns the entry of key in n's map, or 0.
func (d *Doc) findEntry(n nodeRef, key keyRef) entryRef {
	nd := d.node(n)
	if nd.entryCount > manyEntries {
		return d.entryIndex[entryKey{n, key}]
	}
	for e := nd.firstEntry; e != 0; e = d.entry(e).next {
		if d.entry(e).key == key {
			return e
		}
	}
	return 0
}

// makeEntry returns the entry of key in n's map, which it adds if need be.
func (d *Doc) makeEntry(n nodeRef, key keyRef) entryRef {
	if e := d.findEntry(n, key); e != 0 {
		return e
	}
	e := entryRef(d.entries.alloc())
	*d.entry(e) = entry{node: n, key: key}
	nd := d.node(n)
	if nd.lastEntry == 0 {
		nd.firstEntry = e
	} else {
		d.entry(nd.lastEntry).next = e
	}
	nd.lastEntry = e
	nd.entryCount++
	switch {
	case nd.entryCount == manyEntries+1:
		if d.entryIndex == nil {
			d.entryIndex = make(map[entryKey]entryRef)
		}
		for e := nd.firstEntry; e != 0; e = d.entry(e).next {
			d.entryIndex[entryKey{n, d.entry(e).key}] = e
		}
	case nd.entryCount > manyEntries:
		d.entryIndex[entryKey{n, key}] = e
	}
	return e
}

// dropEntries empties n's map.
func (d *Doc) dropEntries(n nodeRef) {
	nd := d.node(n)
	indexed := nd.entryCount > manyEntries
	for e := nd.firstEntry; e != 0; {
		next := d.entry(e).next
		if indexed {
			delete(d.entryIndex, entryKey{n, d.entry(e).key})
		}
		d.entries.release(uint32(e))
		e = next
	}
	nd.firstEntry, nd.lastEntry, nd.entryCount = 0, 0, 0
}
