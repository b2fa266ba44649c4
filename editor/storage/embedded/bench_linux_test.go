package embedded_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"collab.dev/operator/editor/storage"
)

// BenchmarkAppend appends what is typed in 250 documents, in commits of 128 operations: some 12,000 in a second. The
// committer waits most of the time, so look at the processor's.
func BenchmarkAppend(b *testing.B) {
	store := open(b, b.TempDir())
	defer shut(b, store)
	shard, err := store.Open(b.Context(), 1, 1, "a")
	if err != nil {
		b.Fatal(err)
	}
	names, seqs := make([]string, 250), make([]int64, 250)
	for d := range names {
		names[d] = fmt.Sprintf("acme/%d", d)
	}
	update := make([]byte, 40)
	clients := make(chan struct{}, 128)
	var wait sync.WaitGroup
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
		<-clients
		wait.Done()
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := processor(b)
	for i := range b.N {
		clients <- struct{}{}
		wait.Add(1)
		d := i % len(names)
		seqs[d]++
		shard.Append(storage.Entry{
			Document: names[d], Seq: seqs[d], Time: time.UnixMicro(int64(i)), User: "somebody", Origin: "y-websocket",
			Update: update,
		}, done)
	}
	wait.Wait()
	b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
}

// processor is the time that the process has used a processor.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
