package crdt_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// Yjs up to 13.0 stored values as JSON texts.
func TestJSONContentOfOldDocuments(t *testing.T) {
	update := []byte{1, 1, 1, 0, 2, 1, 1, 'a', 3}
	for _, text := range []string{`{"k":[1,null]}`, "undefined", `"s"`} {
		update = lib0.AppendVarString(update, text)
	}
	update = append(update, 0)
	d := crdt.NewDoc(crdt.Options{})
	a := d.Array("a")
	ok(t, d.ApplyUpdate(update, nil))
	wantJSON(t, "array", a.JSON(), `[{"k":[1,null]},null,"s"]`)
	if got, err := d.EncodeStateAsUpdate(nil); err != nil || !bytes.Equal(got, update) {
		t.Errorf("encoded as %x, want %x", got, update)
	}
	ok(t, a.Insert(2, 0), d.Check())
	wantJSON(t, "array", a.JSON(), `[{"k":[1,null]},null,0,"s"]`)
}

func TestDocumentsOfYjs13_2(t *testing.T) {
	f, err := os.Open("testdata/old.jsonl.gz")
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err)
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<24)
	count := 0
	for ; lines.Scan(); count++ {
		var s struct{ Update, Delta, Array, Map, XML string }
		ok(t, json.Unmarshal(lines.Bytes(), &s))
		d := crdt.NewDoc(crdt.Options{ClientID: 9})
		define(d)
		ok(t, d.ApplyUpdate(unhex(t, s.Update), nil), d.Check())
		wantJSON(t, "delta", crdt.DeltaJSON(d.Text("text").Delta()), s.Delta)
		wantJSON(t, "array", d.Array("array").JSON(), s.Array)
		wantJSON(t, "map", d.Map("map").JSON(), s.Map)
		if got := d.XmlFragment("xml").String(); got != s.XML {
			t.Errorf("XML\n got %s\nwant %s", got, s.XML)
		}
	}
	if err := lines.Err(); err != nil || count == 0 {
		t.Fatal(count, err)
	}
}

// fixtures are what testdata/suites.json.gz holds: data of Yjs's own tests, whose license it names.
type fixtures struct {
	Documents map[string]struct {
		Update []byte
		Want   json.RawMessage
	}
	Deltas map[string]struct {
		Steps []json.RawMessage
		At    int
		Want  json.RawMessage
	}
}

func readFixtures(t *testing.T) (out fixtures) {
	t.Helper()
	f, err := os.Open("testdata/suites.json.gz")
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err, json.NewDecoder(z).Decode(&out))
	return out
}

// Documents that three peers edited at random with Yjs 13.2.0.
func TestDocumentsOfYjsOwnSuites(t *testing.T) {
	documents := readFixtures(t).Documents
	for name, read := range map[string]func(d *crdt.Doc) any{
		"array": func(d *crdt.Doc) any { return d.Array("array").JSON() },
		"map":   func(d *crdt.Doc) any { return d.Map("map").JSON() },
		"text":  func(d *crdt.Doc) any { return crdt.DeltaJSON(d.Text("text").Delta()) },
	} {
		t.Run(name, func(t *testing.T) {
			fixture, found := documents[name]
			if !found {
				t.Fatal("no fixture")
			}
			d := crdt.NewDoc(crdt.Options{})
			ok(t, d.ApplyUpdate(fixture.Update, nil), d.Check())
			wantJSON(t, "content", read(d), string(fixture.Want))
			if d.HasPending() {
				t.Error("something is missing")
			}
			// What the other format and a second document make of it.
			v2, err := crdt.ConvertUpdateV1ToV2(fixture.Update)
			ok(t, err)
			other := crdt.NewDoc(crdt.Options{})
			read(other) // Defined before it is filled.
			ok(t, other.ApplyUpdateV2(v2, nil), other.Check())
			wantJSON(t, "content", read(other), string(fixture.Want))
		})
	}
}
