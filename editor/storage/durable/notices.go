package durable

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"collab.dev/operator/editor/storage"
)

var _ storage.Notices = (*Store)(nil)

// Pending implements storage.Notices. What has only reached the log follows within a second.
func (s *Store) Pending(
	ctx context.Context, shard int32, after string, limit int,
) (notices []storage.Notice, err error) {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	// The collation of the operations' names, which is not that of the documents', makes their index usable.
	rows, err := s.database.pool.Query(ctx, `
		SELECT d.document, d.last_seq, coalesce(o.user_name, ''), coalesce(o.time, d.last_time, d.updated)
		FROM documents d
		LEFT JOIN LATERAL (
			SELECT user_name, time FROM operations
			WHERE shard = d.shard AND document = d.document COLLATE "default" AND seq = d.last_seq LIMIT 1
		) AS o ON true
		WHERE d.shard = $1 AND d.document > $2 AND d.pending ORDER BY d.document LIMIT $3`,
		shard, storage.Text(after), limit)
	if err == nil {
		notices, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (storage.Notice, error) {
			var n storage.Notice
			err := row.Scan(&n.Document, &n.Seq, &n.User, &n.Time)
			n.Time = n.Time.UTC()
			return n, err
		})
	}
	if err != nil {
		s.metrics.Failed("postgres")
		return nil, fmt.Errorf("read from postgres which changes are to be told of: %w", err)
	}
	return notices, nil
}

// Delivered implements storage.Notices.
func (s *Store) Delivered(ctx context.Context, told map[string]int64) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	documents := slices.Collect(maps.Keys(told))
	shards, numbers := make([]int32, len(documents)), make([]int64, len(documents))
	for i, document := range documents {
		shards[i], numbers[i] = storage.ShardOf(document, s.shards), told[document]
	}
	err := s.database.commit(ctx, func(tx pgx.Tx) error {
		// Drains lock the rows in the same order.
		_, err := tx.Exec(ctx, `
			WITH told AS (
				SELECT shard, document, t.seq
				FROM documents d
				JOIN unnest($1::integer[], $2::text[], $3::bigint[]) AS t (shard, document, seq) USING (shard, document)
				WHERE d.notified < t.seq AND t.seq <= d.last_seq
				ORDER BY shard, document
				FOR NO KEY UPDATE OF d
			)
			UPDATE documents d SET notified = greatest(d.notified, told.seq)
			FROM told WHERE d.shard = told.shard AND d.document = told.document`,
			shards, documents, numbers)
		return err
	})
	if err != nil {
		s.metrics.Failed("postgres")
		return fmt.Errorf("write to postgres which changes were told of: %w", err)
	}
	return nil
}
