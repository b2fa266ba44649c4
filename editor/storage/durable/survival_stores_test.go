//go:build stores

package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/durable"
	"collab.dev/operator/test/stores"
)

// patience is a generous bound for whatever a test awaits.
const patience = time.Minute

const document = "org/document"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// servers are the stores of one test.
type servers struct {
	t               *testing.T
	redis, postgres *stores.Server
	client          *redis.Client
	pool            *pgxpool.Pool
}

func start(t *testing.T) *servers {
	t.Helper()
	s := &servers{t: t}
	s.redis, s.client = stores.StartRedis(t)
	s.postgres, s.pool = stores.StartPostgres(t)
	if err := durable.Migrate(t.Context(), s.pool); err != nil {
		t.Fatal(err)
	}
	return s
}

// replicate gives Redis a replica.
func (s *servers) replicate() (*stores.Server, *redis.Client) {
	s.t.Helper()
	replica, client := stores.StartRedis(s.t)
	host, port, _ := strings.Cut(s.redis.Address, ":")
	if err := client.ReplicaOf(s.t.Context(), host, port).Err(); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "the replica to follow", func() bool {
		info, err := client.Info(s.t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
	return replica, client
}

// owner is one pod's store with shard 1 open.
type owner struct {
	t     *testing.T
	store *durable.Store
	shard storage.Shard

	mu    sync.Mutex
	acked map[int64]bool
	last  int64
	wait  sync.WaitGroup
}

func (s *servers) own(epoch int64, name string, options durable.Options) *owner {
	s.t.Helper()
	options.Redis, options.Postgres, options.Logger = s.client, s.pool, slog.New(slog.DiscardHandler)
	o := &owner{t: s.t, store: durable.New(options), acked: map[int64]bool{}}
	shard, err := o.store.Open(s.t.Context(), 1, epoch, name)
	if err != nil {
		s.t.Fatalf("open: %v", err)
	}
	o.shard = shard
	s.t.Cleanup(func() { o.close() })
	return o
}

// close closes the store; whether it can flush is not its caller's concern.
func (o *owner) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = o.store.Close(ctx)
	o.wait.Wait()
}

// crash ends the store without giving it time to flush.
func (o *owner) crash() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = o.store.Close(ctx)
	o.wait.Wait()
}

func update(seq int64) []byte { return fmt.Appendf(nil, "update %d", seq) }

// append appends n operations and does not wait for them.
func (o *owner) append(n int) {
	for range n {
		o.last++
		seq := o.last
		o.wait.Add(1)
		entry := storage.Entry{Document: document, Seq: seq, Time: time.UnixMicro(seq), User: "u", Update: update(seq)}
		o.shard.Append(entry, func(err error) {
			defer o.wait.Done()
			o.mu.Lock()
			defer o.mu.Unlock()
			if err == nil {
				o.acked[seq] = true
			}
		})
	}
}

// acknowledged waits until everything that was appended is acknowledged.
func (o *owner) acknowledged() {
	o.t.Helper()
	await(o.t, "all operations to be acknowledged", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return int64(len(o.acked)) == o.last
	})
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// holds checks that a document has every acknowledged operation of the owners.
func holds(t *testing.T, shard storage.Shard, owners ...*owner) {
	t.Helper()
	loaded, err := shard.Load(t.Context(), document)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	var updates []string
	for i, e := range loaded.Tail {
		if e.Seq != int64(i)+1 {
			t.Fatalf("operation %d has number %d", i+1, e.Seq)
		}
		updates = append(updates, string(e.Update))
	}
	for _, o := range owners {
		o.mu.Lock()
		for seq := range o.acked {
			if !slices.Contains(updates, string(update(seq))) {
				t.Errorf("operation %d was acknowledged and is lost", seq)
			}
		}
		o.mu.Unlock()
	}
}

func TestAnAcknowledgedOperationSurvivesTheOwnersCrash(t *testing.T) {
	for _, durability := range []durable.Durability{durable.Redis, durable.Postgres} {
		t.Run(string(durability), func(t *testing.T) {
			s := start(t)
			first := s.own(1, "a", durable.Options{Durability: durability})
			first.append(500)
			first.acknowledged()
			first.append(50)
			first.crash()
			second := s.own(2, "b", durable.Options{Durability: durability})
			holds(t, second.shard, first)
		})
	}
}

func TestAFencedOwnerAcknowledgesNothing(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(10)
	first.acknowledged()
	second := s.own(2, "b", durable.Options{})
	refused := make(chan error, 1)
	late := storage.Entry{Document: document, Seq: 11, Update: []byte("late")}
	first.shard.Append(late, func(err error) { refused <- err })
	if err := <-refused; !errors.Is(err, storage.ErrFenced) {
		t.Errorf("a fenced owner's operation ended with %v", err)
	}
	<-first.shard.Fenced()
	err := first.shard.WriteSnapshot(t.Context(), document, storage.Snapshot{Seq: 10, State: []byte("old")})
	if !errors.Is(err, storage.ErrFenced) {
		t.Errorf("a fenced owner's snapshot ended with %v", err)
	}
	if _, err := first.store.Open(t.Context(), 1, 1, "a"); !errors.Is(err, storage.ErrFenced) {
		t.Errorf("a fenced owner's opening ended with %v", err)
	}
	holds(t, second.shard, first)
}

