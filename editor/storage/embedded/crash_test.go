package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/embedded"
)

const document = "acme/plan"

// patience is a generous bound for whatever a test awaits.
const patience = time.Minute

func open(t testing.TB, directory string) *embedded.Store {
	t.Helper()
	store, err := embedded.Open(embedded.Options{Directory: directory, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func shut(t testing.TB, store *embedded.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := store.Close(ctx); err != nil {
		t.Error(err)
	}
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// file is the content of the store's file.
func file(t testing.TB, directory string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(directory, "documents.db"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// stored are the numbers of a document's operations in a directory.
func stored(t testing.TB, directory string) int64 {
	t.Helper()
	store := open(t, directory)
	defer shut(t, store)
	shard, err := store.Open(t.Context(), 1, 2, "reader")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := shard.Load(t.Context(), document)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range doc.Tail {
		if e.Seq != int64(i)+1 || string(e.Update) != fmt.Sprintf("update %d", e.Seq) {
			t.Fatalf("operation %d is number %d: %q", i+1, e.Seq, e.Update)
		}
	}
	return doc.LastSeq()
}

// updates are operations of the document.
func updates(from, to int64) (entries []storage.Entry) {
	for seq := from; seq <= to; seq++ {
		entries = append(entries, storage.Entry{
			Document: document, Seq: seq, Time: time.UnixMicro(seq), Update: fmt.Appendf(nil, "update %d", seq),
		})
	}
	return entries
}

// add appends operations of the document and waits until they are stored.
func add(t testing.TB, shard storage.Shard, from, to int64) {
	t.Helper()
	addAll(t, shard, updates(from, to)...)
}

// addAll appends operations and waits until they are stored.
func addAll(t testing.TB, shard storage.Shard, entries ...storage.Entry) {
	t.Helper()
	var wait sync.WaitGroup
	for _, e := range entries {
		wait.Add(1)
		shard.Append(e, func(err error) {
			defer wait.Done()
			if err != nil {
				t.Errorf("append operation %d: %v", e.Seq, err)
			}
		})
	}
	wait.Wait()
}

// TestACrashInTheMiddleOfACommitLosesNothing lets the power fail while a commit is written: any part of what changes
// may have reached the disk, in any order, but the page that the commit is known by is written after all others.
func TestACrashInTheMiddleOfACommitLosesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		then func(*testing.T, *embedded.Store, storage.Shard)
		last int64 // Operations that are there afterwards; before there are 40.
	}{
		"of an operation": {func(t *testing.T, _ *embedded.Store, shard storage.Shard) { add(t, shard, 41, 41) }, 41},
		"of several runs": {func(t *testing.T, _ *embedded.Store, shard storage.Shard) {
			if err := embedded.Commit(shard, updates(41, 300)...); err != nil {
				t.Fatal(err)
			}
		}, 300},
		"that empties the journal": {func(t *testing.T, store *embedded.Store, _ storage.Shard) {
			if r, err := store.Catalog().Get(t.Context(), document); err != nil || r.LastSeq != 40 {
				t.Fatalf("operation %d is the last one: %v", r.LastSeq, err)
			}
		}, 40},
	} {
		t.Run(name, func(t *testing.T) { crash(t, test.then, test.last) })
	}
}

// slowly opens a store that empties its journal only when somebody reads, and a shard of it.
func slowly(t *testing.T, directory string) (*embedded.Store, storage.Shard) {
	t.Helper()
	store, err := embedded.Open(embedded.SpreadAfter(
		embedded.Options{Directory: directory, Logger: slog.New(slog.DiscardHandler)}, time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	shard, err := store.Open(t.Context(), 1, 1, "writer")
	if err != nil {
		t.Fatal(err)
	}
	return store, shard
}

func crash(t *testing.T, then func(*testing.T, *embedded.Store, storage.Shard), end int64) {
	const (
		sector = 512
		acked  = 40
	)
	directory := t.TempDir()
	store, shard := slowly(t, directory)
	for seq := int64(1); seq <= acked/2; seq++ {
		add(t, shard, seq, seq)
	}
	// The first half is where it belongs, the second in the journal.
	if _, err := store.Catalog().Get(t.Context(), document); err != nil {
		t.Fatal(err)
	}
	if err := embedded.Commit(shard, updates(acked/2+1, acked)...); err != nil {
		t.Fatal(err)
	}
	before := file(t, directory)
	then(t, store, shard)
	after := file(t, directory)
	shut(t, store)

	page := os.Getpagesize()
	var data, meta []int // The sectors that the commit changed.
	for at := 0; at < len(after); at += sector {
		if at < len(before) && string(before[at:at+sector]) == string(after[at:at+sector]) {
			continue
		}
		if at < 2*page {
			meta = append(meta, at)
		} else {
			data = append(data, at)
		}
	}
	if len(data) == 0 || len(meta) == 0 {
		t.Fatalf("the commit changed %d sectors of data and %d that it is known by", len(data), len(meta))
	}
	crashed := t.TempDir()
	recover := func(t testing.TB, content []byte) int64 {
		if err := os.WriteFile(filepath.Join(crashed, "documents.db"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return stored(t, crashed)
	}
	rapid.Check(t, func(rt *rapid.T) {
		content := append([]byte(nil), before...)
		if rapid.Bool().Draw(rt, "grown") && len(after) > len(content) {
			content = append(content, make([]byte, len(after)-len(content))...)
		}
		for _, at := range data {
			if at+sector <= len(content) && rapid.Bool().Draw(rt, "written") {
				copy(content[at:at+sector], after[at:at+sector])
			}
		}
		if last := recover(t, content); last != acked {
			rt.Fatalf("%d operations are there, not %d", last, acked)
		}
	})
	// The page that the commit is known by, up to any byte.
	for cut := 0; cut <= sector; cut++ {
		content := append([]byte(nil), after...)
		for i, at := range meta {
			if i > 0 {
				copy(content[at:at+sector], before[at:at+sector])
				continue
			}
			copy(content[at+cut:at+sector], before[at+cut:at+sector])
		}
		if last := recover(t, content); last != acked && last != end {
			t.Fatalf("with %d bytes of the last page %d operations are there", cut, last)
		}
	}
	if last := recover(t, after); last != end {
		t.Fatalf("%d operations are there, not %d", last, end)
	}
}

// TestAKilledProcessLosesNothing kills a process that says what was acknowledged to it.
func TestAKilledProcessLosesNothing(t *testing.T) {
	if directory := os.Getenv("COLLAB_TEST_EMBEDDED"); directory != "" {
		write(t, directory)
		return
	}
	directory := t.TempDir()
	for round := range 3 {
		binary, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		command := exec.Command(binary, "-test.run", "^TestAKilledProcessLosesNothing$")
		command.Env = append(os.Environ(), "COLLAB_TEST_EMBEDDED="+directory)
		output, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		// After a random number of acknowledgements.
		enough := rand.IntN(300) + 1 //nolint:gosec // No secret.
		var said strings.Builder
		buffer := make([]byte, 512)
		for strings.Count(said.String(), "\n") < enough {
			n, err := output.Read(buffer)
			said.Write(buffer[:n])
			if err != nil {
				t.Fatalf("the process ended: %v\n%s", err, said.String())
			}
		}
		_ = command.Process.Kill()
		_ = command.Wait()
		lines := strings.Split(said.String(), "\n")
		acked, err := strconv.ParseInt(lines[len(lines)-2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		last := stored(t, directory)
		if last < acked {
			t.Fatalf("round %d: operation %d was acknowledged, and %d are there", round, acked, last)
		}
		t.Logf("%d acknowledged, %d stored", acked, last)
		// The next process takes the shard at a higher epoch than the reader.
		if err := os.RemoveAll(directory); err != nil {
			t.Fatal(err)
		}
	}
}

// write appends operations until it is killed, and says which were acknowledged.
func write(t *testing.T, directory string) {
	store := open(t, directory)
	shard, err := store.Open(t.Context(), 1, 1, "writer")
	if err != nil {
		t.Fatal(err)
	}
	for seq := int64(1); ; seq++ {
		shard.Append(storage.Entry{
			Document: document, Seq: seq, Time: time.UnixMicro(seq), Update: fmt.Appendf(nil, "update %d", seq),
		}, func(err error) {
			if err == nil {
				_, _ = fmt.Fprintln(os.Stdout, seq)
			}
		})
		time.Sleep(100 * time.Microsecond) // Not to run into the bound of the buffer.
	}
}

func TestOneProcessAtATimeHasTheDirectory(t *testing.T) {
	directory := t.TempDir()
	store := open(t, directory)
	if _, err := embedded.Open(embedded.Options{Directory: directory}); err == nil ||
		!strings.Contains(err.Error(), "another process uses") {
		t.Errorf("a second store was opened: %v", err)
	}
	shut(t, store)
	shut(t, open(t, directory))
}

// TestFreeSpaceIsGivenBack purges most of what there is and looks at the file.
func TestFreeSpaceIsGivenBack(t *testing.T) {
	const documents = 48 // Of a megabyte each.
	directory := t.TempDir()
	store := open(t, directory)
	shard, err := store.Open(t.Context(), 1, 1, "a")
	if err != nil {
		t.Fatal(err)
	}
	for i := range documents {
		entry := storage.Entry{
			Document: fmt.Sprintf("acme/%d", i), Seq: 1, Time: time.UnixMicro(1), Update: make([]byte, 1<<20),
		}
		for {
			result := make(chan error, 1)
			shard.Append(entry, func(err error) { result <- err })
			if err := <-result; err == nil {
				break
			} else if !errors.Is(err, storage.ErrOverloaded) {
				t.Fatal(err)
			}
		}
	}
	add(t, shard, 1, 10)
	for i := range documents {
		if _, err := store.Catalog().Delete(t.Context(), fmt.Sprintf("acme/%d", i), 0, true); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, store)
	before := len(file(t, directory))
	if last := stored(t, directory); last != 10 {
		t.Errorf("%d operations are left", last)
	}
	if after := len(file(t, directory)); after > before/2 {
		t.Errorf("the file had %d bytes and has %d", before, after)
	}
}
