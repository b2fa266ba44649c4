// Package revert makes a document say again what it said before, as new edits: nothing is destroyed, what was written
// since stays in the history, and what others write meanwhile merges. What has not changed is left alone, so that
// cursors, comments and concurrent edits there keep their place.
//
// It knows nothing of where documents come from.
package revert

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
	"collab.dev/operator/editor/rest/textdiff"
)

// ErrKind says that a root type is of another kind than it was, which is never undone.
var ErrKind = errors.New("a shared type is of another kind than it was")

// ErrDepth says that shared types are nested too deeply to be compared.
var ErrDepth = fmt.Errorf("shared types are nested more than %d deep", maxDepth)

const maxDepth = 200

// Update returns the update that gives all root types of current the content that they have in old; it is empty if they
// have it. Subdocuments are told apart by their GUIDs. current has the update afterwards; if it fails, with ErrKind or
// ErrDepth, current is of no more use.
func Update(current, old *crdt.Doc) ([]byte, error) {
	return current.Edit("revert", func() error {
		var names []string
		for _, root := range slices.Concat(old.Roots(), current.Roots()) {
			if !slices.Contains(names, root.Name) {
				names = append(names, root.Name)
			}
		}
		for _, name := range names {
			to, is := current.Root(name)
			from, was := old.Root(name)
			switch {
			case !is && !was:
				continue
			case !is:
				to = define(current, name, from.Kind())
			case !was:
				from = define(old, name, to.Kind())
			}
			if err := merge(to, from, 0); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
		}
		return nil
	})
}

// define returns an empty root type.
func define(doc *crdt.Doc, name string, kind crdt.TypeKind) crdt.Shared {
	switch kind {
	case crdt.KindText:
		return doc.Text(name)
	case crdt.KindMap:
		return doc.Map(name)
	case crdt.KindXmlFragment:
		return doc.XmlFragment(name)
	case crdt.KindXmlElement:
		return doc.XmlElement(name)
	case crdt.KindXmlText:
		return doc.XmlText(name)
	default:
		return doc.Array(name)
	}
}

// merge gives to the content of from.
func merge(to, from crdt.Shared, depth int) error {
	if depth > maxDepth {
		return ErrDepth
	}
	switch to := to.(type) {
	case *crdt.Text:
		if from, ok := from.(*crdt.Text); ok {
			return mergeText(to, from, depth)
		}
	case *crdt.XmlText:
		if from, ok := from.(*crdt.XmlText); ok {
			return mergeText(&to.Text, &from.Text, depth)
		}
	case *crdt.Map:
		if from, ok := from.(*crdt.Map); ok {
			return mergeEntries(entriesOf(to), entriesOf(from), depth)
		}
	case *crdt.XmlHook:
		if from, ok := from.(*crdt.XmlHook); ok {
			return mergeEntries(entriesOf(&to.Map), entriesOf(&from.Map), depth)
		}
	case *crdt.Array:
		if from, ok := from.(*crdt.Array); ok {
			return mergeList(arrayList{to}, from.Values(), depth)
		}
	case *crdt.XmlFragment:
		if from, ok := from.(*crdt.XmlFragment); ok {
			return mergeList(to, from.Children(), depth)
		}
	case *crdt.XmlElement:
		if from, ok := from.(*crdt.XmlElement); ok {
			if err := mergeEntries(attributesOf(to), attributesOf(from), depth); err != nil {
				return err
			}
			return mergeList(&to.XmlFragment, from.Children(), depth)
		}
	default:
	}
	return fmt.Errorf("%w: it is a %s and was a %s", ErrKind, to.Kind(), from.Kind())
}

// similar says whether one value can be made the other by editing it.
func similar(a, b any) bool {
	from, ok := a.(crdt.Shared)
	to, too := b.(crdt.Shared)
	return ok && too && from.Kind() == to.Kind() && nameOf(from) == nameOf(to)
}

// nameOf is the name of an element or hook, which is never changed.
func nameOf(s crdt.Shared) string {
	switch s := s.(type) {
	case *crdt.XmlElement:
		return s.Name()
	case *crdt.XmlHook:
		return s.Name()
	default:
		return ""
	}
}