func TestTwoOwnersOfOneEpochExcludeEachOther(t *testing.T) {
	s := start(t)
	s.own(1, "a", durable.Options{})
	other := durable.New(durable.Options{Redis: s.client, Postgres: s.pool})
	if _, err := other.Open(t.Context(), 1, 1, "b"); !errors.Is(err, storage.ErrFenced) {
		t.Errorf("another owner at the same epoch was answered with %v", err)
	}
}

func TestTheSameOwnerContinuesItsEpoch(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(20)
	first.acknowledged()
	first.crash()
	again := s.own(1, "a", durable.Options{})
	holds(t, again.shard, first)
	again.last = 20
	again.append(20)
	await(t, "the new operations", func() bool {
		again.mu.Lock()
		defer again.mu.Unlock()
		return len(again.acked) == 20
	})
	holds(t, again.shard, first, again)
	again.crash()
	holds(t, s.own(2, "b", durable.Options{}).shard, first, again)
}

func TestOperationsAreAcknowledgedWhileRedisIsDown(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(50)
	first.acknowledged()
	s.redis.Kill()
	first.append(50)
	first.acknowledged()
	s.redis.Start()
	first.append(50)
	first.acknowledged()
	first.crash()
	holds(t, s.own(2, "b", durable.Options{}).shard, first)
}

func TestALogThatWasLostIsWrittenAgain(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	s.postgres.Freeze() // So that only Redis has the operations.
	first.append(50)
	first.acknowledged()
	if err := s.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	first.append(1)
	s.postgres.Thaw() // The epoch that Redis lost is fenced again only when PostgreSQL has confirmed it.
	first.acknowledged()
	first.crash()
	holds(t, s.own(2, "b", durable.Options{}).shard, first)
}

func TestOperationsAreAcknowledgedWhilePostgresIsDown(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	s.postgres.Kill()
	first.append(500)
	first.acknowledged()
	s.postgres.Start()
	await(t, "the log to be drained", func() bool { return first.store.Buffered() == 0 })
	holds(t, first.shard, first)
	await(t, "the log to be trimmed", func() bool {
		n, err := s.client.XLen(t.Context(), "collab:{1}:log").Result()
		return err == nil && n == 0
	})
}

func TestAFullBufferRefusesOperations(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{BufferBytes: 2000})
	s.postgres.Kill()
	first.append(200)
	await(t, "the first operations", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return len(first.acked) > 0
	})
	refused := make(chan error, 1)
	first.shard.Append(storage.Entry{Document: document, Seq: 201, Update: make([]byte, 2000)},
		func(err error) { refused <- err })
	if err := <-refused; !errors.Is(err, storage.ErrOverloaded) {
		t.Errorf("a full buffer answered %v", err)
	}
	s.postgres.Start()
	await(t, "the buffer to be drained", func() bool { return first.store.Buffered() == 0 })
}

func TestASnapshotShortensWhatIsLoaded(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(30)
	first.acknowledged()
	want := storage.Snapshot{Seq: 20, Time: time.UnixMicro(20).UTC(), State: []byte("state")}
	if err := first.shard.WriteSnapshot(t.Context(), document, want); err != nil {
		t.Fatal(err)
	}
	older := storage.Snapshot{Seq: 10, State: []byte("older")}
	if err := first.shard.WriteSnapshot(t.Context(), document, older); err != nil {
		t.Fatal(err)
	}
	loaded, err := first.shard.Load(t.Context(), document)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Snapshot == nil || loaded.Snapshot.Seq != 20 || string(loaded.Snapshot.State) != "state" {
		t.Errorf("the snapshot is %+v", loaded.Snapshot)
	}
	if len(loaded.Tail) != 10 || loaded.Tail[0].Seq != 21 || loaded.LastSeq() != 30 {
		t.Errorf("%d operations follow the snapshot, the last is %d", len(loaded.Tail), loaded.LastSeq())
	}
}

func TestMigrationsRunOnceHoweverManyStart(t *testing.T) {
	_, pool := stores.StartPostgres(t)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if err := durable.Migrate(t.Context(), pool); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func BenchmarkAppend(b *testing.B) {
	_, client := stores.StartRedis(b)
	_, pool := stores.StartPostgres(b)
	if err := durable.Migrate(b.Context(), pool); err != nil {
		b.Fatal(err)
	}
	store := durable.New(durable.Options{Redis: client, Postgres: pool, Logger: slog.New(slog.DiscardHandler)})
	defer func() { _ = store.Close(context.Background()) }()
	shard, err := store.Open(b.Context(), 1, 1, "a")
	if err != nil {
		b.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range b.N {
		wait.Add(1)
		shard.Append(storage.Entry{Document: document, Seq: int64(i) + 1, Update: make([]byte, 100)}, func(err error) {
			if err != nil {
				b.Error(err)
			}
			wait.Done()
		})
	}
	wait.Wait()
}
