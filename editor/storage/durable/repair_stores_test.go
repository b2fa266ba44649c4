//go:build stores

package durable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/durable"
	"collab.dev/operator/editor/storage/internal/record"
	"collab.dev/operator/test/stores"
)

// outdated collects the names of outdated documents.
type outdated struct {
	mu    sync.Mutex
	names []string
}

func (o *outdated) add(document string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names = append(o.names, document)
}

func (o *outdated) has(document string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range o.names {
		if name == document {
			return true
		}
	}
	return false
}

func TestAShardOpensWhileRedisIsDown(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(5)
	first.acknowledged()
	await(t, "the log to be drained", func() bool { return first.store.Buffered() == 0 })
	first.crash()
	// Something that only the log has.
	tail := record.Encode(storage.Entry{Document: document, Seq: 6, Time: time.UnixMicro(6), Update: update(6)})
	if err := s.client.Do(t.Context(), "XADD", "collab:{1}:log", "1-1000", "r", tail).Err(); err != nil {
		t.Fatal(err)
	}
	s.redis.Kill()

	metrics := prometheus.NewRegistry()
	second := s.own(2, "b", durable.Options{Metrics: storage.NewMetrics(metrics)})
	loaded, err := second.shard.Load(t.Context(), document)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.LastSeq() != 5 {
		t.Fatalf("the last operation is %d", loaded.LastSeq())
	}
	var wait sync.WaitGroup
	appendAnother := func(seq int64) {
		wait.Add(1)
		e := storage.Entry{Document: document, Seq: seq, Time: time.UnixMicro(seq), Update: fmt.Appendf(nil, "other %d", seq)}
		second.shard.Append(e, func(err error) {
			defer wait.Done()
			if err != nil {
				t.Errorf("append operation %d: %v", seq, err)
			}
		})
	}
	for seq := int64(6); seq <= 10; seq++ {
		appendAnother(seq)
	}
	wait.Wait() // PostgreSQL has them.
	var told outdated
	second.shard.(storage.Finder).OnOutdated(told.add)
	s.redis.Start()
	await(t, "the document to be outdated", func() bool { return told.has(document) })
	err = second.shard.WriteSnapshot(t.Context(), document, storage.Snapshot{Seq: 10, State: []byte("lacking")})
	if !errors.Is(err, storage.ErrOutdated) {
		t.Errorf("an outdated document's snapshot ended with %v", err)
	}
	appendAnother(11)
	wait.Wait()
	loaded, err = second.shard.Load(t.Context(), document)
	if err != nil || loaded.LastSeq() != 12 || len(loaded.Tail) != 12 {
		t.Errorf("%d operations, the last is %d, %v", len(loaded.Tail), loaded.LastSeq(), err)
	}
	holds(t, second.shard, first)
	snapshot := storage.Snapshot{Seq: 12, Time: time.UnixMicro(1), State: []byte("whole")}
	if err := second.shard.WriteSnapshot(t.Context(), document, snapshot); err != nil {
		t.Errorf("the snapshot of the document that was loaded again: %v", err)
	}
	if n := counter(t, metrics, "collab_editor_storage_degraded_opens_total"); n != 1 {
		t.Errorf("%v opens are counted as degraded", n)
	}
}

