package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"collab.dev/operator/editor/crdt/yjs"
)

// TestMain makes the test's own program measure this engine when run asks for it.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		if err := runWorker(os.Stdin, os.Stdout); err != nil {
			fail(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestTheTraceIsThatOfThePaper(t *testing.T) {
	trace, err := readTrace()
	if err != nil {
		t.Fatal(err)
	}
	if len(trace) != 259778 {
		t.Fatalf("%d keystrokes", len(trace))
	}
	w := &worker{updates: traceWorkload("B4", trace, len(trace)).updates}
	d := w.apply(len(w.updates))
	text := d.Text("text").String()
	sum := sha256.Sum256([]byte(text))
	if hex.EncodeToString(sum[:8]) != "a489e9022976c14e" {
		t.Errorf("another text, of %d bytes", len(text))
	}
	update, err := d.EncodeStateAsUpdate(nil)
	if err != nil || len(update) != 223414 { // What Yjs makes of it.
		t.Errorf("the document takes %d bytes: %v", len(update), err)
	}
}

func TestEnginesAgreeOnAllWorkloads(t *testing.T) {
	if _, err := yjs.Modules(t.Context()); errors.Is(err, yjs.ErrNoNode) && os.Getenv("COLLAB_REQUIRE_NODE") == "" {
		t.Skip(err)
	}
	var out bytes.Buffer
	all, err := run(t.Context(), options{
		n: 60, trace: 600, rows: "*", growth: true, yjsMerge: 600, effort: effort{samples: 1}, out: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := (len(rows) + 1) * len(engines); len(all) != want {
		t.Errorf("%d figures, want %d", len(all), want)
	}
	for _, f := range all {
		if f.apply <= 0 || f.load <= 0 || f.encode <= 0 || f.diff <= 0 || f.size <= 0 {
			t.Errorf("%s with %s: %+v", f.workload, f.engine, f)
		}
	}
	if table := out.String(); !strings.Contains(table, "| B4 ") || !strings.Contains(table, "| 6000 ") {
		t.Errorf("the table lacks rows:\n%s", table)
	}
}
