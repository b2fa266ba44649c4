package difftest_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// The functions below tell what a document holds in the words of peer.mjs.

func plain(v any) any {
	switch v := v.(type) {
	case *crdt.Subdoc:
		return []any{"doc", v.GUID(), v.Meta(), v.AutoLoad()}
	case crdt.Shared:
		return describe(v)
	}
	return v
}

func plainAll(values []any) []any {
	out := []any{}
	for _, v := range values {
		out = append(out, plain(v))
	}
	return out
}

func delta(ops []crdt.Op) []any {
	out := []any{}
	for _, op := range ops {
		o := op.Object()
		switch v := op.Insert.(type) {
		case nil:
		case []any:
			o[0].Value = plainAll(v)
		default:
			o[0].Value = plain(v)
		}
		out = append(out, o)
	}
	return out
}

func entries(members []lib0.Member) []any {
	out := []any{}
	for _, m := range members {
		out = append(out, []any{m.Key, plain(m.Value)})
	}
	return out
}

func describe(s crdt.Shared) any {
	switch s := s.(type) {
	case *crdt.XmlText:
		return []any{"XmlText", delta(s.Delta()), entries(s.Attributes()), s.String(), s.Len()}
	case *crdt.Text:
		return []any{"Text", delta(s.Delta()), entries(s.Attributes()), s.String(), s.Len()}
	case *crdt.Array:
		return []any{"Array", plainAll(s.Values()), s.Len()}
	case *crdt.XmlHook:
		return []any{"XmlHook", s.Name(), entries(s.Members())}
	case *crdt.Map:
		return []any{"Map", entries(s.Members()), s.Len()}
	case *crdt.XmlElement:
		return []any{
			"XmlElement", s.Name(), entries(s.Attributes()), plainAll(s.Children()), s.String(),
			kindOf(s.FirstChild()), siblings(s),
		}
	case *crdt.XmlFragment:
		return []any{"XmlFragment", plainAll(s.Children()), s.String(), s.Len(), kindOf(s.FirstChild())}
	}
	return []any{"undefined"}
}

// siblings tells what is next to an element. In a text, which is no tree, Yjs takes formats for siblings, and it tells
// where a deleted element was.
func siblings(x *crdt.XmlElement) []any {
	if x.Deleted() {
		return []any{}
	}
	switch x.Parent().(type) {
	case *crdt.XmlElement, *crdt.XmlFragment:
		return []any{kindOf(x.PrevSibling()), kindOf(x.NextSibling())}
	}
	return []any{}
}

// kindOf tells which kind of type a relative in a tree is.
func kindOf(v any) any {
	if s, ok := v.(crdt.Shared); ok {
		return s.Kind().String()
	}
	return nil
}

func roots(d *crdt.Doc) []crdt.Shared {
	return []crdt.Shared{
		d.Text("text"), d.Array("array"), d.Map("map"), d.XmlFragment("xml"), d.XmlElement("element"), d.XmlText("xmltext"),
	}
}

func content(d *crdt.Doc) any {
	out := []any{}
	for _, s := range roots(d) {
		out = append(out, describe(s))
	}
	return out
}

// show writes a value so that different values look different.
func show(v any) string {
	var b strings.Builder
	showTo(&b, v)
	return b.String()
}

func showTo(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case lib0.Undefined:
		b.WriteString("undefined")
	case string:
		b.WriteString(strconv.Quote(v))
	case []byte:
		b.WriteString("0x" + hex.EncodeToString(v))
	case []any:
		b.WriteString("[")
		for i, e := range v {
			if i > 0 {
				b.WriteString(" ")
			}
			showTo(b, e)
		}
		b.WriteString("]")
	case lib0.Object:
		b.WriteString("{")
		for i, m := range v {
			if i > 0 {
				b.WriteString(" ")
			}
			b.WriteString(strconv.Quote(m.Key) + ":")
			showTo(b, m.Value)
		}
		b.WriteString("}")
	case float64:
		if v == 0 && math.Signbit(v) {
			b.WriteString("-0")
			return
		}
		b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	case bool:
		b.WriteString(strconv.FormatBool(v))
	default:
		if n, ok := lib0.Normalize(v); ok {
			if _, big := n.(lib0.BigInt); !big {
				showTo(b, n)
				return
			}
		}
		fmt.Fprintf(b, "%T(%v)", v, v)
	}
}

// unordered brings the entries of maps into one order: peers learn of keys in different orders. What starts like a list
// of entries is one.
func unordered(v any) any {
	if o, ok := v.(lib0.Object); ok {
		out := slices.Clone(o)
		for i := range out {
			out[i].Value = unordered(out[i].Value)
		}
		return out
	}
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make([]any, len(list))
	sortable := len(list) > 0
	for i, e := range list {
		out[i] = unordered(e)
		pair, ok := e.([]any)
		sortable = sortable && ok && len(pair) == 2
		if sortable {
			_, sortable = pair[0].(string)
		}
	}
	if sortable {
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(show(a), show(b)) })
	}
	return out
}
