package crdt

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"collab.dev/operator/editor/crdt/lib0"
)

// XmlFragment is a shared list of XML elements and texts.
type XmlFragment struct{ handle }

// NewXmlFragment returns a detached fragment.
func NewXmlFragment(children ...any) *XmlFragment {
	return &XmlFragment{handle{kind: KindXmlFragment, list: append([]any(nil), children...)}}
}

// Len returns the number of children.
func (x *XmlFragment) Len() int { return x.listLen() }

// Insert adds children before a position.
func (x *XmlFragment) Insert(index int, children ...any) error { return x.listInsert(index, children) }

// Push adds children at the end.
func (x *XmlFragment) Push(children ...any) error { return x.listInsert(x.listLen(), children) }

// Delete removes length children from a position on.
func (x *XmlFragment) Delete(index, length int) error { return x.listDelete(index, length) }

// Get returns the child at a position, or nil beyond the end.
func (x *XmlFragment) Get(index int) any { return x.listGet(index) }

// Children returns all children.
func (x *XmlFragment) Children() []any { return x.listSlice(0, x.listLen()) }

// String returns the children as XML. Nothing is escaped, as in Yjs.
func (x *XmlFragment) String() string { return xmlOf(x, 0) }

// JSON implements Shared: it is the XML.
func (x *XmlFragment) JSON() any { return x.String() }

func (x *XmlFragment) json(depth int) any { return xmlOf(x, depth) }

func (x *XmlFragment) write(w *xmlWriter) {
	for _, c := range x.Children() {
		w.value(c)
	}
}

// xmlWriter shows types as XML.
type xmlWriter struct {
	strings.Builder
	depth int
}

// xmlOf returns a type, nested that deeply, as XML.
func xmlOf(s interface{ write(w *xmlWriter) }, depth int) string {
	w := &xmlWriter{depth: depth}
	s.write(w)
	return w.String()
}

// value shows what a type contains.
func (w *xmlWriter) value(v any) {
	if w.depth++; w.depth <= MaxNesting {
		switch v := v.(type) {
		case interface{ write(w *xmlWriter) }:
			v.write(w)
		case *Text:
			w.WriteString(v.String())
		case Shared:
			w.WriteString("[object Object]")
		default:
			w.WriteString(jsString(v))
		}
	}
	w.depth--
}

// attribute shows an attribute behind a name.
func (w *xmlWriter) attribute(a lib0.Member) {
	w.WriteString(" " + a.Key + `="`)
	w.value(a.Value)
	w.WriteString(`"`)
}

// jsString turns a value into a string as JavaScript does.
func jsString(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return "null"
	case lib0.Undefined:
		return "undefined"
	case lib0.Object, *Subdoc:
		return "[object Object]"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			if _, undefined := e.(lib0.Undefined); e != nil && !undefined {
				parts[i] = jsString(e)
			}
		}
		return strings.Join(parts, ",")
	case []byte: // A Uint8Array.
		parts := make([]string, len(v))
		for i, b := range v {
			parts[i] = strconv.Itoa(int(b))
		}
		return strings.Join(parts, ",")
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
	}
	return string(lib0.AppendJSON(nil, v))
}

// XmlElement is a shared XML element: a fragment with a name and attributes.
type XmlElement struct{ XmlFragment }

// NewXmlElement returns a detached element.
func NewXmlElement(name string, children ...any) *XmlElement {
	return &XmlElement{XmlFragment{handle{
		kind: KindXmlElement, name: name, list: append([]any(nil), children...),
	}}}
}

// Name returns the node name.
func (x *XmlElement) Name() string {
	if x.doc != nil && x.doc.node(x.node).item == 0 {
		return "UNDEFINED"
	}
	return x.name
}

// SetAttribute sets an attribute.
func (x *XmlElement) SetAttribute(key string, value any) error { return x.entrySet(key, value) }

// RemoveAttribute removes an attribute.
func (x *XmlElement) RemoveAttribute(key string) error { return x.entryDelete(key) }

// Attribute returns an attribute.
func (x *XmlElement) Attribute(key string) (any, bool) { return x.entryGet(key) }

// Attributes returns all attributes.
func (x *XmlElement) Attributes() lib0.Object { return lib0.NewObject(x.entryMembers()) }

// String returns the element as XML with its attributes in the order of their names. Nothing is escaped, as in Yjs.
func (x *XmlElement) String() string { return xmlOf(x, 0) }

// JSON implements Shared: it is the XML.
func (x *XmlElement) JSON() any { return x.String() }

func (x *XmlElement) json(depth int) any { return xmlOf(x, depth) }

func (x *XmlElement) write(w *xmlWriter) {
	name := strings.ToLower(x.Name())
	attributes := x.Attributes()
	slices.SortFunc(attributes, func(a, b lib0.Member) int { return cmp.Compare(a.Key, b.Key) })
	w.WriteString("<" + name)
	for _, a := range attributes {
		w.attribute(a)
	}
	w.WriteString(">")
	x.XmlFragment.write(w)
	w.WriteString("</" + name + ">")
}

// XmlText is a shared text within XML, whose formatting shows as elements.
type XmlText struct{ Text }

// NewXmlText returns a detached XML text.
func NewXmlText(s string) *XmlText {
	t := &XmlText{Text{handle{kind: KindXmlText}}}
	t.initial(s)
	return t
}

// String returns the text as XML: each attribute of the formatting is an element. Nothing is escaped, as in Yjs.
func (t *XmlText) String() string { return xmlOf(t, 0) }

func (t *XmlText) write(w *xmlWriter) {
	for _, op := range t.Delta() {
		nodes := slices.Clone(op.Attributes)
		slices.SortStableFunc(nodes, func(a, b lib0.Member) int { return cmp.Compare(a.Key, b.Key) })
		for _, n := range nodes {
			w.WriteString("<" + n.Key)
			attributes := slices.Clone(membersOrCharacters(n.Value))
			slices.SortStableFunc(attributes, func(a, b lib0.Member) int { return cmp.Compare(a.Key, b.Key) })
			for _, a := range attributes {
				w.attribute(a)
			}
			w.WriteString(">")
		}
		w.value(op.Insert)
		for _, n := range slices.Backward(nodes) {
			w.WriteString("</" + n.Key + ">")
		}
	}
}

// membersOrCharacters returns what a for-in loop of JavaScript would go through.
func membersOrCharacters(v any) lib0.Object {
	s, ok := v.(string)
	if !ok {
		return membersOf(v)
	}
	characters := utf16.Encode([]rune(s))
	out := make(lib0.Object, len(characters))
	for i := range characters {
		out[i] = lib0.Member{
			Key:   string(lib0.AppendNumber(nil, float64(i))),
			Value: string(utf16.Decode(characters[i : i+1])),
		}
	}
	return out
}

// JSON implements Shared: it is the XML.
func (t *XmlText) JSON() any { return t.String() }

func (t *XmlText) json(depth int) any { return xmlOf(t, depth) }

// XmlHook is a map that an application shows within XML in its own way.
type XmlHook struct{ Map }

// NewXmlHook returns a detached hook.
func NewXmlHook(name string, members ...lib0.Member) *XmlHook {
	return &XmlHook{Map{handle{kind: KindXmlHook, name: name, members: append([]lib0.Member(nil), members...)}}}
}

// Name returns the name of the hook.
func (x *XmlHook) Name() string { return x.name }
