package difftest_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
	"pgregory.net/rapid"
)

// edit is what peer.mjs and perform do: a path to a type, a name, and arguments.
type edit = []any

func object(members ...any) lib0.Object {
	var o lib0.Object
	for i := 0; i < len(members); i += 2 {
		key, _ := members[i].(string)
		o = append(o, lib0.Member{Key: key, Value: members[i+1]})
	}
	return lib0.NewObject(o)
}

func field[T any](o lib0.Object, key string) T {
	v, _ := o.Get(key)
	t, _ := v.(T)
	return t
}

// build makes the type that an object with the key $ describes.
func build(v any) any {
	o, ok := v.(lib0.Object)
	if !ok {
		return v
	}
	kind, ok := o.Get("$")
	if !ok {
		return v
	}
	var items []any
	for _, e := range field[[]any](o, "items") {
		items = append(items, build(e))
	}
	var members []lib0.Member
	for _, e := range field[[]any](o, "members") {
		pair, _ := e.([]any)
		key, _ := pair[0].(string)
		members = append(members, lib0.Member{Key: key, Value: build(pair[1])})
	}
	name := field[string](o, "name")
	switch kind {
	case "Number":
		f, _ := strconv.ParseFloat(field[string](o, "text"), 64)
		return f
	case "BigInt":
		i, _ := strconv.ParseInt(field[string](o, "text"), 10, 64)
		return lib0.BigInt(i)
	case "Doc":
		meta, _ := o.Get("meta")
		return crdt.NewSubdoc(field[string](o, "guid"), meta, field[bool](o, "autoLoad"), !field[bool](o, "gc"))
	case "Text":
		t := crdt.NewText(field[string](o, "text"))
		insertMore(t, o)
		return t
	case "XmlText":
		t := crdt.NewXmlText(field[string](o, "text"))
		insertMore(&t.Text, o)
		return t
	case "Array":
		return crdt.NewArray(items...)
	case "Map":
		return crdt.NewMap(members...)
	case "XmlHook":
		return crdt.NewXmlHook(name, members...)
	case "XmlElement":
		x := crdt.NewXmlElement(name, items...)
		for _, m := range members {
			_ = x.SetAttribute(m.Key, m.Value)
		}
		return x
	default:
		return crdt.NewXmlFragment(items...)
	}
}

func insertMore(t *crdt.Text, o lib0.Object) {
	for _, e := range field[[]any](o, "more") {
		step, _ := e.([]any)
		at, _ := step[0].(int)
		s, _ := step[1].(string)
		attributes, _ := step[2].(lib0.Object)
		_ = t.InsertFormatted(at, s, attributes)
	}
}

func buildAll(v any) []any {
	list, _ := v.([]any)
	out := make([]any, len(list))
	for i := range list {
		out[i] = build(list[i])
	}
	return out
}

// find follows a path.
func find(d *crdt.Doc, path []any) crdt.Shared {
	var s crdt.Shared
	for _, root := range roots(d) {
		if rootName(root) == path[0] {
			s = root
		}
	}
	for _, step := range path[1:] {
		s = children(s)[show(step)]
	}
	return s
}

func rootName(s crdt.Shared) string {
	return map[crdt.TypeKind]string{
		crdt.KindText: "text", crdt.KindArray: "array", crdt.KindMap: "map", crdt.KindXmlFragment: "xml",
		crdt.KindXmlElement: "element", crdt.KindXmlText: "xmltext",
	}[s.Kind()]
}

