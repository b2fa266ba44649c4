package durable

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"collab.dev/operator/editor/storage"
)

// Catalog implements storage.Catalog on PostgreSQL.
type catalog struct {
	database database
	shards   int32
	now      func() time.Time
}

const recordColumns = `document, title, metadata, version, created, updated, deleted, last_seq`

func scanRecord(row pgx.CollectableRow) (storage.Record, error) {
	var r storage.Record
	err := row.Scan(&r.Document, &r.Title, &r.Metadata, &r.Version, &r.Created, &r.Updated, &r.Deleted, &r.LastSeq)
	r.Created, r.Updated = r.Created.UTC(), r.Updated.UTC()
	if r.Deleted != nil {
		deleted := r.Deleted.UTC()
		r.Deleted = &deleted
	}
	return r, err
}

func (c catalog) shard(document string) int32 { return storage.ShardOf(document, c.shards) }

// time is the present as PostgreSQL stores it.
func (c catalog) time() time.Time { return c.now().UTC().Truncate(time.Microsecond) }

// in runs a transaction.
func (c catalog) in(ctx context.Context, what string, do func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	if err := c.database.commit(ctx, func(tx pgx.Tx) error { return do(ctx, tx) }); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// view runs a transaction that only reads.
func (c catalog) view(ctx context.Context, what string, do func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	err := pgx.BeginTxFunc(ctx, c.database.pool, readOnly, func(tx pgx.Tx) error { return do(ctx, tx) })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Create implements storage.Catalog.
func (c catalog) Create(ctx context.Context, r storage.Record) (storage.Record, error) {
	if err := r.Check(); err != nil {
		return storage.Record{}, err
	}
	if r.Metadata == nil {
		r.Metadata = map[string]string{}
	}
	org, _, _ := strings.Cut(r.Document, "/")
	now := c.time()
	r.Version, r.Created, r.Updated, r.Deleted, r.LastSeq = 1, now, now, nil, 0
	err := c.in(ctx, "create the document's record", func(ctx context.Context, tx pgx.Tx) error {
		// What is left of a purged document gives way.
		made, err := tx.Exec(ctx, `
			INSERT INTO documents AS d (shard, document, org, title, metadata, created, updated)
			VALUES ($1, $2, $3, $4, $5, $6, $6)
			ON CONFLICT (shard, document) DO UPDATE
			SET title = excluded.title, metadata = excluded.metadata, version = 1, created = excluded.created,
				updated = excluded.updated, deleted = NULL, purged = NULL, last_seq = 0, last_time = NULL, dropped = 0,
				notified = 0
			WHERE d.purged IS NOT NULL`,
			c.shard(r.Document), r.Document, org, r.Title, r.Metadata, now)
		if err == nil && made.RowsAffected() == 0 {
			return storage.ErrExists
		}
		return err
	})
	if err != nil {
		return storage.Record{}, err
	}
	return r, nil
}

// get reads a record, and locks it if it is to be changed.
func (c catalog) get(ctx context.Context, tx pgx.Tx, document string, change bool) (storage.Record, error) {
	query := `SELECT ` + recordColumns + ` FROM documents WHERE shard = $1 AND document = $2 AND purged IS NULL`
	if change {
		query += ` FOR UPDATE`
	}
	rows, err := tx.Query(ctx, query, c.shard(document), document)
	if err != nil {
		return storage.Record{}, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRecord)
	if errors.Is(err, pgx.ErrNoRows) {
		err = storage.ErrNotFound
	}
	return r, err
}

// Get implements storage.Catalog.
func (c catalog) Get(ctx context.Context, document string) (r storage.Record, err error) {
	if storage.CheckName(document) != nil {
		return r, storage.ErrNotFound
	}
	err = c.view(ctx, "read the document's record", func(ctx context.Context, tx pgx.Tx) error {
		r, err = c.get(ctx, tx, document, false)
		return err
	})
	return r, err
}

// List implements storage.Catalog.
func (c catalog) List(
	ctx context.Context, org, after string, limit int, deleted bool,
) (records []storage.Record, err error) {
	org, after = storage.Text(org), storage.Text(after)
	err = c.view(ctx, "list the organization's documents", func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT `+recordColumns+` FROM documents
			WHERE org = $1 AND document > $2 AND (deleted IS NOT NULL) = $3 AND purged IS NULL
			ORDER BY document LIMIT $4`,
			org, after, deleted, limit)
		if err != nil {
			return err
		}
		records, err = pgx.CollectRows(rows, scanRecord)
		return err
	})
	return records, err
}

// changed runs a change of a record that has the wanted version.
func (c catalog) changed(
	ctx context.Context, what, document string, version int64,
	change func(ctx context.Context, tx pgx.Tx, r *storage.Record) error,
) (r storage.Record, err error) {
	if storage.CheckName(document) != nil {
		return r, storage.ErrNotFound
	}
	err = c.in(ctx, what, func(ctx context.Context, tx pgx.Tx) error {
		if r, err = c.get(ctx, tx, document, true); err != nil {
			return err
		}
		if version != 0 && r.Version != version {
			return storage.ErrConflict
		}
		return change(ctx, tx, &r)
	})
	if err != nil {
		return storage.Record{}, err
	}
	return r, nil
}

// put stores a changed record.
func (c catalog) put(ctx context.Context, tx pgx.Tx, r *storage.Record) error {
	now := c.time()
	if now.After(r.Updated) {
		r.Updated = now
	}
	r.Version++
	_, err := tx.Exec(ctx, `
		UPDATE documents SET title = $3, metadata = $4, version = $5, updated = $6, deleted = $7
		WHERE shard = $1 AND document = $2`,
		c.shard(r.Document), r.Document, r.Title, r.Metadata, r.Version, r.Updated, r.Deleted)
	return err
}

// Update implements storage.Catalog.
func (c catalog) Update(
	ctx context.Context, document string, version int64, change func(*storage.Record),
) (storage.Record, error) {
	return c.changed(ctx, "change the document's record", document, version,
		func(ctx context.Context, tx pgx.Tx, r *storage.Record) error {
			if r.Deleted != nil {
				return storage.ErrNotFound
			}
			wanted := *r
			wanted.Metadata = maps.Clone(r.Metadata)
			change(&wanted)
			if wanted.Metadata == nil {
				wanted.Metadata = map[string]string{}
			}
			r.Title, r.Metadata = wanted.Title, wanted.Metadata
			if err := r.Check(); err != nil {
				return err
			}
			return c.put(ctx, tx, r)
		})
}

// Delete implements storage.Catalog.
func (c catalog) Delete(ctx context.Context, document string, version int64, purge bool) (storage.Record, error) {
	return c.changed(ctx, "delete the document", document, version,
		func(ctx context.Context, tx pgx.Tx, r *storage.Record) error {
			if purge {
				return c.purge(ctx, tx, document)
			}
			if r.Deleted != nil {
				return storage.ErrNotFound
			}
			now := c.time()
			r.Deleted = &now
			return c.put(ctx, tx, r)
		})
}

// purge drops everything of a document but that it was purged: operations of it may still be on their way. Its row is
// locked.
func (c catalog) purge(ctx context.Context, tx pgx.Tx, document string) error {
	batch := &pgx.Batch{}
	for _, table := range []string{"operations", "snapshots", "bases", "versions"} {
		batch.Queue(`DELETE FROM `+table+` WHERE shard = $1 AND document = $2`, c.shard(document), document)
	}
	batch.Queue(`
		UPDATE documents SET purged = $3, deleted = $3, title = '', metadata = '{}', notified = last_seq
		WHERE shard = $1 AND document = $2`, c.shard(document), document, c.time())
	return tx.SendBatch(ctx, batch).Close()
}

// Restore implements storage.Catalog.
func (c catalog) Restore(ctx context.Context, document string) (storage.Record, error) {
	return c.changed(ctx, "restore the document", document, 0,
		func(ctx context.Context, tx pgx.Tx, r *storage.Record) error {
			if r.Deleted == nil {
				return nil
			}
			r.Deleted = nil
			return c.put(ctx, tx, r)
		})
}

// NameVersion implements storage.Catalog.
func (c catalog) NameVersion(ctx context.Context, document string, v storage.Version) error {
	if err := v.Check(); err != nil {
		return err
	}
	if v.Created.IsZero() {
		v.Created = c.time()
	}
	if v.State == nil {
		v.State = []byte{}
	}
	_, err := c.changed(ctx, "name the document's version", document, 0,
		func(ctx context.Context, tx pgx.Tx, r *storage.Record) error {
			_, err := tx.Exec(ctx, `
				INSERT INTO versions (shard, document, seq, name, user_name, created, state)
				VALUES ($1, $2, $3, $4, $5, $6, $7)
				ON CONFLICT (shard, document, seq) DO UPDATE
				SET name = excluded.name, user_name = excluded.user_name, created = excluded.created,
					state = CASE WHEN excluded.state = '' THEN versions.state ELSE excluded.state END`,
				c.shard(document), document, v.Seq, v.Name, v.User, v.Created, v.State)
			return err
		})
	return err
}

// Versions implements storage.Catalog.
func (c catalog) Versions(
	ctx context.Context, document string, before int64, limit int,
) (versions []storage.Version, err error) {
	document = storage.Text(document)
	err = c.view(ctx, "list the document's versions", func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT seq, name, user_name, created FROM versions
			WHERE shard = $1 AND document = $2 AND (seq < $3 OR $3 = 0) ORDER BY seq DESC LIMIT $4`,
			c.shard(document), document, before, limit)
		if err != nil {
			return err
		}
		versions, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (storage.Version, error) {
			var v storage.Version
			err := row.Scan(&v.Seq, &v.Name, &v.User, &v.Created)
			v.Created = v.Created.UTC()
			return v, err
		})
		return err
	})
	return versions, err
}

