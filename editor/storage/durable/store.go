// Package durable makes documents durable: it appends operations to a log in Redis, acknowledges them, and drains them
// to PostgreSQL in batches. It implements package storage and knows nothing of sockets or of Yjs.
//
// What it guarantees, and how:
//   - An operation is acknowledged when Redis has appended it (or, by Durability, when a replica has received it or
//     PostgreSQL has committed it). It stays in memory until PostgreSQL has it, so that a log that was lost in a
//     fail-over of Redis is written again. While Redis is down, PostgreSQL is written to directly; while PostgreSQL is
//     down, the log grows up to a bound.
//   - Everything is fenced by the shard's epoch, whose authority is PostgreSQL. Opening a shard raises the epoch there
//     first, and gets a term there that no other opening has; then it raises the term in Redis, and reads what former
//     owners left in the log. While Redis is down, a shard is opened without that, and it is made up for later.
//   - The log is trimmed only of what PostgreSQL has. A Redis that lost the term in a fail-over is fenced again, and
//     what a former owner appended meanwhile is read, before anything is appended or trimmed.
//
// Who does what: each open shard has a writer, which appends to the log. The Store has one drainer, which commits what
// all shards have in common transactions, and one janitor, which looks after the partitions and the history. Whoever
// waits for operations is told by a goroutine that each shard starts when there is something to tell.
package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"collab.dev/operator/editor/storage"
)

// Durability says what an acknowledgement waits for.
type Durability string

const (
	// Redis waits for the Redis primary.
	Redis Durability = "Redis"
	// RedisReplicated waits for a Redis replica, or for PostgreSQL, whichever is first.
	RedisReplicated Durability = "RedisReplicated"
	// Postgres waits for PostgreSQL.
	Postgres Durability = "Postgres"
)

const (
	// defaultBuffer is a minute of 10,000 operations a second of 200 bytes.
	defaultBuffer = 128 << 20
	defaultShards = 256
)

// pauses are how long the Store waits.
type pauses struct {
	// drain is how long operations gather before they are drained, so that PostgreSQL sees batches.
	drain time.Duration
	// redis is how long Redis is left alone after it failed, while PostgreSQL is written to directly, and database how
	// long PostgreSQL is.
	redis, database time.Duration
	// trim is how long the log of a shard that nothing is appended to stays untrimmed: appends trim it themselves.
	trim time.Duration
}

// Options are what a Store needs.
type Options struct {
	// Redis is the client of the log. The Store does not close it. Required.
	Redis redis.UniversalClient
	// Postgres is the pool of the database, whose schema Migrate makes. It should be made with Configure. The Store
	// does not close it. Required.
	Postgres *pgxpool.Pool
	// Durability is Redis if it is empty.
	Durability Durability
	// Shards is the number of shards that documents are hashed to, a power of two; 256 if it is 0.
	Shards int32
	// BufferBytes bounds what is held in memory because PostgreSQL lacks it, over all shards; 128 MiB if it is 0.
	BufferBytes int64
	// History says how much of the past is kept.
	History storage.History
	// Now tells the time of records and of the retention; time.Now if it is nil.
	Now func() time.Time
	// Metrics takes what is measured. Optional.
	Metrics *storage.Metrics
	// Logger is slog.Default if it is nil.
	Logger *slog.Logger

	// pauses are shorter in tests that wait for many of them.
	pauses *pauses
}

// Store opens shards. It is safe for concurrent use.
type Store struct {
	log        redisLog
	database   database
	durability Durability
	shards     int32
	now        func() time.Time
	metrics    *storage.Metrics
	logger     *slog.Logger
	limit      int64
	buffered   atomic.Int64
	pauses     pauses
	feed       feed

	// run starts the drainer and the janitor, with the first shard. stop ends them. wake tells the drainer of operations,
	// hurry that somebody waits for them to be in PostgreSQL.
	run     sync.Once
	running context.Context //nolint:containedctx // It ends with the Store.
	stop    context.CancelFunc
	wait    sync.WaitGroup
	wake    chan struct{}
	hurry   chan struct{}

	mu     sync.Mutex
	closed bool
	open   map[*shard]struct{}
}

