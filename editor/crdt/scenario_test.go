package crdt_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// scenario is a line of testdata/scenarios.jsonl.gz, which testdata/gen.mjs made with the real Yjs.
type scenario struct {
	Seed    int
	Kind    string
	GC      bool
	Defined bool
	Steps   []struct {
		V      int
		U      string
		State  string
		State2 string
	}
	Emitted                []string
	SV, State, State2      string
	Partial, Diff, Diff2   string
	UpdateDiff             string
	UpdateDiff2            string
	Merged, Merged2        string
	MergedSv, MergedSv2    string
	From, To, ToV1, ToV2   string
	Snapshot, Snapshot2    string
	JSON, Delta, XML, Text string
	Ops                    []struct {
		Op     json.RawMessage
		Update *string
		Events []string
	}
}

// scenarios returns the fixtures, or those of the file that CRDT_SCENARIOS names.
func scenarios(t testing.TB) []scenario {
	t.Helper()
	var r io.Reader
	if name := os.Getenv("CRDT_SCENARIOS"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r = f
	} else {
		f, err := os.Open("testdata/scenarios.jsonl.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	var out []scenario
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var s scenario
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no scenarios")
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// same fails the test if the bytes are not those of Yjs.
func same(t *testing.T, what string, got []byte, err error, want string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if hex.EncodeToString(got) != want {
		t.Errorf("%s\n got %x\nwant %s", what, got, want)
	}
}

// canonical brings JSON to one form; the fixtures mark byte slices.
func canonical(t testing.TB, text string) string {
	t.Helper()
	v, err := lib0.ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err, text)
	}
	return string(lib0.AppendJSON(nil, sorted(v)))
}

func sorted(v any) any {
	switch v := v.(type) {
	case lib0.Object:
		m := map[string]any{}
		for _, e := range v {
			if _, undefined := e.Value.(lib0.Undefined); !undefined {
				m[e.Key] = sorted(e.Value)
			}
		}
		o, _ := lib0.Normalize(m)
		return o
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = sorted(v[i])
		}
		return out
	case []byte:
		return lib0.Object{{Key: "bytes", Value: hex.EncodeToString(v)}}
	case lib0.Undefined:
		return nil
	}
	return v
}

func asJSON(v any) string { return string(lib0.AppendJSON(nil, sorted(v))) }

func TestWhatYjsMakesOfAnExchange(t *testing.T) {
	for _, s := range scenarios(t) {
		if s.Kind == "exchange" {
			t.Run(fmt.Sprint("seed ", s.Seed), func(t *testing.T) { replay(t, s) })
		}
	}
}

func define(d *crdt.Doc) {
	d.Text("text")
	d.Array("array")
	d.Map("map")
	d.XmlFragment("xml")
}

