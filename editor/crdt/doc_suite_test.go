package crdt_test

import (
	"slices"
	"testing"

	"collab.dev/operator/editor/crdt"
)

// Observers of transactions may read what was just written, however much it is.
func TestDocIsReadAtTheEndOfATransaction(t *testing.T) {
	const n = 15_000
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	x := d.XmlFragment("xml")
	read := 0
	d.OnTransaction(func(tx *crdt.Transaction) {
		if tx.Origin() == "test" {
			s, _ := x.JSON().(string)
			read = len(s)
		}
	})
	d.Transact("test", func(*crdt.Transaction) {
		for range n {
			ok(t, x.Push(crdt.NewXmlText("a")))
		}
	})
	if read != n {
		t.Errorf("read %d bytes, want %d", read, n)
	}
}

// A transaction within an observer comes after the one that is observed, in the order in which they began.
func TestDocTransactionsWithinObserversAreQueued(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1, KeepHistory: true})
	x := d.Text("text")
	var origins []any
	d.OnTransaction(func(tx *crdt.Transaction) {
		origins = append(origins, tx.Origin())
		if len(origins) > 1 {
			return
		}
		x.DeltaAt(d.Snapshot(), nil) // Splits items, for which it needs a transaction.
		d.Transact("nested", func(*crdt.Transaction) { ok(t, x.Insert(0, "a")) })
	})
	d.Transact("first", func(*crdt.Transaction) { ok(t, x.Insert(0, "0")) })
	if want := []any{"first", "cleanup", "nested"}; !slices.Equal(origins, want) {
		t.Errorf("origins %v, want %v", origins, want)
	}
}

// Who sees that another one edits under the same id takes a new one.
func TestDocsNeverShareAClientID(t *testing.T) {
	first, second := crdt.NewDoc(crdt.Options{ClientID: 7}), crdt.NewDoc(crdt.Options{ClientID: 7})
	ok(t, first.Array("array").Insert(0, 1, 2))
	u, err := first.EncodeStateAsUpdate(nil)
	ok(t, err, second.ApplyUpdate(u, nil))
	if first.ClientID() != 7 || second.ClientID() == 7 {
		t.Errorf("ids %d and %d", first.ClientID(), second.ClientID())
	}
	ok(t, second.Array("array").Push(3), second.Check())
	agreed(t, first, second)
}

func TestDocHasARootOfTheEmptyName(t *testing.T) {
	d, other := crdt.NewDoc(crdt.Options{ClientID: 1}), crdt.NewDoc(crdt.Options{ClientID: 2})
	ok(t, d.Text("").Insert(0, "h"), d.Text("").Insert(1, "i"))
	u, err := d.EncodeStateAsUpdate(nil)
	ok(t, err, other.ApplyUpdate(u, nil))
	if got := other.Text("").String(); got != "hi" {
		t.Errorf("text %q", got)
	}
}

func TestDocAsJSON(t *testing.T) {
	d := crdt.NewDoc(crdt.Options{ClientID: 1})
	wantJSON(t, "an empty document", d.JSON(), `{}`)
	inner := crdt.NewMap()
	ok(t, d.Array("array").Push("test1"), d.Map("map").Set("k1", "v1"), d.Map("map").Set("k2", inner),
		inner.Set("m2k1", "m2v1"))
	if got, want := d.JSON().String(), `{"array":["test1"],"map":{"k1":"v1","k2":{"m2k1":"m2v1"}}}`; got != want {
		t.Errorf("JSON\n got %s\nwant %s", got, want)
	}
}

func guids(list []*crdt.Subdoc) []any {
	out := []any{}
	for _, s := range list {
		out = append(out, s.GUID())
	}
	return out
}

// Which subdocuments came, went and are asked to be loaded, where they are edited and where others hear of it.
func TestDocTellsOfSubdocuments(t *testing.T) {
	d, other := crdt.NewDoc(crdt.Options{ClientID: 1}), crdt.NewDoc(crdt.Options{ClientID: 2})
	var here, there any
	note := func(to *any) func(c crdt.SubdocChange) {
		return func(c crdt.SubdocChange) { *to = []any{guids(c.Added), guids(c.Removed), guids(c.Loaded)} }
	}
	d.OnSubdocs(note(&here))
	other.OnSubdocs(note(&there))
	m := d.Map("mysubdocs")
	for _, c := range []struct {
		key, guid string
		want      string
	}{
		{"a", "a", `[["a"],[],["a"]]`}, {"b", "a", `[["a"],[],["a"]]`}, {"c", "c", `[["c"],[],["c"]]`},
	} {
		ok(t, m.Set(c.key, crdt.NewSubdoc(c.guid, nil, false, false)))
		wantJSON(t, "here", here, c.want)
	}
	wantJSON(t, "subdocuments", guids(d.Subdocs()), `["a","a","c"]`)
	wantJSON(t, "subdocuments before", guids(other.Subdocs()), `[]`)
	u, err := d.EncodeStateAsUpdate(nil)
	ok(t, err, other.ApplyUpdate(u, nil))
	wantJSON(t, "there", there, `[["a","a","c"],[],[]]`)
	ok(t, other.Map("mysubdocs").Delete("a"))
	wantJSON(t, "there", there, `[[],["a"],[]]`)
	wantJSON(t, "subdocuments", guids(other.Subdocs()), `["a","c"]`)
	here = nil
	ok(t, d.Text("text").Insert(0, "x"))
	if here != nil {
		t.Error("an event without a subdocument")
	}
}

// Only subdocuments that load themselves are asked for where they come from elsewhere.
func TestDocAsksForSubdocumentsThatLoadThemselves(t *testing.T) {
	for _, auto := range []bool{false, true} {
		d, other := crdt.NewDoc(crdt.Options{ClientID: 1}), crdt.NewDoc(crdt.Options{ClientID: 2})
		var last crdt.SubdocChange
		for _, d := range []*crdt.Doc{d, other} {
			d.OnSubdocs(func(c crdt.SubdocChange) { last = c })
		}
		s := crdt.NewSubdoc("", attrs("title", "t"), auto, false)
		ok(t, d.Array("array").Insert(0, s))
		if !slices.Equal(last.Added, []*crdt.Subdoc{s}) || !slices.Equal(last.Loaded, []*crdt.Subdoc{s}) {
			t.Errorf("auto %t: here %v", auto, last)
		}
		u, err := d.EncodeStateAsUpdate(nil)
		ok(t, err, other.ApplyUpdate(u, nil))
		there, _ := other.Array("array").Get(0).(*crdt.Subdoc)
		if there.AutoLoad() != auto || there.GUID() != s.GUID() || len(last.Added) != 1 || last.Added[0] != there ||
			slices.Contains(last.Loaded, there) != auto {
			t.Errorf("auto %t: there %v", auto, last)
		}
		wantJSON(t, "meta", there.Meta(), `{"title":"t"}`)
	}
}
