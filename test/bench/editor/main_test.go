package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/crdt"
)

// program is this service's program, which TestMain builds.
var program string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "collab-bench-test-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(folder, "editor")
	code := 1
	if out, err := exec.Command("go", "build", "-o", program, "collab.dev/operator/cmd/editor").CombinedOutput(); err != nil {
		_, _ = os.Stderr.Write(append(out, "this service cannot be built\n"...))
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// small is a benchmark of seconds of this service alone.
func small(t *testing.T) options {
	t.Helper()
	o := standard()
	o.editor = program
	o.trace, o.scratch = "../crdt/testdata/automerge-paper.trace.gz", t.TempDir()
	o.serverCPUs, o.loadCPUs = "", ""
	o.authors, o.rate, o.first, o.same = 4, 10, 240, 240
	o.settle, o.window, o.idleSettle = 100*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond
	o.idle, o.idlePerDocument = []int{20}, 5
	o.open, o.openKeystrokes, o.joins = 3, 500, 3
	return o
}

func TestEveryTypedCharacterReachesEverybodyElse(t *testing.T) {
	o := small(t)
	r, err := systems()[0].run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.close() }()
	l, err := newLoad(t.Context(), r, o.authors, o.rate)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.resize(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	s, err := l.observe(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if s.sent == 0 || s.delivered == 0 || s.p50 <= 0 || s.p99 < s.p50 || s.clients != 3*o.authors {
		t.Errorf("observed %+v", s)
	}
	if !l.settled(t.Context(), 20*time.Second) {
		t.Errorf("%d of %d characters arrived", l.received.Load(), l.owed.Load())
	}
	if l.received.Load() != l.owed.Load() || l.owed.Load() != l.sent.Load()*int64(o.authors-1) {
		t.Errorf("%d typed, %d owed, %d arrived", l.sent.Load(), l.owed.Load(), l.received.Load())
	}
	// What the server keeps is what was typed.
	typed := 0
	for _, a := range l.rooms[0].authors {
		typed += a.typed
	}
	j, err := r.join(t.Context(), "typing-0")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := j.text(); err != nil || typed == 0 || len(text) != typed {
		t.Errorf("%d characters are kept of %d: %v", len(text), typed, err)
	}
}

func TestTheMeasurementsOfThisService(t *testing.T) {
	o := small(t)
	trace, err := readTrace(o.trace)
	if err != nil {
		t.Fatal(err)
	}
	page, err := typeTrace(trace[:o.openKeystrokes])
	if err != nil {
		t.Fatal(err)
	}
	s := systems()[0]
	with := func(f func(r *running) error) {
		t.Helper()
		r, err := s.run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := f(r); err != nil {
			t.Error(err)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
	out := result{system: s, documents: "a page", why: "a test"}
	with(func(r *running) (err error) {
		out.half, err = loaded(t.Context(), r, o, 2, "")
		out.steps = []step{out.half}
		return err
	})
	with(func(r *running) error {
		i, err := idleConnections(t.Context(), r, o, 20)
		out.idle = []idle{i}
		if err == nil && i.after <= 0 {
			t.Errorf("memory: %+v", i)
		}
		return err
	})
	with(func(r *running) (err error) {
		out.document, err = perDocument(t.Context(), r, o, page.update)
		return err
	})
	with(func(r *running) (err error) {
		out.joins, err = joinTimes(t.Context(), r, o, page)
		return err
	})
	if out.joins.early || out.joins.warm <= 0 || out.joins.cold <= 0 {
		t.Errorf("joins: %+v", out.joins)
	}
	var table bytes.Buffer
	if err := report(t.Context(), &table, []result{out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"this service", "(of 20)", "joining B4", "propagation at half load, p99"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is not in the table:\n%s", want, &table)
		}
	}
}

func TestAServerIsPromptUpToTheFirstStepThatIsNot(t *testing.T) {
	steps := []step{{delivered: 1, p99: 5 * time.Millisecond}, {delivered: 2, p99: 9 * time.Millisecond}}
	late := []step{{delivered: 3, p99: 10 * time.Millisecond}, {delivered: 4, p99: time.Millisecond}}
	for want, steps := range map[float64][]step{0: late, 2: append(steps, late...)} {
		if got := (result{steps: steps}).prompt(); got != want {
			t.Errorf("prompt up to %v, want %v", got, want)
		}
	}
}

func TestAQuantileIsAtMostThreePercentTooHigh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(t, "times")
		h, most := &histogram{}, time.Duration(0)
		for _, n := range times {
			h.add(time.Duration(n))
			most = max(most, time.Duration(n))
		}
		if q := h.quantile(1); q < most || float64(q) > 1.04*float64(most)+1 {
			t.Fatalf("the highest of %v is %d", times, q)
		}
	})
}

// What is typed is recognized, merged or not, and what else may arrive is left to the engine.
func TestParseTypedAgreesWithTheEngine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var updates [][]byte
		check := func(update []byte) (recognized bool) {
			t.Helper()
			got := crdt.UpdateMeta{From: crdt.StateVector{}, To: crdt.StateVector{}}
			recognized = parseTyped(update, func(client, from, to uint64) {
				if _, known := got.From[client]; !known {
					got.From[client] = from
				}
				got.To[client] = to
			})
			want, err := crdt.ParseUpdateMeta(update)
			if err != nil || recognized && (!maps.Equal(got.From, want.From) || !maps.Equal(got.To, want.To)) {
				t.Fatalf("%x: %+v, but %+v: %v", update, got, want, err)
			}
			return recognized
		}
		first := rapid.Uint64Range(1, 1<<32).Draw(t, "client")
		for client := range uint64(3) {
			doc := crdt.NewDoc(crdt.Options{ClientID: first + client})
			doc.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
			to := doc.Text(root)
			for range rapid.IntRange(1, 10).Draw(t, "edits") {
				at := rapid.IntRange(0, to.Len()).Draw(t, "at")
				var err error
				if at < to.Len() && rapid.Bool().Draw(t, "delete") {
					err = to.Delete(at, 1)
				} else {
					err = to.Insert(at, rapid.SampledFrom([]string{"a", "ab", "ä"}).Draw(t, "text"))
				}
				if err != nil {
					t.Fatal(err)
				}
				check(updates[len(updates)-1])
			}
			// Whoever appends sends what is recognized.
			if err := to.Insert(to.Len(), "z"); err != nil {
				t.Fatal(err)
			}
			if update := updates[len(updates)-1]; !check(update) && to.Len() > 1 {
				t.Fatalf("%x is not recognized", update)
			}
		}
		merged, err := crdt.MergeUpdates(rapid.Permutation(updates).Draw(t, "merged"))
		if err != nil {
			t.Fatal(err)
		}
		check(merged)
	})
}