func replay(t *testing.T, s scenario) {
	d := crdt.NewDoc(crdt.Options{ClientID: 3, KeepHistory: !s.GC})
	if s.Defined {
		define(d)
	}
	var emitted []string
	d.OnUpdate(func(u []byte, _ any) { emitted = append(emitted, hex.EncodeToString(u)) })
	var v1, all [][]byte
	for i, step := range s.Steps {
		u := unhex(t, step.U)
		var err error
		if step.V == 1 {
			err = d.ApplyUpdate(u, nil)
			v1 = append(v1, u)
			if u, err := crdt.ConvertUpdateV1ToV2(u); err != nil {
				t.Fatal(err)
			} else {
				all = append(all, u)
			}
		} else {
			err = d.ApplyUpdateV2(u, nil)
			all = append(all, u)
		}
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if err := d.Check(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if step.State != "" {
			got, err := d.EncodeStateAsUpdate(nil)
			same(t, fmt.Sprint("state after step ", i), got, err, step.State)
			got, err = d.EncodeStateAsUpdateV2(nil)
			same(t, fmt.Sprint("state v2 after step ", i), got, err, step.State2)
		}
	}
	if strings.Join(emitted, ",") != strings.Join(s.Emitted, ",") {
		t.Errorf("emitted updates\n got %v\nwant %v", emitted, s.Emitted)
	}
	same(t, "state vector", d.EncodeStateVector(), nil, s.SV)
	state, err := d.EncodeStateAsUpdate(nil)
	same(t, "state", state, err, s.State)
	state2, err := d.EncodeStateAsUpdateV2(nil)
	same(t, "state v2", state2, err, s.State2)
	same(t, "snapshot", d.Snapshot().Encode(), nil, s.Snapshot)
	same(t, "snapshot v2", d.Snapshot().EncodeV2(), nil, s.Snapshot2)
	define(d)
	if got := asJSON(d.JSON()); got != canonical(t, s.JSON) {
		t.Errorf("JSON\n got %s\nwant %s", got, canonical(t, s.JSON))
	}
	if got := asJSON(crdt.DeltaJSON(d.Text("text").Delta())); got != canonical(t, s.Delta) {
		t.Errorf("delta\n got %s\nwant %s", got, canonical(t, s.Delta))
	}
	if got := d.XmlFragment("xml").String(); got != s.XML {
		t.Errorf("XML\n got %s\nwant %s", got, s.XML)
	}
	if got := d.Text("text").String(); got != s.Text {
		t.Errorf("text\n got %q\nwant %q", got, s.Text)
	}
	partial := unhex(t, s.Partial)
	got, err := d.EncodeStateAsUpdate(partial)
	same(t, "difference", got, err, s.Diff)
	got, err = d.EncodeStateAsUpdateV2(partial)
	same(t, "difference v2", got, err, s.Diff2)
	merged, err := crdt.MergeUpdates(v1)
	same(t, "merged", merged, err, s.Merged)
	merged2, err := crdt.MergeUpdatesV2(all)
	same(t, "merged v2", merged2, err, s.Merged2)
	got, err = crdt.DiffUpdate(unhex(t, s.Merged), partial)
	same(t, "difference of updates", got, err, s.UpdateDiff)
	got, err = crdt.DiffUpdateV2(unhex(t, s.Merged2), partial)
	same(t, "difference of updates v2", got, err, s.UpdateDiff2)
	got, err = crdt.EncodeStateVectorFromUpdate(unhex(t, s.Merged))
	same(t, "state vector of update", got, err, s.MergedSv)
	got, err = crdt.EncodeStateVectorFromUpdateV2(unhex(t, s.Merged2))
	same(t, "state vector of update v2", got, err, s.MergedSv2)
	meta, err := crdt.ParseUpdateMeta(unhex(t, s.Merged))
	same(t, "meta from", meta.From.Encode(), err, s.From)
	same(t, "meta to", meta.To.Encode(), err, s.To)
	got, err = crdt.ConvertUpdateV2ToV1(unhex(t, s.State2))
	same(t, "v2 to v1", got, err, s.ToV1)
	got, err = crdt.ConvertUpdateV1ToV2(unhex(t, s.State))
	same(t, "v1 to v2", got, err, s.ToV2)
	loaded := crdt.NewDoc(crdt.Options{KeepHistory: !s.GC})
	if err := loaded.ApplyUpdate(state, nil); err != nil {
		t.Fatal(err)
	}
	again, err := loaded.EncodeStateAsUpdate(nil)
	if err != nil || (!d.HasPending() && !bytes.Equal(loaded.EncodeStateVector(), d.EncodeStateVector())) {
		t.Errorf("loaded: %v, %d bytes", err, len(again))
	}
}

func TestTheSameEditsGiveTheSameBytes(t *testing.T) {
	for _, s := range scenarios(t) {
		if s.Kind == "mirror" {
			t.Run(fmt.Sprint("seed ", s.Seed), func(t *testing.T) { mirror(t, s) })
		}
	}
}

func mirror(t *testing.T, s scenario) {
	d := crdt.NewDoc(crdt.Options{ClientID: 5, KeepHistory: !s.GC})
	var updates, events []string
	d.OnUpdate(func(u []byte, _ any) { updates = append(updates, hex.EncodeToString(u)) })
	deltaOf := func(e *crdt.Event) { events = append(events, asJSON(crdt.DeltaJSON(e.Delta()))) }
	d.Observe(d.Text("text"), deltaOf)
	d.Observe(d.Array("array"), deltaOf)
	d.Observe(d.Map("map"), func(e *crdt.Event) {
		var out []any
		for _, k := range e.Keys() {
			out = append(out, []any{k.Key, k.Action, k.Old})
		}
		events = append(events, asJSON(out))
	})
	for i, step := range s.Ops {
		v, err := lib0.ParseJSON(step.Op)
		if err != nil {
			t.Fatal(err)
		}
		op, _ := v.([]any)
		updates, events = nil, nil
		if err := perform(d, op); err != nil {
			t.Fatalf("operation %d %s: %v", i, step.Op, err)
		}
		if err := d.Check(); err != nil {
			t.Fatalf("operation %d %s: %v", i, step.Op, err)
		}
		want := ""
		if step.Update != nil {
			want = *step.Update
		}
		if got := strings.Join(updates, ","); got != want {
			t.Fatalf("operation %d %s\n got %s\nwant %s", i, step.Op, got, want)
		}
		if len(events) != len(step.Events) {
			t.Fatalf("operation %d %s: %d events, want %d", i, step.Op, len(events), len(step.Events))
		}
		for j := range events {
			if events[j] != canonical(t, step.Events[j]) {
				t.Fatalf("operation %d %s\n got %s\nwant %s", i, step.Op, events[j], step.Events[j])
			}
		}
	}
	state, err := d.EncodeStateAsUpdate(nil)
	same(t, "state", state, err, s.State)
}

// perform makes an edit as gen.mjs recorded it.
func perform(d *crdt.Doc, op []any) error {
	at := func(i int) int {
		f, _ := op[i].(float64)
		return int(f)
	}
	str := func(i int) string {
		s, _ := op[i].(string)
		return s
	}
	object := func(i int) lib0.Object {
		o, _ := op[i].(lib0.Object)
		return o
	}
	text, array, m := d.Text("text"), d.Array("array"), d.Map("map")
	switch str(0) + " " + str(1) {
	case "text insert":
		return text.Insert(at(2), str(3))
	case "text insertf":
		return text.InsertFormatted(at(2), str(3), object(4))
	case "text delete":
		return text.Delete(at(2), at(3))
	case "text format":
		return text.Format(at(2), at(3), object(4))
	case "text embed":
		return text.InsertEmbed(at(2), op[3], object(4))
	case "text delta":
		steps, _ := op[2].([]any)
		var delta []crdt.Op
		for _, step := range steps {
			o, _ := step.(lib0.Object)
			var s crdt.Op
			for _, m := range o {
				switch m.Key {
				case "insert":
					s.Insert = m.Value
				case "retain":
					f, _ := m.Value.(float64)
					s.Retain = int(f)
				case "delete":
					f, _ := m.Value.(float64)
					s.Delete = int(f)
				case "attributes":
					s.Attributes, _ = m.Value.(lib0.Object)
				}
			}
			delta = append(delta, s)
		}
		return text.ApplyDelta(delta)
	case "array insert":
		values, _ := op[3].([]any)
		return array.Insert(at(2), values...)
	case "array push":
		values, _ := op[2].([]any)
		return array.Push(values...)
	case "array delete":
		return array.Delete(at(2), at(3))
	case "map set":
		return m.Set(str(2), op[3])
	case "map delete":
		return m.Delete(str(2))
	}
	return fmt.Errorf("unknown operation %v", op)
}
