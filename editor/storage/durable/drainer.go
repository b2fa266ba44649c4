package durable

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"collab.dev/operator/editor/storage"
)

const (
	// batchSize and batchBytes bound what is committed to PostgreSQL at once.
	batchSize  = 2000
	batchBytes = 4 << 20
)

// share is what one shard has in a batch.
type share struct {
	shard *shard
	items []*item
}

// drain is the drainer: it commits what the shards have to PostgreSQL until ctx ends.
func (s *Store) drain(ctx context.Context) {
	healthy := true
	for turn := 0; ctx.Err() == nil; turn++ {
		shares, hurry := s.gather(turn)
		if len(shares) == 0 {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if !hurry {
			s.lull(ctx)
			shares, _ = s.gather(turn)
		}
		err := s.commit(ctx, shares)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.metrics.Failed("postgres")
			if healthy {
				s.logger.Warn("PostgreSQL does not take operations; keeping them in the log", "error", err)
			}
			healthy = false
			pause(ctx, s.pauses.database)
		case !healthy:
			s.logger.Info("PostgreSQL takes operations again")
			healthy = true
		}
	}
}

// lull waits while operations gather, unless somebody waits for PostgreSQL.
func (s *Store) lull(ctx context.Context) {
	timer := time.NewTimer(s.pauses.drain)
	defer timer.Stop()
	select {
	case <-s.hurry:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// gather takes the next batch, fairly from all shards, and says whether somebody waits for it.
func (s *Store) gather(turn int) (shares []share, hurry bool) {
	s.mu.Lock()
	shards := make([]*shard, 0, len(s.open))
	for opened := range s.open {
		shards = append(shards, opened)
	}
	s.mu.Unlock()
	slices.SortFunc(shards, func(a, b *shard) int { return int(a.lease.shard) - int(b.lease.shard) })
	operations, bytes := batchSize, batchBytes
	for i := range shards {
		opened := shards[(i+turn)%len(shards)]
		items, waits := opened.undrained(operations, bytes)
		hurry = hurry || waits && len(items) > 0
		if len(items) == 0 {
			continue
		}
		shares = append(shares, share{opened, items})
		operations -= len(items)
		for _, i := range items {
			bytes -= len(i.record)
		}
		if operations <= 0 || bytes <= 0 {
			return shares, true
		}
	}
	return shares, hurry
}

// commit stores the shares and tells their shards. What PostgreSQL refuses for what it is does not keep the others from
// being stored.
func (s *Store) commit(ctx context.Context, shares []share) error {
	start := time.Now()
	portions := make([]portion, len(shares))
	operations := 0
	for i, share := range shares {
		portions[i].lease = share.shard.lease
		for _, item := range share.items {
			portions[i].entries = append(portions[i].entries, item.entry)
		}
		operations += len(share.items)
	}
	fenced, err := s.database.insert(ctx, portions)
	if len(shares) > 1 && refused(err) {
		errs := make([]error, len(shares))
		for i := range shares {
			errs[i] = s.commit(ctx, shares[i:i+1])
		}
		return errors.Join(errs...)
	}
	if err != nil {
		return err
	}
	s.metrics.Drained(time.Since(start), operations)
	for _, share := range shares {
		if fenced[share.shard.lease] {
			share.shard.end(storage.ErrFenced)
		} else {
			share.shard.stored(share.items)
		}
	}
	return nil
}

// refused says whether PostgreSQL refused data for what they are.
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && len(e.Code) == 5 && (e.Code[:2] == "22" || e.Code[:2] == "23")
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