// New makes a Store. It connects to nothing yet.
func New(options Options) *Store {
	s := &Store{
		log:        redisLog{client: options.Redis, replicated: options.Durability == RedisReplicated},
		database:   database{options.Postgres, options.History.WithDefaults()},
		durability: options.Durability,
		shards:     options.Shards,
		now:        options.Now,
		metrics:    options.Metrics,
		logger:     options.Logger,
		limit:      options.BufferBytes,
		wake:       make(chan struct{}, 1),
		hurry:      make(chan struct{}, 1),
		open:       map[*shard]struct{}{},
		feed:       feed{wake: make(chan struct{}, 1), wanted: map[string]map[*subscription]struct{}{}},
	}
	s.pauses = pauses{drain: 100 * time.Millisecond, redis: 500 * time.Millisecond, database: 250 * time.Millisecond,
		trim: time.Second}
	if options.pauses != nil {
		s.pauses = *options.pauses
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if s.limit == 0 {
		s.limit = defaultBuffer
	}
	if s.shards == 0 {
		s.shards = defaultShards
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.running, s.stop = context.WithCancel(context.Background())
	return s
}

// Buffered is the size, in bytes, of the operations that PostgreSQL does not have yet.
func (s *Store) Buffered() int64 { return s.buffered.Load() }

// Catalog returns the catalogue of all documents.
func (s *Store) Catalog() storage.Catalog { return catalog{s.database, s.shards, s.now} }

// Open implements storage.Store. It fails while PostgreSQL is down. While Redis is down the shard is opened without
// what a former owner may have left in the log: that is found later, as storage.Finder says.
func (s *Store) Open(ctx context.Context, number int32, epoch int64, owner string) (storage.Shard, error) {
	start := time.Now()
	opened, err := s.fenced(ctx, number, epoch, owner)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	s.run.Do(func() {
		s.wait.Go(func() { s.drain(s.running) })
		s.wait.Go(func() { s.tidy(s.running) })
	})
	s.open[opened] = struct{}{}
	opened.start()
	s.metrics.Opened(time.Since(start), !opened.synced.Load())
	return opened, nil
}

// fenced makes a shard that all lower epochs and former openings are fenced out of.
func (s *Store) fenced(ctx context.Context, number int32, epoch int64, owner string) (*shard, error) {
	var least int64
	for {
		lease, err := s.database.raise(ctx, number, epoch, owner, least)
		if err != nil {
			return nil, err
		}
		opened := newShard(s, lease)
		var ahead fencedError
		switch err := opened.sync(ctx); {
		case err == nil:
			return opened, nil
		case errors.As(err, &ahead):
			// PostgreSQL decides. A higher term in Redis is either that of a newer opening, and then PostgreSQL refuses
			// the next attempt or that opening is fenced in its turn; or PostgreSQL was restored from a backup.
			least = ahead.term + 1
		case errors.As(err, new(redisError)) && ctx.Err() == nil:
			opened.setRedisDown(true, err)
			return opened, nil
		default:
			return nil, err
		}
	}
}

// Close implements storage.Store.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	var shards []*shard
	for opened := range s.open {
		shards = append(shards, opened)
	}
	s.mu.Unlock()

	errs := make([]error, len(shards))
	var wait sync.WaitGroup
	for i, opened := range shards {
		wait.Go(func() {
			if err := opened.Close(ctx); err != nil && !errors.Is(err, storage.ErrFenced) {
				errs[i] = fmt.Errorf("close shard %d: %w", opened.lease.shard, err)
			}
		})
	}
	wait.Wait()
	s.stop()
	s.wait.Wait()
	return errors.Join(errs...)
}

func (s *Store) forget(closed *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, closed)
}

// count adds to what is buffered, or takes from it.
func (s *Store) count(items []*item, sign int) {
	var bytes int64
	for _, i := range items {
		bytes += int64(len(i.record))
	}
	s.buffered.Add(int64(sign) * bytes)
	s.metrics.Buffered(sign*len(items), int64(sign)*bytes)
}