// fresh returns what has to be inserted to get a copy of a value: of a shared type an empty one, which has to be filled.
func fresh(value any) any {
	switch value := value.(type) {
	case *crdt.Text:
		return crdt.NewText("")
	case *crdt.XmlText:
		return crdt.NewXmlText("")
	case *crdt.Map:
		return crdt.NewMap()
	case *crdt.XmlHook:
		return crdt.NewXmlHook(value.Name())
	case *crdt.Array:
		return crdt.NewArray()
	case *crdt.XmlFragment:
		return crdt.NewXmlFragment()
	case *crdt.XmlElement:
		return crdt.NewXmlElement(value.Name())
	case *crdt.Subdoc:
		return crdt.NewSubdoc(value.GUID(), value.Meta(), value.AutoLoad(), false)
	default:
		return value
	}
}

// fill makes what was inserted for a value its copy.
func fill(inserted, value any, depth int) error {
	from, ok := value.(crdt.Shared)
	if !ok {
		return nil
	}
	to, ok := inserted.(crdt.Shared)
	if !ok {
		return fmt.Errorf("%w: it is a %T", ErrKind, inserted)
	}
	return merge(to, from, depth+1)
}

// entries are those of a map, or the attributes of XML elements and texts.
type entries struct {
	members []lib0.Member
	set     func(key string, value any) error
	remove  func(key string) error
}

func entriesOf(m *crdt.Map) entries { return entries{m.Members(), m.Set, m.Delete} }

// attributed is what has attributes: XML elements and texts.
type attributed interface {
	Attributes() lib0.Object
	SetAttribute(key string, value any) error
	RemoveAttribute(key string) error
}

func attributesOf(a attributed) entries {
	return entries{a.Attributes(), a.SetAttribute, a.RemoveAttribute}
}

// mergeEntries gives to the entries of from.
func mergeEntries(to, from entries, depth int) error {
	is, was := make(map[string]any, len(to.members)), make(map[string]bool, len(from.members))
	for _, entry := range from.members {
		was[entry.Key] = true
	}
	for _, entry := range to.members {
		is[entry.Key] = entry.Value
		if !was[entry.Key] {
			if err := to.remove(entry.Key); err != nil {
				return err
			}
		}
	}
	for _, entry := range from.members {
		value, there := is[entry.Key]
		switch {
		case there && similar(value, entry.Value):
		case there && identity(value) == identity(entry.Value):
			continue
		default:
			value = fresh(entry.Value)
			if err := to.set(entry.Key, value); err != nil {
				return err
			}
		}
		if err := fill(value, entry.Value, depth); err != nil {
			return err
		}
	}
	return nil
}

// list is an array, or the children of XML.
type list interface {
	Get(index int) any
	Insert(index int, values ...any) error
	Delete(index, length int) error
	Len() int
}

type arrayList struct{ *crdt.Array }