func TestAFencedOwnerOffersWhatItHolds(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	s.postgres.Freeze() // So that only Redis has the operations.
	first.append(3)
	first.acknowledged()
	if left := first.shard.(storage.Leaver).Unflushed(); len(left) != 0 {
		t.Errorf("an owner that is not fenced offers %d operations", len(left))
	}
	if err := s.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	// A raise of another owner that PostgreSQL does before anything that the first sends.
	network := &stores.Network{}
	s.postgres.Thaw()
	pool := network.Postgres(t, s.postgres)
	defer pool.Close()
	other := durable.New(durable.Options{Redis: s.client, Postgres: pool})
	opened, err := other.Open(t.Context(), 1, 2, "b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close(context.Background()) }()
	first.append(1)
	<-first.shard.Fenced()
	left := first.shard.(storage.Leaver).Unflushed()
	loaded, err := opened.Load(t.Context(), document)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, e := range append(left, loaded.Tail...) {
		known[string(e.Update)] = true
	}
	for seq := int64(1); seq <= 3; seq++ {
		if !known[string(update(seq))] {
			t.Errorf("operation %d is neither stored nor offered", seq)
		}
	}
}

func TestAFormerOwnersLateAppendIsRead(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(5)
	first.acknowledged()
	await(t, "the log to be drained", func() bool { return first.store.Buffered() == 0 })
	state, err := s.client.Dump(t.Context(), "collab:{1}:state").Result()
	if err != nil {
		t.Fatal(err)
	}
	network := &stores.Network{} // Of the second owner, which is cut off from Redis after it has fenced.
	client := network.Redis(s.redis)
	defer func() { _ = client.Close() }()
	other := durable.New(durable.Options{Redis: client, Postgres: s.pool})
	second, err := other.Open(t.Context(), 1, 2, "b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close(context.Background()) }()
	loaded, err := second.Load(t.Context(), document)
	if err != nil || loaded.LastSeq() != 5 {
		t.Fatalf("%d operations, %v", loaded.LastSeq(), err)
	}
	// A fail-over loses the raise, PostgreSQL is slow, and the former owner appends once more.
	s.postgres.Freeze()
	if err := s.client.RestoreReplace(t.Context(), "collab:{1}:state", 0, state).Err(); err != nil {
		t.Fatal(err)
	}
	first.append(1)
	first.acknowledged()
	s.postgres.Thaw()
	<-first.shard.Fenced()
	var told outdated
	second.(storage.Finder).OnOutdated(told.add)
	done := make(chan error, 1)
	second.Append(storage.Entry{Document: document, Seq: 6, Time: time.UnixMicro(7), Update: []byte("newer")},
		func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	await(t, "the document to be outdated", func() bool { return told.has(document) })
	holds(t, second, first)
	loaded, err = second.Load(t.Context(), document)
	if err != nil || loaded.LastSeq() != 7 || len(loaded.Tail) != 7 {
		t.Errorf("the document has %d operations, the last is %d, %v", len(loaded.Tail), loaded.LastSeq(), err)
	}
}

func TestWhatTheLogHasOfAPurgedDocumentIsDropped(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(1)
	first.acknowledged()
	await(t, "the log to be drained", func() bool { return first.store.Buffered() == 0 })
	s.postgres.Freeze() // So that only Redis has the rest.
	first.append(5)
	first.acknowledged()
	first.crash()
	s.postgres.Thaw()
	// What the catalogue does of a document in its own shard, which this one's is not.
	if _, err := s.pool.Exec(t.Context(),
		`UPDATE documents SET purged = now(), deleted = now(); DELETE FROM operations`); err != nil {
		t.Fatal(err)
	}
	second := s.own(2, "b", durable.Options{})
	if _, err := second.shard.Load(t.Context(), document); !errors.Is(err, storage.ErrDeleted) {
		t.Errorf("loading a purged document: %v", err)
	}
	if n := count(t, s.pool, `SELECT count(*) FROM operations`); n != 0 {
		t.Errorf("%d operations are there", n)
	}
}

func TestTheLogKeepsNothingOfADocumentThatWasFlushed(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(50)
	if err := first.shard.(storage.Flusher).Flush(t.Context(), document); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s.pool, `SELECT count(*) FROM operations`); n != 50 {
		t.Errorf("PostgreSQL has %d operations", n)
	}
	if n, err := s.client.XLen(t.Context(), "collab:{1}:log").Result(); err != nil || n != 0 {
		t.Errorf("the log has %d records, %v", n, err)
	}
	s.postgres.Freeze()
	first.append(1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := first.shard.(storage.Flusher).Flush(ctx, document); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flushing to a database that does not answer ended with %v", err)
	}
	s.postgres.Thaw()
	first.acknowledged()
}

func TestASnapshotSaysThatTheDatabaseIsDown(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(1)
	first.acknowledged()
	s.postgres.Kill()
	err := first.shard.WriteSnapshot(t.Context(), document, storage.Snapshot{Seq: 1, State: []byte("state")})
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the snapshot ended with %v", err)
	}
	s.postgres.Start()
}

func TestRecordsThatCannotBeReadArePutAside(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	first.append(3)
	first.acknowledged()
	first.crash()
	for i, bad := range []string{"", "\x07future", "\x01\x00"} {
		err := s.client.Do(t.Context(), "XADD", "collab:{1}:log", fmt.Sprintf("1-%d", 1000+i), "r", bad).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	second := s.own(2, "b", durable.Options{})
	holds(t, second.shard, first)
	rows, err := s.pool.Query(t.Context(), `SELECT id || ' ' || encode(record, 'hex') FROM quarantine ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if want := "1-1000 ,1-1001 07667574757265,1-1002 0100"; err != nil || strings.Join(got, ",") != want {
		t.Errorf("in quarantine is %q, %v", got, err)
	}
}

func TestOneShardsDataDoNotHoldUpAnother(t *testing.T) {
	s := start(t)
	store := durable.New(durable.Options{Redis: s.client, Postgres: s.pool})
	defer func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = store.Close(ctx)
	}()
	if _, err := s.pool.Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '22000'; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON operations FOR EACH ROW WHEN (NEW.user_name = 'poison')
			EXECUTE FUNCTION refuse()`); err != nil {
		t.Fatal(err)
	}
	for shard := range int32(3) {
		opened, err := store.Open(t.Context(), shard, 1, "a")
		if err != nil {
			t.Fatal(err)
		}
		user := "u"
		if shard == 1 {
			user = "poison"
		}
		name := fmt.Sprintf("org/%d", shard)
		opened.Append(storage.Entry{Document: name, Seq: 1, Time: time.UnixMicro(1), User: user}, func(error) {})
	}
	await(t, "the other shards to be drained", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM operations`).Scan(&n)
		return err == nil && n == 2
	})
}

func TestReplicatedOperationsAreAcknowledgedByAReplica(t *testing.T) {
	s := start(t)
	replica, client := s.replicate()
	first := s.own(1, "a", durable.Options{Durability: durable.RedisReplicated})
	first.append(1)
	first.acknowledged()
	s.postgres.Freeze()
	first.append(50)
	first.acknowledged()
	if n, err := client.XLen(t.Context(), "collab:{1}:log").Result(); err != nil || n < 50 {
		t.Errorf("the replica has %d records, %v", n, err)
	}
	replica.Kill()
	first.append(1)
	await(t, "the log to have the last operation", func() bool {
		n, err := s.client.XLen(t.Context(), "collab:{1}:log").Result()
		return err == nil && n >= 51
	})
	first.mu.Lock()
	acked := first.acked[first.last]
	first.mu.Unlock()
	if acked {
		t.Error("an operation was acknowledged that no replica and no database has")
	}
	s.postgres.Thaw()
	first.acknowledged()
}

func TestPublishedOperationsReachAllSubscribers(t *testing.T) {
	s := start(t)
	first := s.own(1, "a", durable.Options{})
	reader := durable.New(durable.Options{Redis: s.client, Postgres: s.pool})
	defer func() { _ = reader.Close(context.Background()) }()
	type subscriber struct {
		mu    sync.Mutex
		taken []string
		lost  int
	}
	var subscribers [3]subscriber
	var stops []func()
	losses := func(i int) int {
		subscribers[i].mu.Lock()
		defer subscribers[i].mu.Unlock()
		return subscribers[i].lost
	}
	for i := range subscribers {
		to := &subscribers[i]
		stops = append(stops, reader.Subscribe(document, func(e storage.Entry) {
			to.mu.Lock()
			defer to.mu.Unlock()
			to.taken = append(to.taken, string(e.Update))
		}, func() {
			to.mu.Lock()
			defer to.mu.Unlock()
			to.lost++
		}))
		await(t, "the subscription to stand", func() bool { return losses(i) > 0 })
	}
	publish := func(seq int64) {
		done := make(chan error, 1)
		first.shard.Append(storage.Entry{
			Document: document, Seq: seq, Time: time.UnixMicro(seq), Update: update(seq), Publish: true,
		}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	has := func(i int, seq int64) bool {
		subscribers[i].mu.Lock()
		defer subscribers[i].mu.Unlock()
		for _, got := range subscribers[i].taken {
			if got == string(update(seq)) {
				return true
			}
		}
		return false
	}
	publish(1)
	for i := range subscribers {
		await(t, "the operation to be published", func() bool { return has(i, 1) })
	}
	stops[2]()
	turns := make(chan bool, 10)
	publisher, ok := first.shard.(storage.Publisher)
	if !ok {
		t.Fatal("the shard does not say whether it publishes")
	}
	publisher.OnPublishing(func(works bool) { turns <- works })
	before := losses(0)
	s.redis.Kill()
	publish(2) // PostgreSQL takes it.
	if works := <-turns; works {
		t.Error("first it is said to publish")
	}
	s.redis.Start()
	await(t, "the subscribers to be told of the loss", func() bool { return losses(0) > before && losses(1) > 0 })
	before = losses(0)
	publish(3)
	await(t, "the operation to be published, or a loss", func() bool { return has(0, 3) || losses(0) > before })
	publish(4)
	await(t, "the operation to be published", func() bool { return has(0, 4) && has(1, 4) })
	if works := <-turns; !works {
		t.Error("it is not said to publish again")
	}
	if has(2, 4) {
		t.Error("a subscription that was stopped was told")
	}
	stops[0]()
	stops[1]()
}

// TestACommitThatNoStandbyHasIsNoneYet lets PostgreSQL commit without its synchronous standby, which it only warns of.
func TestACommitThatNoStandbyHasIsNoneYet(t *testing.T) {
	s := start(t)
	config, err := pgxpool.ParseConfig(s.postgres.Address)
	if err != nil {
		t.Fatal(err)
	}
	durable.Configure(config)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	store := durable.New(durable.Options{Redis: s.client, Postgres: pool, Durability: durable.Postgres})
	defer func() { _ = store.Close(context.Background()) }()
	opened, err := store.Open(t.Context(), 1, 1, "a")
	if err != nil {
		t.Fatal(err)
	}
	standby := func(name string) {
		for _, statement := range []string{
			`ALTER SYSTEM SET synchronous_standby_names = '` + name + `'`, `SELECT pg_reload_conf()`,
		} {
			if _, err := s.pool.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	standby("missing")
	await(t, "the setting", func() bool {
		var name string
		err := s.pool.QueryRow(t.Context(), `SHOW synchronous_standby_names`).Scan(&name)
		return err == nil && name == "missing"
	})
	acked := make(chan error, 1)
	opened.Append(storage.Entry{Document: document, Seq: 1, Time: time.UnixMicro(1), Update: update(1)},
		func(err error) { acked <- err })
	cancelled := 0
	await(t, "commits to be cut short", func() bool {
		rows, err := s.pool.Query(t.Context(),
			`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
		if err != nil {
			return false
		}
		done, err := pgx.CollectRows(rows, pgx.RowTo[bool])
		if err == nil {
			cancelled += len(done)
		}
		return cancelled >= 3
	})
	if n := count(t, s.pool, `SELECT count(*) FROM operations`); n != 1 {
		t.Errorf("%d operations are committed", n)
	}
	select {
	case err := <-acked:
		t.Errorf("an operation that no standby has was acknowledged: %v", err)
	default:
	}
	standby("")
	if err := <-acked; err != nil {
		t.Errorf("the operation ended with %v", err)
	}
}

func TestNothingIsAcknowledgedWhileBothAreDown(t *testing.T) {
	s := start(t)
	metrics := prometheus.NewRegistry()
	first := s.own(1, "a", durable.Options{BufferBytes: 3000, Metrics: storage.NewMetrics(metrics)})
	first.append(1)
	first.acknowledged()
	s.redis.Kill()
	s.postgres.Kill()
	first.append(500)
	await(t, "the buffer to be full", func() bool {
		return counter(t, metrics, "collab_editor_storage_refused_total") > 0
	})
	first.mu.Lock()
	acked := len(first.acked)
	first.mu.Unlock()
	if acked != 1 {
		t.Errorf("%d operations were acknowledged", acked-1)
	}
	if n := first.store.Buffered(); n > 3000+200 {
		t.Errorf("%d bytes are buffered", n)
	}
	s.redis.Start()
	first.wait.Wait() // Those that were taken are stored, the others refused.
	first.mu.Lock()
	acked = len(first.acked)
	first.mu.Unlock()
	if acked < 10 || acked > 200 {
		t.Errorf("%d operations were acknowledged in the end", acked)
	}
	s.postgres.Start()
	await(t, "the buffer to be drained", func() bool { return first.store.Buffered() == 0 })
	first.crash()
	holdsAll(t, s.own(2, "b", durable.Options{}).shard, first)
}

// holdsAll is holds for documents whose numbers have gaps, because operations were refused.
func holdsAll(t *testing.T, shard storage.Shard, o *owner) {
	t.Helper()
	loaded, err := shard.Load(t.Context(), document)
	if err != nil {
		t.Fatal(err)
	}
	known := map[int64]bool{}
	for _, e := range loaded.Tail {
		known[e.Seq] = true
	}
	for seq := range o.acked {
		if !known[seq] {
			t.Errorf("operation %d was acknowledged and is lost", seq)
		}
	}
}

// TestTablesCanBeDistributed checks what Citus demands of tables that are distributed by shard: the column is in the
// primary key and in every unique index.
func TestTablesCanBeDistributed(t *testing.T) {
	_, pool := stores.StartPostgres(t)
	if err := durable.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	rows, err := pool.Query(t.Context(), `
		SELECT c.relname::text, bool_or(coalesce(i.indisprimary, false)),
			bool_and(i.indexrelid IS NULL OR NOT i.indisunique OR EXISTS (
				SELECT FROM pg_attribute a
				WHERE a.attrelid = c.oid AND a.attname = 'shard' AND a.attnum = ANY (i.indkey::int2[]))),
			bool_or(EXISTS (
				SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'shard' AND a.attnotnull))
		FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'goose_db_version'
		GROUP BY c.relname`)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var primary, distributable, column bool
	tables := 0
	_, err = pgx.ForEachRow(rows, []any{&name, &primary, &distributable, &column}, func() error {
		tables++
		if !primary || !distributable || !column {
			t.Errorf("%s: a primary key: %t; unique indexes contain shard: %t; shard is not null: %t",
				name, primary, distributable, column)
		}
		return nil
	})
	if err != nil || tables < 8 {
		t.Errorf("%d tables, %v", tables, err)
	}
}

// TestAnOlderDatabaseIsMigrated checks that what the first schema held is found, and that later months get partitions.
func TestAnOlderDatabaseIsMigrated(t *testing.T) {
	s := start(t)
	if err := durable.MigrateTo(t.Context(), s.pool, 1); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for seq, at := range []time.Time{now.AddDate(-2, 0, 0), now, now.AddDate(0, 3, 0)} {
		_, err := s.pool.Exec(t.Context(), `
			INSERT INTO operations (shard, document, seq, epoch, time, user_name, update) VALUES (1, $1, $2, 1, $3, 'u', $4)`,
			document, seq+1, at, update(int64(seq)+1))
		if err != nil {
			t.Fatal(err)
		}
	}
	s.pool.Reset()
	if err := durable.Migrate(t.Context(), s.pool); err != nil {
		t.Fatal(err)
	}
	first := s.own(1, "a", durable.Options{})
	var last int64
	err := s.pool.QueryRow(t.Context(), `SELECT last_seq FROM documents WHERE document = $1`, document).Scan(&last)
	if err != nil || last != 3 {
		t.Errorf("the document's last operation is %d, %v", last, err)
	}
	if notices, err := first.store.Pending(t.Context(), 1, "", 10); err != nil || len(notices) != 0 {
		t.Errorf("the application is to be told of what was there before: %v, %v", notices, err)
	}
	later := durable.New(durable.Options{
		Redis: s.client, Postgres: s.pool, Now: func() time.Time { return now.AddDate(0, 2, 0) },
	})
	for range 2 {
		if err := later.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s.pool, `SELECT count(*) FROM operations_other`); n != 0 {
		t.Errorf("%d operations are in no month's partition", n)
	}
	loaded, err := first.shard.Load(t.Context(), document)
	if err != nil || len(loaded.Tail) != 3 {
		t.Errorf("%d operations, %v", len(loaded.Tail), err)
	}
	s.pool.Reset()
	if err := durable.MigrateTo(t.Context(), s.pool, 1); err != nil {
		t.Fatalf("back: %v", err)
	}
	if n := count(t, s.pool, `SELECT count(*) FROM operations`); n != 3 {
		t.Errorf("the first schema has %d operations again", n)
	}
}

func count(t *testing.T, pool *pgxpool.Pool, query string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// counter is the value of a counter without labels.
func counter(t *testing.T, metrics prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestTheEndOfALogThatWasLostIsWrittenAgain lets a fail-over lose the last records only, while PostgreSQL is down.
func TestTheEndOfALogThatWasLostIsWrittenAgain(t *testing.T) {
	s := start(t)
	first := s.launch(t, "a", durable.Redis)
	first.own(1, 1)
	first.postgres.Decide(func(int) stores.Fault { return stores.Refuse })
	appendAll := func(n int) {
		for range n {
			first.append("")
		}
		first.until("acknowledgements", first.settled)
	}
	w := &world{servers: s, shard: 1}
	appendAll(20)
	w.replicate()
	appendAll(30)
	w.failOver()
	appendAll(1) // It takes the lost ones with it.
	first.end(false)
	if len(first.acked) != 51 {
		t.Fatalf("%d operations were acknowledged", len(first.acked))
	}
	second := s.launch(t, "b", durable.Redis)
	defer second.end(true)
	second.own(1, 2)
	second.holds(first.acked)
}

// TestADatabaseFromABackupIsTheAuthority opens a shard in a database that knows less than Redis.
func TestADatabaseFromABackupIsTheAuthority(t *testing.T) {
	s := start(t)
	if err := s.client.HSet(t.Context(), "collab:{1}:state", "epoch", 1000).Err(); err != nil {
		t.Fatal(err)
	}
	first := s.own(2, "a", durable.Options{})
	first.append(10)
	first.acknowledged()
	if n := count(t, s.pool, `SELECT term FROM shards WHERE shard = 1`); n != 1001 {
		t.Errorf("the term is %d", n)
	}
	// The backup is from before the opening: nothing is written to it, and the shard is dropped.
	if _, err := s.pool.Exec(t.Context(), `TRUNCATE shards`); err != nil {
		t.Fatal(err)
	}
	first.append(1)
	<-first.shard.Fenced()
	holds(t, s.own(2, "a", durable.Options{}).shard, first)
}