// What several authors typed at the same time arrives as one update.
func TestMergedCharactersAreRecognized(t *testing.T) {
	var updates [][]byte
	for client := range uint64(3) {
		doc := crdt.NewDoc(crdt.Options{ClientID: client + 1})
		last := []byte(nil)
		doc.OnUpdate(func(u []byte, _ any) { last = u })
		for at := range 3 {
			if err := doc.Text(root).Insert(at, "x"); err != nil {
				t.Fatal(err)
			}
		}
		updates = append(updates, last)
	}
	merged, err := crdt.MergeUpdates(updates)
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64][2]uint64{}
	recognized := parseTyped(merged, func(client, from, to uint64) { got[client] = [2]uint64{from, to} })
	if want := map[uint64][2]uint64{1: {2, 3}, 2: {2, 3}, 3: {2, 3}}; !recognized || !maps.Equal(got, want) {
		t.Errorf("%x: %v", merged, got)
	}
}

func TestProcessorTimeIsReadWhateverTheNameIs(t *testing.T) {
	stat := "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 5"
	if got, err := parseStat([]byte(stat)); err != nil || got != 2*time.Second {
		t.Errorf("%v: %v", got, err)
	}
	if _, err := parseStat([]byte("12 (a) S 1")); err == nil {
		t.Error("a line that is cut short is accepted")
	}
}