// mergeList gives a list the elements of another one. Shared types that were changed are edited where they are.
func mergeList(to list, from []any, depth int) error {
	is := make([]any, to.Len())
	for i := range is {
		is[i] = to.Get(i)
	}
	changes := textdiff.Slices(identities(is), identities(from))
	for _, c := range slices.Backward(changes) { // Indices before a change are not moved by it.
		kept := 0
		for c.From+kept < c.To && c.ByFrom+kept < c.ByTo && similar(is[c.From+kept], from[c.ByFrom+kept]) {
			if err := fill(is[c.From+kept], from[c.ByFrom+kept], depth); err != nil {
				return err
			}
			kept++
		}
		at := c.From + kept
		if n := c.To - at; n > 0 {
			if err := to.Delete(at, n); err != nil {
				return err
			}
		}
		wanted := from[c.ByFrom+kept : c.ByTo]
		if len(wanted) == 0 {
			continue
		}
		values := make([]any, len(wanted))
		for i, value := range wanted {
			values[i] = fresh(value)
		}
		if err := to.Insert(at, values...); err != nil {
			return err
		}
		for i, value := range wanted {
			if err := fill(to.Get(at+i), value, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func identities(values []any) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = identity(v)
	}
	return out
}

// identity is the same for two values if and only if they have the same content.
func identity(value any) string {
	var b strings.Builder
	identify(&b, value, 0)
	return b.String()
}

func identify(b *strings.Builder, value any, depth int) {
	attributes := func(attributes lib0.Object) {
		sorted := slices.SortedFunc(slices.Values(attributes), func(a, b lib0.Member) int { return strings.Compare(a.Key, b.Key) })
		for _, m := range sorted {
			fmt.Fprintf(b, "%q=", m.Key)
			identify(b, m.Value, depth+1)
		}
		b.WriteByte(';')
	}
	shared, ok := value.(crdt.Shared)
	if !ok {
		if sub, ok := value.(*crdt.Subdoc); ok {
			fmt.Fprintf(b, "document %q", sub.GUID())
		} else {
			b.Write(lib0.AppendAny(nil, value))
		}
		return
	}
	if depth > maxDepth {
		fmt.Fprintf(b, "%p", shared) // Like nothing else, so that it gets edited, which fails.
		return
	}
	fmt.Fprintf(b, "%s %q{", shared.Kind(), nameOf(shared))
	delta := func(t *crdt.Text) {
		attributes(t.Attributes())
		ops := t.Delta()
		for i := 0; i < len(ops); i++ {
			op := ops[i]
			// Texts that are formatted alike are one, however they came to be.
			if text, ok := op.Insert.(string); ok {
				for ; i+1 < len(ops) && same(ops[i+1].Attributes, op.Attributes); i++ {
					next, ok := ops[i+1].Insert.(string)
					if !ok {
						break
					}
					text += next
				}
				op.Insert = text
			}
			identify(b, op.Insert, depth+1)
			attributes(op.Attributes)
		}
	}
	values := func(values []any) {
		for _, v := range values {
			identify(b, v, depth+1)
			b.WriteByte(',')
		}
	}
	switch s := shared.(type) {
	case *crdt.Text:
		delta(s)
	case *crdt.XmlText:
		delta(&s.Text)
	case *crdt.Map:
		attributes(s.Members())
	case *crdt.XmlHook:
		attributes(s.Members())
	case *crdt.Array:
		values(s.Values())
	case *crdt.XmlFragment:
		values(s.Children())
	case *crdt.XmlElement:
		attributes(s.Attributes())
		values(s.Children())
	default:
	}
	b.WriteByte('}')
}

// unit is a character of a text, or an embedded value.
type unit struct {
	char  rune
	embed string
}

// formatted are a text's units with their embedded values and formatting.
type formatted struct {
	units      []unit
	embeds     map[int]any
	attributes []lib0.Object
}

func unitsOf(t *crdt.Text) formatted {
	f := formatted{embeds: map[int]any{}}
	for _, op := range t.Delta() {
		text, ok := op.Insert.(string)
		if !ok {
			f.embeds[len(f.units)] = op.Insert
			f.units = append(f.units, unit{embed: identity(op.Insert)})
			f.attributes = append(f.attributes, op.Attributes)
			continue
		}
		for _, char := range text {
			f.units = append(f.units, unit{char: char})
			f.attributes = append(f.attributes, op.Attributes)
		}
	}
	return f
}

// length is the unit's in UTF-16 code units, as Yjs counts.
func (u unit) length() int {
	if u.embed == "" && u.char > 0xffff {
		return 2
	}
	return 1
}

// lettersFrom is where the last planes for private use begin.
const lettersFrom = 0xf0000

// changesOf returns the changes that turn one text into another. They are searched line by line first, for which each
// embedded value has a letter for private use, unless the texts have such letters themselves.
func changesOf(a, b []unit) []textdiff.Change {
	letters := map[string]rune{}
	spelled := func(units []unit) ([]rune, bool) {
		out := make([]rune, len(units))
		for i, u := range units {
			out[i] = u.char
			if u.embed == "" {
				if u.char >= lettersFrom {
					return nil, false
				}
				continue
			}
			if _, ok := letters[u.embed]; !ok {
				letters[u.embed] = lettersFrom + rune(len(letters)) //nolint:gosec // Bounded by what fits into memory.
			}
			out[i] = letters[u.embed]
		}
		return out, len(letters) <= utf8.MaxRune-lettersFrom
	}
	lettersA, okA := spelled(a)
	lettersB, okB := spelled(b)
	if !okA || !okB {
		return textdiff.Slices(a, b)
	}
	return textdiff.Runes(lettersA, lettersB)
}

// mergeText gives a text the content, the formatting and the attributes of another one.
func mergeText(to, from *crdt.Text, depth int) error {
	if err := mergeEntries(attributesOf(to), attributesOf(from), depth); err != nil {
		return err
	}
	is, was := unitsOf(to), unitsOf(from)
	delta := &builder{}
	a, b := 0, 0
	var embedded []int // Positions, among the units of from, of inserted shared types.
	for _, c := range append(changesOf(is.units, was.units), textdiff.Change{
		From: len(is.units), To: len(is.units), ByFrom: len(was.units), ByTo: len(was.units),
	}) {
		for ; a < c.From; a, b = a+1, b+1 {
			delta.retain(is.units[a].length(), reformat(is.attributes[a], was.attributes[b]))
		}
		for ; a < c.To; a++ {
			delta.delete(is.units[a].length())
		}
		for ; b < c.ByTo; b++ {
			value, ok := was.embeds[b]
			if !ok {
				delta.insert(was.units[b].char, was.attributes[b])
				continue
			}
			if _, shared := value.(crdt.Shared); shared {
				embedded = append(embedded, b)
			}
			delta.embed(fresh(value), was.attributes[b])
		}
	}
	if err := to.ApplyDelta(delta.changes()); err != nil {
		return err
	}
	if len(embedded) == 0 {
		return nil
	}
	now := unitsOf(to)
	for _, at := range embedded {
		if err := fill(now.embeds[at], was.embeds[at], depth); err != nil {
			return err
		}
	}
	return nil
}

// reformat is the change of formatting from is to was, nil if there is none.
func reformat(is, was lib0.Object) lib0.Object {
	if len(is) == 0 && len(was) == 0 {
		return nil
	}
	var out lib0.Object
	for _, m := range is {
		if _, ok := was.Get(m.Key); !ok {
			out = append(out, lib0.Member{Key: m.Key})
		}
	}
	for _, m := range was {
		if value, ok := is.Get(m.Key); !ok || identity(value) != identity(m.Value) {
			out = append(out, m)
		}
	}
	return out
}

// builder makes a delta of as few steps as there can be.
type builder struct {
	ops []crdt.Op
	// text is being inserted with the attributes.
	text       []byte
	attributes lib0.Object
}

// same says whether two formattings are alike, whatever came first.
func same(a, b lib0.Object) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) == 0 || &a[0] == &b[0] {
		return true
	}
	for _, m := range a {
		if value, ok := b.Get(m.Key); !ok || identity(value) != identity(m.Value) {
			return false
		}
	}
	return true
}

