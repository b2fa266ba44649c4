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
