package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"collab.dev/operator/editor/storage"
)

// databaseTimeout bounds every transaction.
const databaseTimeout = 5 * time.Second

// database is PostgreSQL. Its epochs are the authority: every transaction that writes looks at the shard's first, and
// keeps it from being raised until the transaction has ended.
type database struct{ pool *pgxpool.Pool }

// raise raises the shard's epoch, which fences all lower ones. The same owner may take its own epoch again.
func (d database) raise(ctx context.Context, shard int32, epoch int64, owner string) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	tag, err := d.pool.Exec(ctx, `
		INSERT INTO shards (shard, epoch, owner) VALUES ($1, $2, $3)
		ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner, changed_at = now()
		WHERE shards.epoch < excluded.epoch OR shards.epoch = excluded.epoch AND shards.owner = excluded.owner`,
		shard, epoch, owner)
	if err != nil {
		return fmt.Errorf("raise the shard's epoch in postgres: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return storage.ErrFenced
	}
	return nil
}

// write runs a transaction that is fenced by the shard's epoch. Its outcome may be unknown when it fails: it must be
// possible to repeat it. The lock makes it a writing transaction in any case, so that a repetition waits for the
// standby that a cancelled attempt may not have waited for.
func (d database) write(ctx context.Context, shard int32, epoch int64, do func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		var current int64
		err := tx.QueryRow(ctx, `SELECT epoch FROM shards WHERE shard = $1 FOR SHARE`, shard).Scan(&current)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		// No row means that the database was restored from before the shard was opened: it is to be opened again.
		if current != epoch {
			return storage.ErrFenced
		}
		return do(ctx, tx)
	})
	if err != nil && !errors.Is(err, storage.ErrFenced) {
		return fmt.Errorf("write to postgres: %w", err)
	}
	return err
}

// insert stores operations. Those that are there already are left as they are.
func (d database) insert(ctx context.Context, shard int32, epoch int64, entries []storage.Entry) error {
	return d.write(ctx, shard, epoch, func(ctx context.Context, tx pgx.Tx) error {
		return insert(ctx, tx, shard, epoch, entries)
	})
}

func insert(ctx context.Context, tx pgx.Tx, shard int32, epoch int64, entries []storage.Entry) error {
	n := len(entries)
	documents, users := make([]string, n), make([]string, n)
	seqs, times, updates := make([]int64, n), make([]time.Time, n), make([][]byte, n)
	for i, e := range entries {
		documents[i], seqs[i], times[i], users[i], updates[i] = e.Document, e.Seq, e.Time, e.User, e.Update
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO operations (shard, document, seq, epoch, time, user_name, update)
		SELECT $1, document, seq, $2, time, user_name, update
		FROM unnest($3::text[], $4::bigint[], $5::timestamptz[], $6::text[], $7::bytea[])
			AS entry (document, seq, time, user_name, update)
		ON CONFLICT DO NOTHING`,
		shard, epoch, documents, seqs, times, users, updates)
	return err
}

// adopt stores the operations of former owners that the database lacks, and returns how many each document got. An
// operation whose number is taken by another one gets the next number: operations commute. taken tells the last number
// that the caller has given out for a document.
func (d database) adopt(
	ctx context.Context, shard int32, epoch int64, entries []storage.Entry, taken func(document string) int64,
) (adopted map[string]int64, err error) {
	err = d.write(ctx, shard, epoch, func(ctx context.Context, tx pgx.Tx) error {
		adopted = map[string]int64{}
		byDocument := map[string][]storage.Entry{}
		for _, e := range entries {
			byDocument[e.Document] = append(byDocument[e.Document], e)
		}
		for document, found := range byDocument {
			missing, err := missing(ctx, tx, shard, document, found, taken(document))
			if err != nil {
				return err
			}
			if err := insert(ctx, tx, shard, epoch, missing); err != nil {
				return err
			}
			if len(missing) > 0 {
				adopted[document] = int64(len(missing))
			}
		}
		return nil
	})
	return adopted, err
}

// missing are those of the entries of one document that the database lacks, numbered so that they can be stored.
func missing(
	ctx context.Context, tx pgx.Tx, shard int32, document string, entries []storage.Entry, taken int64,
) ([]storage.Entry, error) {
	least := slices.MinFunc(entries, func(a, b storage.Entry) int { return int(a.Seq - b.Seq) }).Seq
	rows, err := tx.Query(ctx, `SELECT update FROM operations WHERE shard = $1 AND document = $2 AND seq >= $3`,
		shard, document, least)
	if err != nil {
		return nil, err
	}
	known, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, err
	}
	var last int64
	err = tx.QueryRow(ctx, `
		SELECT greatest(
			(SELECT max(seq) FROM operations WHERE shard = $1 AND document = $2),
			(SELECT max(seq) FROM snapshots WHERE shard = $1 AND document = $2), $3)`,
		shard, document, taken).Scan(&last)
	if err != nil {
		return nil, err
	}
	var lacking []storage.Entry
	for _, e := range entries {
		if slices.ContainsFunc(known, func(update []byte) bool { return bytes.Equal(update, e.Update) }) {
			continue
		}
		last++
		e.Seq = last
		lacking = append(lacking, e)
		known = append(known, e.Update)
	}
	return lacking, nil
}

// snapshot replaces the document's snapshot by a newer one.
func (d database) snapshot(ctx context.Context, shard int32, epoch int64, document string, s storage.Snapshot) error {
	return d.write(ctx, shard, epoch, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO snapshots (shard, document, seq, epoch, time, state) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (shard, document) DO UPDATE
			SET seq = excluded.seq, epoch = excluded.epoch, time = excluded.time, state = excluded.state
			WHERE snapshots.seq < excluded.seq`,
			shard, document, s.Seq, epoch, s.Time, s.State)
		return err
	})
}

// load reads a document.
func (d database) load(ctx context.Context, shard int32, document string) (storage.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	var (
		doc      storage.Document
		snapshot storage.Snapshot
	)
	err := d.pool.QueryRow(ctx, `SELECT seq, time, state FROM snapshots WHERE shard = $1 AND document = $2`,
		shard, document).Scan(&snapshot.Seq, &snapshot.Time, &snapshot.State)
	switch {
	case err == nil:
		doc.Snapshot = &snapshot
	case !errors.Is(err, pgx.ErrNoRows):
		return storage.Document{}, fmt.Errorf("read the document's snapshot from postgres: %w", err)
	}
	rows, err := d.pool.Query(ctx, `
		SELECT seq, time, user_name, update FROM operations
		WHERE shard = $1 AND document = $2 AND seq > $3 ORDER BY seq`, shard, document, snapshot.Seq)
	if err == nil {
		doc.Tail, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (storage.Entry, error) {
			e := storage.Entry{Document: document}
			err := row.Scan(&e.Seq, &e.Time, &e.User, &e.Update)
			e.Time = e.Time.UTC()
			return e, err
		})
	}
	if err != nil {
		return storage.Document{}, fmt.Errorf("read the document's operations from postgres: %w", err)
	}
	return doc, nil
}