func (d *builder) flush() {
	if len(d.text) > 0 {
		d.ops = append(d.ops, crdt.Op{Insert: string(d.text), Attributes: d.attributes})
		d.text = d.text[:0]
	}
}

func (d *builder) insert(char rune, attributes lib0.Object) {
	if len(d.text) > 0 && !same(d.attributes, attributes) {
		d.flush()
	}
	d.text, d.attributes = utf8.AppendRune(d.text, char), attributes
}

func (d *builder) embed(value any, attributes lib0.Object) {
	d.flush()
	d.ops = append(d.ops, crdt.Op{Insert: value, Attributes: attributes})
}

func (d *builder) retain(n int, attributes lib0.Object) {
	d.flush()
	if last := len(d.ops) - 1; last >= 0 && d.ops[last].Retain > 0 && same(d.ops[last].Attributes, attributes) {
		d.ops[last].Retain += n
		return
	}
	d.ops = append(d.ops, crdt.Op{Retain: n, Attributes: attributes})
}

func (d *builder) delete(n int) {
	d.flush()
	if last := len(d.ops) - 1; last >= 0 && d.ops[last].Delete > 0 {
		d.ops[last].Delete += n
		return
	}
	d.ops = append(d.ops, crdt.Op{Delete: n})
}

// changes returns the delta, without what stays as it is at the end.
func (d *builder) changes() []crdt.Op {
	d.flush()
	if last := len(d.ops) - 1; last >= 0 && d.ops[last].Retain > 0 && len(d.ops[last].Attributes) == 0 {
		d.ops = d.ops[:last]
	}
	return d.ops
}