// Operations implements storage.Catalog.
func (c catalog) Operations(
	ctx context.Context, document string, before int64, limit int,
) (entries []storage.Entry, err error) {
	document = storage.Text(document)
	err = c.view(ctx, "list the document's operations", func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT seq, time, user_name, origin FROM operations
			WHERE shard = $1 AND document = $2 AND (seq < $3 OR $3 = 0) ORDER BY seq DESC LIMIT $4`,
			c.shard(document), document, before, limit)
		if err != nil {
			return err
		}
		entries, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (storage.Entry, error) {
			e := storage.Entry{Document: document}
			err := row.Scan(&e.Seq, &e.Time, &e.User, &e.Origin)
			e.Time = e.Time.UTC()
			return e, err
		})
		return err
	})
	return entries, err
}

// StateAt implements storage.Catalog.
func (c catalog) StateAt(ctx context.Context, document string, seq int64) (doc storage.Document, err error) {
	if storage.CheckName(document) != nil {
		return doc, storage.ErrNotFound
	}
	shard := c.shard(document)
	err = c.view(ctx, "read the document's history", func(ctx context.Context, tx pgx.Tx) error {
		var dropped int64
		err := tx.QueryRow(ctx, `SELECT dropped FROM documents WHERE shard = $1 AND document = $2 AND purged IS NULL`,
			shard, document).Scan(&dropped)
		if errors.Is(err, pgx.ErrNoRows) {
			return storage.ErrNotFound
		}
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT seq, time, state FROM (
				SELECT seq, time, state FROM snapshots WHERE shard = $1 AND document = $2 AND seq <= $3
				UNION ALL (SELECT seq, time, state FROM bases WHERE shard = $1 AND document = $2 AND seq <= $3
					ORDER BY seq DESC LIMIT 1)
				UNION ALL (SELECT seq, created, state FROM versions WHERE shard = $1 AND document = $2 AND seq <= $3
					AND state <> '' ORDER BY seq DESC LIMIT 1)
			) AS base ORDER BY seq DESC LIMIT 1`, shard, document, seq)
		if err != nil {
			return err
		}
		if doc.Snapshot, err = oneSnapshot(rows); err != nil {
			return err
		}
		var base int64
		if doc.Snapshot != nil {
			base = doc.Snapshot.Seq
		}
		if base < min(seq, dropped) {
			return storage.ErrNotFound
		}
		if seq > base {
			doc.Tail, err = operations(ctx, tx, shard, document, base, seq)
		}
		return err
	})
	if err != nil {
		return storage.Document{}, err
	}
	return doc, nil
}