// children returns the types directly within a type by the steps that lead to them.
func children(s crdt.Shared) map[string]crdt.Shared {
	out := map[string]crdt.Shared{}
	add := func(step, v any) {
		if c, ok := v.(crdt.Shared); ok {
			out[show(step)] = c
		}
	}
	list := func(values []any) {
		for i, v := range values {
			add(i, v)
		}
	}
	texts := func(ops []crdt.Op) {
		n := 0
		for _, op := range ops {
			if c, ok := op.Insert.(crdt.Shared); ok {
				add(n, c)
				n++
			}
		}
	}
	switch s := s.(type) {
	case *crdt.Text:
		texts(s.Delta())
	case *crdt.XmlText:
		texts(s.Delta())
	case *crdt.Array:
		list(s.Values())
	case *crdt.XmlFragment:
		list(s.Children())
	case *crdt.XmlElement:
		list(s.Children())
	case *crdt.Map:
		for _, m := range s.Members() {
			add(m.Key, m.Value)
		}
	case *crdt.XmlHook:
		for _, m := range s.Members() {
			add(m.Key, m.Value)
		}
	}
	return out
}

// steps returns the steps to the types directly within a type, in a fixed order.
func steps(s crdt.Shared) []any {
	var out []any
	list := func(values []any) {
		for i, v := range values {
			if _, ok := v.(crdt.Shared); ok {
				out = append(out, i)
			}
		}
	}
	keys := func(members []lib0.Member) {
		for _, m := range members {
			if _, ok := m.Value.(crdt.Shared); ok {
				out = append(out, m.Key)
			}
		}
	}
	switch s := s.(type) {
	case *crdt.Array:
		list(s.Values())
	case *crdt.XmlFragment:
		list(s.Children())
	case *crdt.XmlElement:
		list(s.Children())
	case *crdt.Map:
		keys(s.Members())
	case *crdt.XmlHook:
		keys(s.Members())
	default:
		for i := range len(children(s)) {
			out = append(out, i)
		}
	}
	return out
}

// The methods that the types share.
type (
	texts interface {
		Len() int
		Insert(at int, s string) error
		InsertFormatted(at int, s string, attributes lib0.Object) error
		InsertEmbed(at int, embed any, attributes lib0.Object) error
		Format(at, n int, attributes lib0.Object) error
		ApplyDelta(ops []crdt.Op) error
		Delete(at, n int) error
	}
	lists interface {
		Len() int
		Insert(at int, values ...any) error
		Push(values ...any) error
		Delete(at, n int) error
	}
	trees interface {
		Len() int
		Get(at int) any
		InsertAfter(child crdt.Shared, children ...any) error
	}
	maps interface {
		Set(key string, v any) error
		Delete(key string) error
		Clear() error
		Len() int
	}
	attributed interface {
		SetAttribute(key string, v any) error
		RemoveAttribute(key string) error
	}
)

// perform makes an edit.
func perform(d *crdt.Doc, e edit) error {
	path, _ := e[0].([]any)
	s := find(d, path)
	if s == nil {
		return fmt.Errorf("nothing at %s", show(path))
	}
	args := e[2:]
	number := func(i int) int { n, _ := args[i].(int); return n }
	text := func(i int) string { t, _ := args[i].(string); return t }
	attributes := func(i int) lib0.Object { o, _ := args[i].(lib0.Object); return o }
	switch e[1] {
	case "insert":
		return s.(texts).Insert(number(0), text(1))
	case "insertf":
		return s.(texts).InsertFormatted(number(0), text(1), attributes(2))
	case "embed":
		return s.(texts).InsertEmbed(number(0), build(args[1]), attributes(2))
	case "format":
		return s.(texts).Format(number(0), number(1), attributes(2))
	case "delta":
		var ops []crdt.Op
		list, _ := args[0].([]any)
		for _, step := range list {
			o, _ := step.(lib0.Object)
			insert, _ := o.Get("insert")
			ops = append(ops, crdt.Op{
				Insert: insert, Delete: field[int](o, "delete"), Retain: field[int](o, "retain"),
				Attributes: field[lib0.Object](o, "attributes"),
			})
		}
		return s.(texts).ApplyDelta(ops)
	case "delete":
		return s.(interface{ Delete(at, n int) error }).Delete(number(0), number(1))
	case "values":
		return s.(lists).Insert(number(0), buildAll(args[1])...)
	case "after":
		x := s.(trees)
		child, _ := x.Get(number(0)).(crdt.Shared)
		return x.InsertAfter(child, buildAll(args[1])...)
	case "push":
		return s.(lists).Push(buildAll(args[0])...)
	case "set":
		return s.(maps).Set(text(0), build(args[1]))
	case "unset":
		return s.(maps).Delete(text(0))
	case "clear":
		return s.(maps).Clear()
	case "attribute":
		return s.(attributed).SetAttribute(text(0), build(args[1]))
	case "unattribute":
		return s.(attributed).RemoveAttribute(text(0))
	}
	return fmt.Errorf("unknown edit %s", show(e))
}

