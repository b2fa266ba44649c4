package durable

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// tidyInterval is the time between two looks at the partitions and the history, tidyRetry that after a failure.
	tidyInterval = time.Hour
	tidyRetry    = time.Minute
	// tidyTimeout bounds one look.
	tidyTimeout = 10 * time.Minute
	// tidyLock is the advisory lock of whoever looks: "collab" in ASCII.
	tidyLock = 0x636f6c6c6162
	// partitionsAhead is how many months have a partition before they begin.
	partitionsAhead = 2
)

// tidy is the janitor: it looks after the partitions and the history, now and then until ctx ends.
func (s *Store) tidy(ctx context.Context) {
	// Not all processes at once after a rollout.
	next := time.Duration(rand.Int64N(int64(10 * time.Second))) //nolint:gosec // No secret.
	for {
		pause(ctx, next)
		if ctx.Err() != nil {
			return
		}
		next = tidyInterval
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			next = tidyRetry
			s.logger.Warn("The operations' partitions cannot be looked after; trying again", "in", next, "error", err)
		}
	}
}

// Tidy makes the partitions of the coming months and drops the history that is older than the retention. A Store does
// so by itself every hour. If another process is at it, Tidy does nothing.
func (s *Store) Tidy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tidyTimeout)
	defer cancel()
	return s.database.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		var mine bool
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(tidyLock)).Scan(&mine); err != nil || !mine {
			return err
		}
		defer func() {
			// A connection that cannot say so is closed, which frees the lock as well.
			freeing, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTimeout)
			defer cancel()
			if _, err := conn.Exec(freeing, `SELECT pg_advisory_unlock($1)`, int64(tidyLock)); err != nil {
				_ = conn.Conn().Close(freeing)
			}
		}()
		j := janitor{conn, s.now().UTC(), s.database.history.Retention}
		if err := j.makePartitions(ctx); err != nil {
			return err
		}
		dropped, err := j.dropPartitions(ctx)
		for _, name := range dropped {
			s.logger.Info("Dropped a partition of operations that is older than the history's retention", "table", name)
		}
		if err != nil {
			return err
		}
		present, err := j.partitions(ctx)
		if err != nil {
			return err
		}
		s.metrics.Partitions(len(present), len(dropped))
		return j.dropRest(ctx)
	})
}

// janitor is one look at the partitions.
type janitor struct {
	conn      *pgxpool.Conn
	now       time.Time
	retention time.Duration
}

// partition is one with an end; only the default one has none.
type partition struct {
	name string
	end  time.Time
}

