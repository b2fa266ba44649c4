package crdt

// Root returns the root type of that name. One that the program has not defined is defined as what its content suggests,
// which no update says: formatted or plain text as a Text, XML elements and texts as an XmlFragment, other lists as an
// Array, and keys alone as a Map. An empty root that is not defined is not returned.
func (d *Doc) Root(name string) (root Shared, ok bool) {
	for _, n := range d.rootOrder {
		nd := d.node(n)
		if d.keys.name(nd.name) != name {
			continue
		}
		kind := nd.kind
		if kind == KindUndefined {
			kind = d.suggested(n)
		}
		if kind == KindUndefined {
			return nil, false
		}
		return d.root(name, kind), true
	}
	return nil, false
}

// suggested is the kind that a node's content suggests.
func (d *Doc) suggested(n nodeRef) TypeKind {
	nd := d.node(n)
	list := false
	for at := nd.start; at != 0; {
		it := d.item(at)
		at = it.right
		switch it.kind {
		case kindGC, kindDeleted:
			continue
		case kindString, kindEmbed, kindFormat:
			return KindText
		case kindType:
			switch d.node(nodeRef(it.content)).kind {
			case KindXmlElement, KindXmlText, KindXmlHook:
				return KindXmlFragment
			default:
			}
		default:
		}
		list = true
	}
	switch {
	case list:
		return KindArray
	case nd.entryCount > 0:
		return KindMap
	default:
		return KindUndefined
	}
}

// Edit runs edit as one transaction and returns the update that tells of it, empty if nothing was changed. What was done
// before edit failed is done.
func (d *Doc) Edit(origin any, edit func() error) (update []byte, err error) {
	stop := d.OnUpdate(func(u []byte, _ any) { update = u })
	defer stop()
	d.Transact(origin, func(*Transaction) { err = edit() })
	return update, err
}
