// Package durable makes documents durable: it appends operations to a log in Redis, acknowledges them, and drains them
// to PostgreSQL in batches. It implements package storage and knows nothing of sockets or of Yjs.
//
// What it guarantees, and how:
//   - An operation is acknowledged when Redis has appended it (or, by Durability, when a replica has received it or
//     PostgreSQL has committed it). It stays in memory until PostgreSQL has it, so that a log that was lost in a
//     fail-over of Redis is written again. While Redis is down, PostgreSQL is written to directly; while PostgreSQL is
//     down, the log grows up to a bound.
//   - Everything is fenced by the shard's epoch, whose authority is PostgreSQL. Opening a shard raises the epoch there
//     first, then in Redis, and then reads what former owners left in the log. It needs both.
//   - The log is trimmed only of what PostgreSQL has. A Redis that lost the epoch in a fail-over is fenced again, and
//     what a former owner appended meanwhile is read, before anything is appended or trimmed.
package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

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

// defaultBuffer is a minute of 10,000 operations a second of 200 bytes.
const defaultBuffer = 128 << 20

// Options are what a Store needs.
type Options struct {
	// Redis is the client of the log. The Store does not close it. Required.
	Redis redis.UniversalClient
	// Postgres is the pool of the database, whose schema Migrate makes. The Store does not close it. Required.
	Postgres *pgxpool.Pool
	// Durability is Redis if it is empty.
	Durability Durability
	// BufferBytes bounds what is held in memory because PostgreSQL lacks it, over all shards; 128 MiB if it is 0.
	BufferBytes int64
	// Logger is slog.Default if it is nil.
	Logger *slog.Logger
}

// Store opens shards. It is safe for concurrent use.
type Store struct {
	log        redisLog
	database   database
	durability Durability
	logger     *slog.Logger
	limit      int64
	buffered   atomic.Int64

	mu     sync.Mutex
	closed bool
	open   map[*shard]struct{}
}

// New makes a Store. It connects to nothing yet.
func New(options Options) *Store {
	s := &Store{
		log:        redisLog{client: options.Redis, replicated: options.Durability == RedisReplicated},
		database:   database{options.Postgres},
		durability: options.Durability,
		logger:     options.Logger,
		limit:      options.BufferBytes,
		open:       map[*shard]struct{}{},
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	if s.limit == 0 {
		s.limit = defaultBuffer
	}
	return s
}

// Buffered is the size, in bytes, of the operations that PostgreSQL does not have yet.
func (s *Store) Buffered() int64 { return s.buffered.Load() }

// Open implements storage.Store. It fails while Redis or PostgreSQL is down.
func (s *Store) Open(ctx context.Context, number int32, epoch int64, owner string) (storage.Shard, error) {
	if err := s.database.raise(ctx, number, epoch, owner); err != nil {
		return nil, err
	}
	opened := newShard(s, number, epoch)
	if err := opened.fence(ctx, 0); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, storage.ErrClosed
	}
	s.open[opened] = struct{}{}
	opened.start()
	return opened, nil
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
				errs[i] = fmt.Errorf("close shard %d: %w", opened.number, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (s *Store) forget(closed *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, closed)
}