var (
	words = rapid.SampledFrom([]string{
		"a", "bc", "hello", " ", "wörld", "☃", "x☃y", "\n", "漢字", "lorem ipsum dolor", "é", "\x00", `"q\`, "ab☃☃",
		"😀", "x👾y", "👩‍🚀👾", "é🏳️‍🌈",
	})
	// numbers are made from texts on both sides: an encoding that loses the negative zero would lose it on the way, too.
	numbers = []any{
		number("1"), number("-1"), number("0"), number("63"), number("64"), number("1.5"), number("0.1"), number("1e21"),
		number("1e-7"), number("123456789012"), number("2147483647"), number("2147483648"), number("-2147483648"),
		number("9007199254740991"), number("9007199254740993"), number("-9007199254740993"), number("5e-324"),
		number("1.7976931348623157e308"), number("3.4028234663852886e38"), number("1208925819614629174706176"),
		number("-0"), number("NaN"), number("Infinity"), number("-Infinity"), bigInt("0"), bigInt("-1"),
		bigInt("9223372036854775807"), bigInt("-9223372036854775808"),
	}
	scalars = rapid.SampledFrom(append([]any{
		"str", "ü😀", "", true, false, nil, object("a", 1, "b", []any{1, object("c", 2)}, "2", "two", "1", "one"), []any{},
		[]any{1, "x", nil}, object(), []byte{}, []byte{1, 2, 255}, object("u", lib0.Undefined{}),
		object("nan", math.NaN(), "zero", math.Copysign(0, -1), "big", lib0.BigInt(1)),
	}, numbers...))
	// Yjs compares objects by identity, so that each must be a new one; peer.mjs decodes them anew for each edit.
	formats = rapid.SampledFrom([]lib0.Object{
		object("bold", true), object("bold", nil), object("italic", true), object("italic", nil), object("color", "red"),
		object("color", "blue"), object("color", nil), object("link", object("href", "x", "n", 1)), object("link", nil),
		object("bold", true, "italic", true), object("size", 1.5, "bold", nil), object(), object("size", 1e21),
		object("size", 5e-324, "link", object("href", "😀")),
	})
	keys  = rapid.SampledFrom([]string{"a", "b", "c", "1", "zz", "", "😀"})
	names = rapid.SampledFrom([]string{"P", "div", "br"})
)

func number(text string) any { return object("$", "Number", "text", text) }

func bigInt(text string) any { return object("$", "BigInt", "text", text) }

func drawText(t *rapid.T, kind string) any {
	o := object("$", kind, "text", words.Draw(t, "text"), "more", []any{})
	if rapid.Bool().Draw(t, "formatted") {
		o[2].Value = []any{[]any{0, words.Draw(t, "text"), formats.Draw(t, "format")}}
	}
	return o
}

// drawValue returns something for a list or a map: a plain value, a type or a document.
func drawValue(t *rapid.T, depth int) any {
	choice := rapid.IntRange(0, 11).Draw(t, "value")
	if depth > 1 && choice > 5 {
		choice = 0
	}
	switch choice {
	case 6, 7:
		return drawText(t, "Text")
	case 8:
		return object("$", "Array", "items", drawValues(t, depth+1))
	case 9, 10:
		return object("$", "Map", "members", []any{[]any{keys.Draw(t, "key"), drawValue(t, depth+1)}})
	case 11:
		return object("$", "Doc", "guid", "guid-"+keys.Draw(t, "guid"), "meta",
			rapid.SampledFrom([]any{nil, object("m", 1)}).Draw(t, "meta"),
			"autoLoad", rapid.Bool().Draw(t, "load"), "gc", rapid.Bool().Draw(t, "gc"))
	}
	return scalars.Draw(t, "scalar")
}

func drawValues(t *rapid.T, depth int) []any {
	out := []any{}
	if depth == 0 && rapid.IntRange(0, 7).Draw(t, "many") == 0 { // So many that the engine keeps marks in them.
		for i := range rapid.IntRange(60, 300).Draw(t, "values") {
			out = append(out, i)
		}
		return out
	}
	for range rapid.IntRange(1, 4).Draw(t, "values") {
		v := drawValue(t, depth)
		if o, _ := v.(lib0.Object); field[string](o, "$") == "BigInt" { // Yjs refuses it in lists.
			v = nil
		}
		out = append(out, v)
	}
	return out
}

func drawXML(t *rapid.T, depth int) any {
	switch choice := rapid.IntRange(0, 4).Draw(t, "xml"); {
	case choice == 0:
		return object("$", "XmlHook", "name", names.Draw(t, "name"), "members",
			[]any{[]any{keys.Draw(t, "key"), scalars.Draw(t, "scalar")}})
	case choice == 1 && depth < 2:
		return object("$", "XmlFragment", "items", []any{drawXML(t, depth+1)})
	case choice < 4:
		o := object("$", "XmlElement", "name", names.Draw(t, "name"), "items", []any{},
			"members", []any{[]any{"class", words.Draw(t, "class")}})
		if depth < 2 && rapid.Bool().Draw(t, "children") {
			o[2].Value = []any{drawXML(t, depth+1), drawXML(t, depth+1)}
		}
		return o
	}
	return drawText(t, "XmlText")
}

// drawEdit returns an edit that the document allows, and that cuts surrogate pairs in two only if that is wanted.
func drawEdit(t *rapid.T, d *crdt.Doc) edit {
	s := drawRoot(t, append(roots(d), d.Text("text"), d.Text("text")))
	path := []any{rootName(s)}
	for range 4 {
		within := steps(s)
		if len(within) == 0 || rapid.IntRange(0, 2).Draw(t, "descend") == 0 {
			break
		}
		step := rapid.SampledFrom(within).Draw(t, "step")
		s = children(s)[show(step)]
		path = append(path, step)
	}
	var e edit
	switch s := s.(type) {
	case *crdt.Text:
		e = drawTextEdit(t, s)
	case *crdt.XmlText:
		e = drawTextEdit(t, &s.Text)
	case *crdt.Array:
		e = drawListEdit(t, s.Len(), func() []any { return drawValues(t, 0) })
	case *crdt.XmlFragment:
		e = drawTreeEdit(t, s)
	case *crdt.XmlElement:
		switch rapid.IntRange(0, 3).Draw(t, "edit") {
		case 0:
			e = edit{"attribute", keys.Draw(t, "key"), scalars.Draw(t, "value")}
		case 1:
			e = edit{"unattribute", keys.Draw(t, "key")}
		default:
			e = drawTreeEdit(t, &s.XmlFragment)
		}
	default:
		switch rapid.IntRange(0, 6).Draw(t, "edit") {
		case 0:
			e = edit{"unset", keys.Draw(t, "key")}
		case 1:
			if rapid.IntRange(0, 3).Draw(t, "clear") == 0 {
				e = edit{"clear"}
				break
			}
			fallthrough
		default:
			e = edit{"set", keys.Draw(t, "key"), drawValue(t, 0)}
			if rapid.IntRange(0, 11).Draw(t, "undefined") == 0 { // Yjs refuses it in lists.
				e[2] = lib0.Undefined{}
			}
		}
	}
	return append(edit{path}, e...)
}

func drawTreeEdit(t *rapid.T, x *crdt.XmlFragment) edit {
	if rapid.IntRange(0, 4).Draw(t, "after") == 0 {
		return edit{"after", rapid.IntRange(-1, x.Len()-1).Draw(t, "child"), []any{drawXML(t, 0)}}
	}
	return drawListEdit(t, x.Len(), func() []any { return []any{drawXML(t, 0)} })
}

func drawListEdit(t *rapid.T, length int, values func() []any) edit {
	switch choice := rapid.IntRange(0, 4).Draw(t, "edit"); {
	case choice < 2 && length > 0:
		at := rapid.IntRange(0, length-1).Draw(t, "at")
		most := 3
		if choice == 1 && length > 100 {
			most = length
		}
		return edit{"delete", at, rapid.IntRange(1, min(most, length-at)).Draw(t, "length")}
	case choice == 2:
		return edit{"push", values()}
	}
	return edit{"values", rapid.IntRange(0, length).Draw(t, "at"), values()}
}

// places are the positions of a text, of which those within surrogate pairs are left out: Yjs replaces the halves and tells
// nobody, so that its own documents differ.
type places []uint16

func placesOf(x *crdt.Text) places {
	out := make(places, 0, x.Len())
	for _, op := range x.Delta() {
		s, ok := op.Insert.(string)
		if !ok {
			s = " "
		}
		out = append(out, utf16.Encode([]rune(s))...)
	}
	return out
}

// next returns the position, or the one behind it if that one is within a pair.
func (p places) next(at int) int {
	if at > 0 && at < len(p) && utf16.IsSurrogate(rune(p[at-1])) && p[at-1] < 0xdc00 {
		return at + 1
	}
	return at
}

// span returns how many positions there are from one to another that is so far away, or a little farther.
func (p places) span(at, length int) int { return p.next(at+length) - at }

func drawTextEdit(t *rapid.T, x *crdt.Text) edit {
	length := x.Len()
	if length == 0 { // Yjs fails to delete from an empty text.
		return edit{"insert", 0, words.Draw(t, "text")}
	}
	p := placesOf(x)
	at := p.next(rapid.IntRange(0, length).Draw(t, "at"))
	switch rapid.IntRange(0, 11).Draw(t, "edit") {
	case 0, 1:
		most := 6
		if length > 1000 {
			most = length
		}
		return edit{"delete", at, p.span(at, rapid.IntRange(1, most).Draw(t, "length"))}
	case 2, 3:
		return edit{"format", at, p.span(at, rapid.IntRange(1, 8).Draw(t, "length")), formats.Draw(t, "format")}
	case 4, 5:
		return edit{"insertf", at, words.Draw(t, "text"), formats.Draw(t, "format")}
	case 6:
		embed := rapid.SampledFrom([]any{
			object("image", "x"), object("n", 1, "list", []any{1, 2}), object("$", "Map", "members", []any{}),
			object("$", "Text", "text", "in", "more", []any{}),
			object("$", "XmlElement", "name", "b", "items", []any{}, "members", []any{}),
		}).Draw(t, "embed")
		return edit{"embed", at, embed, formats.Draw(t, "format")}
	case 7:
		ops := []any{object("retain", at), object("insert", words.Draw(t, "text"), "attributes", formats.Draw(t, "format"))}
		if at == 0 {
			ops = ops[1:]
		}
		retain := p.span(at, rapid.IntRange(1, 3).Draw(t, "retain"))
		ops = append(ops, object("retain", retain, "attributes", formats.Draw(t, "format")),
			object("delete", p.span(at+retain, rapid.IntRange(1, 3).Draw(t, "delete"))))
		return edit{"delta", ops}
	case 8:
		if rapid.Bool().Draw(t, "set") {
			return edit{"attribute", keys.Draw(t, "key"), rapid.SampledFrom([]any{"ltr", 1}).Draw(t, "value")}
		}
		return edit{"unattribute", keys.Draw(t, "key")}
	}
	s := words.Draw(t, "text")
	if rapid.IntRange(0, 19).Draw(t, "long") == 19 { // So long that deleting it leaves garbage to be compacted.
		s = strings.Repeat(s, 4500/len(s)+1)
	}
	return edit{"insert", at, s}
}

func drawRoot(t *rapid.T, all []crdt.Shared) crdt.Shared {
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "root")]
}
