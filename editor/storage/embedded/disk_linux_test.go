package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/embedded"
)

// disk is a store's file that another device can take the place of.
type disk struct {
	t     *testing.T
	file  *os.File
	saved int
}

func (d *disk) open(name string, flag int, mode os.FileMode) (file *os.File, err error) {
	d.file, err = os.OpenFile(name, flag, mode)
	return d.file, err
}

// replace lets everything that is written go to another device. The lock on the file stays.
func (d *disk) replace(device string) {
	d.t.Helper()
	other, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if d.saved, err = syscall.Dup(int(d.file.Fd())); err == nil {
		err = syscall.Dup3(int(other.Fd()), int(d.file.Fd()), syscall.O_CLOEXEC)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// repair gives the file its device back.
func (d *disk) repair() {
	d.t.Helper()
	if err := syscall.Dup3(d.saved, int(d.file.Fd()), syscall.O_CLOEXEC); err != nil {
		d.t.Fatal(err)
	}
	_ = syscall.Close(d.saved)
}

// gauge is the value of a metric, all labels together.
func gauge(t *testing.T, metrics prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func TestADiskThatFailsHoldsOperationsUpAndLosesNone(t *testing.T) {
	for name, device := range map[string]string{
		"no space is left":                       "/dev/full",
		"writes are lost and syncing them fails": "/dev/null",
	} {
		t.Run(name, func(t *testing.T) {
			directory, metrics, d := t.TempDir(), prometheus.NewRegistry(), &disk{t: t}
			store, err := embedded.Open(embedded.OnDisk(embedded.Options{
				Directory: directory, Metrics: storage.NewMetrics(metrics), Logger: slog.New(slog.DiscardHandler),
			}, d.open))
			if err != nil {
				t.Fatal(err)
			}
			shard, err := store.Open(t.Context(), 1, 1, "writer")
			if err != nil {
				t.Fatal(err)
			}
			add(t, shard, 1, 10)
			d.replace(device)
			var acked, refused atomic.Int64
			for seq := int64(11); seq <= 20; seq++ {
				shard.Append(storage.Entry{
					Document: document, Seq: seq, Time: time.UnixMicro(seq), Update: fmt.Appendf(nil, "update %d", seq),
				}, func(err error) {
					if err != nil {
						refused.Add(1)
					}
					acked.Add(1)
				})
			}
			failures := func() float64 { return gauge(t, metrics, "collab_editor_storage_failures_total") }
			until(t, "a commit and its repetition to fail", func() bool { return failures() >= 2 })
			if n := acked.Load(); n != 0 {
				t.Errorf("%d operations were answered that no disk has", n)
			}
			// Snapshots that nobody waits for any longer are not kept.
			state := make([]byte, 1<<20)
			for seq := int64(1); seq <= 10; seq++ {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				err := shard.WriteSnapshot(ctx, document, storage.Snapshot{Seq: seq, Time: time.UnixMicro(seq), State: state})
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a snapshot ended with %v", err)
				}
			}
			until(t, "the snapshots to go", func() bool { return gauge(t, metrics, "collab_editor_storage_log_bytes") < 1<<20 })
			d.repair()
			until(t, "the operations to be stored", func() bool { return acked.Load() == 10 })
			if n := refused.Load(); n != 0 {
				t.Errorf("%d operations were refused", n)
			}
			add(t, shard, 21, 30)
			if err := shard.WriteSnapshot(t.Context(), "acme/other", storage.Snapshot{Seq: 1, State: state}); err != nil {
				t.Errorf("the snapshot after the repair: %v", err)
			}
			shut(t, store)
			if last := stored(t, directory); last != 30 {
				t.Errorf("%d operations are there", last)
			}
		})
	}
}

func TestSnapshotsThatWaitAreBounded(t *testing.T) {
	d := &disk{t: t}
	store, err := embedded.Open(embedded.OnDisk(embedded.Options{
		Directory: t.TempDir(), BufferBytes: 3 << 20, Logger: slog.New(slog.DiscardHandler),
	}, d.open))
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, store)
	shard, err := store.Open(t.Context(), 1, 1, "writer")
	if err != nil {
		t.Fatal(err)
	}
	d.replace("/dev/full")
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 6)
	for i := range 6 {
		go func() {
			results <- shard.WriteSnapshot(ctx, fmt.Sprintf("acme/%d", i), storage.Snapshot{Seq: 1, State: make([]byte, 1<<20)})
		}()
	}
	for range 4 { // Two fit, with what is around them.
		if err := <-results; !errors.Is(err, storage.ErrOverloaded) {
			t.Errorf("a snapshot for which there is no room ended with %v", err)
		}
	}
	// They do not keep operations out.
	acked := make(chan error, 1)
	shard.Append(storage.Entry{Document: document, Seq: 1, Time: time.UnixMicro(1), Update: make([]byte, 2<<20)},
		func(err error) { acked <- err })
	d.repair()
	if err := <-acked; err != nil {
		t.Errorf("an operation behind snapshots ended with %v", err)
	}
	cancel()
	<-results
	<-results
}

func TestWhatIsFencedIsSettledOnce(t *testing.T) {
	store := open(t, t.TempDir())
	defer shut(t, store)
	first, err := store.Open(t.Context(), 1, 1, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Catalog().Create(t.Context(), storage.Record{Document: document}); err != nil {
		t.Fatal(err)
	}
	// Nothing is written while a record is being changed; what comes next is the opening.
	changing, change, changed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := store.Catalog().Update(t.Context(), document, 0, func(*storage.Record) {
			close(changing)
			<-change
		})
		changed <- err
	}()
	<-changing
	opened := make(chan error, 1)
	go func() {
		_, err := store.Open(t.Context(), 1, 2, "b")
		opened <- err
	}()
	time.Sleep(50 * time.Millisecond) // It waits for the change by now, or else this test shows nothing.
	answers := make(chan error, 3)
	for seq := int64(1); seq <= 3; seq++ {
		first.Append(storage.Entry{Document: document, Seq: seq, Time: time.UnixMicro(seq)},
			func(err error) { answers <- err })
	}
	close(change)
	if err := errors.Join(<-changed, <-opened); err != nil {
		t.Fatal(err)
	}
	fenced := 0
	for range 3 {
		if err := <-answers; errors.Is(err, storage.ErrFenced) {
			fenced++
		}
	}
	if n := embedded.Waiting(first); n != 0 {
		t.Errorf("%d operations wait after %d were fenced", n, fenced)
	}
}