// partitions are all with an end, oldest first.
func (j janitor) partitions(ctx context.Context) ([]partition, error) {
	rows, err := j.conn.Query(ctx, `
		SELECT name, upper FROM (
			SELECT c.relname::text AS name,
				(regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz AS upper
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
			WHERE i.inhparent = 'operations'::regclass
		) AS partition WHERE upper IS NOT NULL ORDER BY upper`)
	if err != nil {
		return nil, fmt.Errorf("list the partitions: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (partition, error) {
		var p partition
		err := row.Scan(&p.name, &p.end)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the partitions: %w", err)
	}
	return found, nil
}

// in runs a transaction that waits for no lock long: others would wait behind it.
func (j janitor) in(ctx context.Context, what string, do func(pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, j.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '2s'`); err != nil {
			return err
		}
		return do(tx)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// execute runs statements one after the other.
func execute(ctx context.Context, tx pgx.Tx, statements ...string) error {
	for _, statement := range statements {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// makePartitions makes those of the coming months.
func (j janitor) makePartitions(ctx context.Context) error {
	present, err := j.partitions(ctx)
	if err != nil {
		return err
	}
	from := month(j.now)
	if n := len(present); n > 0 {
		from = present[n-1].end.UTC()
	}
	for until := month(j.now).AddDate(0, partitionsAhead+1, 0); from.Before(until); {
		to := month(from).AddDate(0, 1, 0)
		name := fmt.Sprintf("operations_%04d_%02d", from.Year(), from.Month())
		const bound = "2006-01-02 15:04:05Z07:00"
		lower, upper := from.Format(bound), to.Format(bound)
		err := j.in(ctx, "make the partition "+name, func(tx pgx.Tx) error {
			return execute(ctx, tx,
				// What is in the default partition because of a clock that was ahead moves.
				`LOCK TABLE operations_other IN ACCESS EXCLUSIVE MODE`,
				`CREATE TABLE `+name+` (LIKE operations INCLUDING DEFAULTS)`,
				`WITH moved AS (DELETE FROM operations_other WHERE time >= '`+lower+`' AND time < '`+upper+`' RETURNING *)
				INSERT INTO `+name+` SELECT * FROM moved`,
				`ALTER TABLE operations ATTACH PARTITION `+name+` FOR VALUES FROM ('`+lower+`') TO ('`+upper+`')`)
		})
		if err != nil {
			return err
		}
		from = to
	}
	return nil
}

// month is the beginning of a time's month.
func month(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) }

// dropPartitions drops those that are older than the retention, and returns their names. Operations that no snapshot
// contains are moved to the default partition first.
func (j janitor) dropPartitions(ctx context.Context) (dropped []string, err error) {
	present, err := j.partitions(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range present {
		if p.end.After(j.now.Add(-j.retention)) {
			break
		}
		if err := j.drop(ctx, p); err != nil {
			return dropped, err
		}
		dropped = append(dropped, p.name)
	}
	return dropped, nil
}

func (j janitor) drop(ctx context.Context, p partition) error {
	table := pgx.Identifier{p.name}.Sanitize()
	// First, that the history ends here, shard by shard: drains of the same documents wait for these rows.
	rows, err := j.conn.Query(ctx, `SELECT DISTINCT shard FROM `+table)
	if err != nil {
		return fmt.Errorf("read the partition %s: %w", p.name, err)
	}
	shards, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return fmt.Errorf("read the partition %s: %w", p.name, err)
	}
	for _, shard := range shards {
		_, err := j.conn.Exec(ctx, `
			UPDATE documents d SET dropped = gone.seq
			FROM (
				SELECT o.document, max(o.seq) AS seq FROM `+table+` o JOIN snapshots s USING (shard, document)
				WHERE shard = $1 AND o.seq <= s.seq GROUP BY o.document
			) AS gone
			WHERE d.shard = $1 AND d.document = gone.document AND d.dropped < gone.seq`, shard)
		if err != nil {
			return fmt.Errorf("end the history before the partition %s: %w", p.name, err)
		}
	}
	// Nobody writes to so old a partition but who adopts what was forgotten in a log: that waits. All others wait from
	// the detaching on only.
	return j.in(ctx, "drop the partition "+p.name, func(tx pgx.Tx) error {
		return execute(ctx, tx,
			`LOCK TABLE `+table+` IN SHARE MODE`,
			`CREATE TEMPORARY TABLE kept ON COMMIT DROP AS
				SELECT o.* FROM `+table+` o LEFT JOIN snapshots s USING (shard, document)
				WHERE s.seq IS NULL OR o.seq > s.seq`,
			`ALTER TABLE operations DETACH PARTITION `+table,
			`INSERT INTO operations SELECT * FROM kept`,
			`DROP TABLE `+table)
	})
}

// dropRest drops what dropped partitions left, now that snapshots contain it, bases from which nothing can be replayed
// anymore, and what is left of documents that were purged long ago.
func (j janitor) dropRest(ctx context.Context) error {
	_, err := j.conn.Exec(ctx, `
		WITH gone AS (
			DELETE FROM operations_other o USING snapshots s
			WHERE o.shard = s.shard AND o.document = s.document AND o.seq <= s.seq AND o.time < $1
			RETURNING o.shard, o.document, o.seq
		)
		UPDATE documents d SET dropped = last.seq
		FROM (SELECT shard, document, max(seq) AS seq FROM gone GROUP BY shard, document) AS last
		WHERE d.shard = last.shard AND d.document = last.document AND d.dropped < last.seq`, j.now.Add(-j.retention))
	if err == nil {
		_, err = j.conn.Exec(ctx, `
			DELETE FROM bases b USING documents d
			WHERE b.shard = d.shard AND b.document = d.document AND b.seq < d.dropped`)
	}
	if err == nil {
		_, err = j.conn.Exec(ctx, `DELETE FROM documents WHERE purged < $1`, j.now.Add(-j.retention))
	}
	if err != nil {
		return fmt.Errorf("drop what the history does not need anymore: %w", err)
	}
	return nil
}
