package durable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"collab.dev/operator/editor/storage"
)

// databaseTimeout bounds every transaction.
const databaseTimeout = 5 * time.Second

// database is PostgreSQL. Its epochs and terms are the authority: every transaction that writes looks at the shard's
// first, and keeps it from being raised until the transaction has ended.
type database struct {
	pool    *pgxpool.Pool
	history storage.History
}

// lease is the right to write a shard: the epoch says which owner has it, the term which opening by that owner. A term
// is never given out twice, and is never less than its epoch.
type lease struct {
	shard       int32
	epoch, term int64
}

// raise raises the shard's epoch, which fences all lower ones. The same owner may take its own epoch again, which
// fences its former openings. The term will be least at least.
func (d database) raise(ctx context.Context, shard int32, epoch int64, owner string, least int64) (lease, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	l := lease{shard: shard, epoch: epoch}
	err := d.pool.QueryRow(ctx, `
		INSERT INTO shards (shard, epoch, owner, term) VALUES ($1, $2, $3, $4)
		ON CONFLICT (shard) DO UPDATE
		SET epoch = excluded.epoch, owner = excluded.owner, term = greatest(shards.term + 1, excluded.term),
			changed_at = now()
		WHERE shards.epoch < excluded.epoch OR shards.epoch = excluded.epoch AND shards.owner = excluded.owner
		RETURNING term`,
		shard, epoch, owner, max(epoch, least)).Scan(&l.term)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return lease{}, storage.ErrFenced
	case err != nil:
		return lease{}, fmt.Errorf("raise the shard's epoch in postgres: %w", err)
	}
	return l, nil
}

// confirm says whether the lease is still the shard's, with ErrFenced if it is not.
func (d database) confirm(ctx context.Context, l lease) error {
	return d.write(ctx, l, func(context.Context, pgx.Tx) error { return nil })
}

// write runs a transaction that is fenced by the shard's lease. Its outcome may be unknown when it fails: it must be
// possible to repeat it. The lock makes it a writing transaction in any case, so that a repetition waits for the
// standby that a cancelled attempt may not have waited for.
func (d database) write(ctx context.Context, l lease, do func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	err := d.commit(ctx, func(tx pgx.Tx) error {
		var epoch, term int64
		err := tx.QueryRow(ctx, `SELECT epoch, term FROM shards WHERE shard = $1 FOR SHARE`, l.shard).Scan(&epoch, &term)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		// No row means that the database was restored from before the shard was opened: it is to be opened again.
		if epoch != l.epoch || term != l.term {
			return storage.ErrFenced
		}
		return do(ctx, tx)
	})
	if err != nil && !errors.Is(err, storage.ErrFenced) && !errors.Is(err, storage.ErrDeleted) {
		return fmt.Errorf("write to postgres: %w", err)
	}
	return err
}

// commit runs a transaction on a connection of the pool, and fails if a standby may not have it.
func (d database) commit(ctx context.Context, do func(pgx.Tx) error) error {
	return d.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		expectNotices(conn.Conn().PgConn())
		if err := pgx.BeginFunc(ctx, conn, do); err != nil {
			return err
		}
		return replicated(conn.Conn().PgConn())
	})
}

// columns are operations as arrays, which are sent at once.
type columns struct {
	shards, terms, epochs, seqs []int64
	documents, orgs             []string
	users, origins              []string
	times                       []time.Time
	updates                     [][]byte
}

func (c *columns) add(l lease, entries []storage.Entry) {
	for _, e := range entries {
		org, _, _ := strings.Cut(e.Document, "/")
		c.shards, c.epochs, c.terms = append(c.shards, int64(l.shard)), append(c.epochs, l.epoch), append(c.terms, l.term)
		c.documents, c.orgs, c.seqs = append(c.documents, e.Document), append(c.orgs, org), append(c.seqs, e.Seq)
		c.times, c.updates = append(c.times, e.Time), append(c.updates, e.Update)
		c.users, c.origins = append(c.users, e.User), append(c.origins, e.Origin)
	}
}

// Both statements write only what belongs to a lease that holds, which the transaction has locked before, and nothing
// of a document that is purged: updateDocuments comes first and locks the documents against that. An operation that is
// there already is left as it is.
const (
	insertOperations = `
		INSERT INTO operations (shard, document, seq, epoch, time, user_name, origin, update)
		SELECT shard, e.document, e.seq, e.epoch, e.time, e.user_name, e.origin, e.update
		FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::timestamptz[], $7::text[],
			$8::text[], $9::bytea[]) AS e (shard, epoch, term, document, seq, time, user_name, origin, update)
		JOIN shards USING (shard, epoch, term)
		JOIN documents d USING (shard, document)
		WHERE d.purged IS NULL
		ORDER BY shard, e.document, e.seq
		ON CONFLICT DO NOTHING`
	updateDocuments = `
		INSERT INTO documents AS d (shard, document, org, created, updated, last_seq, last_time)
		SELECT shard, e.document, min(e.org), min(e.time), max(e.time), max(e.seq), max(e.time)
		FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[])
			AS e (shard, epoch, term, document, org, seq, time)
		JOIN shards USING (shard, epoch, term)
		GROUP BY shard, e.document
		ORDER BY shard, e.document
		ON CONFLICT (shard, document) DO UPDATE
		SET updated = greatest(d.updated, excluded.updated), last_seq = greatest(d.last_seq, excluded.last_seq),
			last_time = greatest(d.last_time, excluded.last_time)
		WHERE d.purged IS NULL`
)

func (c *columns) queue(batch *pgx.Batch) {
	batch.Queue(updateDocuments, c.shards, c.epochs, c.terms, c.documents, c.orgs, c.seqs, c.times)
	batch.Queue(insertOperations,
		c.shards, c.epochs, c.terms, c.documents, c.seqs, c.times, c.users, c.origins, c.updates)
}

// portion is what one transaction stores of one shard.
type portion struct {
	lease   lease
	entries []storage.Entry
}

// insert stores operations of several shards in one transaction and one round trip. It returns the leases that do not
// hold: of theirs, nothing was stored.
func (d database) insert(ctx context.Context, portions []portion) (fenced map[lease]bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	var c columns
	fenced = map[lease]bool{}
	var shards []int32
	var epochs, terms []int64
	for _, p := range portions {
		c.add(p.lease, p.entries)
		fenced[p.lease] = true
		shards, epochs, terms = append(shards, p.lease.shard), append(epochs, p.lease.epoch), append(terms, p.lease.term)
	}
	batch := &pgx.Batch{}
	batch.Queue(`
		SELECT shard, epoch, term FROM shards
		JOIN unnest($1::integer[], $2::bigint[], $3::bigint[]) AS mine (shard, epoch, term)
		USING (shard, epoch, term) ORDER BY shard FOR SHARE OF shards`,
		shards, epochs, terms).Query(func(rows pgx.Rows) error {
		var held lease
		_, err := pgx.ForEachRow(rows, []any{&held.shard, &held.epoch, &held.term}, func() error {
			delete(fenced, held)
			return nil
		})
		return err
	})
	c.queue(batch)
	err = d.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		expectNotices(conn.Conn().PgConn())
		// A batch without BEGIN is one transaction.
		if err := conn.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		return replicated(conn.Conn().PgConn())
	})
	if err != nil {
		return nil, fmt.Errorf("write operations to postgres: %w", err)
	}
	return fenced, nil
}

// found is a record of the log that was not written by this lease.
type found struct {
	id     string
	record []byte
	entry  storage.Entry
	// bad says that the record cannot be read: there is no entry.
	bad bool
}

// adopt stores the operations of former owners that the database lacks. They get numbers that are not taken: operations
// commute. taken tells the last number that the caller has given out for a document. Records that cannot be read go
// into quarantine. It returns how many operations were missing, and the last numbers of the documents. It can be
// repeated.
func (d database) adopt(
	ctx context.Context, l lease, records []found, taken func(document string) int64,
) (adopted int, last map[string]int64, err error) {
	err = d.write(ctx, l, func(ctx context.Context, tx pgx.Tx) error {
		adopted, last = 0, map[string]int64{}
		byDocument := map[string][]storage.Entry{}
		for _, r := range records {
			if !r.bad {
				byDocument[r.entry.Document] = append(byDocument[r.entry.Document], r.entry)
				continue
			}
			_, err := tx.Exec(ctx, `INSERT INTO quarantine (shard, id, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
				l.shard, r.id, r.record)
			if err != nil {
				return err
			}
		}
		var c columns
		for document, entries := range byDocument {
			missing, number, err := missing(ctx, tx, l.shard, document, entries, taken(document))
			if err != nil {
				return err
			}
			c.add(l, missing)
			adopted += len(missing)
			last[document] = number
		}
		if len(c.seqs) == 0 {
			return nil
		}
		batch := &pgx.Batch{}
		c.queue(batch)
		return tx.SendBatch(ctx, batch).Close()
	})
	return adopted, last, err
}

// missing are those of the entries of one document that the database lacks, numbered so that they can be stored, and
// the last number that the document then has.
func missing(
	ctx context.Context, tx pgx.Tx, shard int32, document string, entries []storage.Entry, taken int64,
) (lacking []storage.Entry, last int64, err error) {
	least := slices.MinFunc(entries, func(a, b storage.Entry) int { return int(a.Seq - b.Seq) }).Seq
	rows, err := tx.Query(ctx, `SELECT update FROM operations WHERE shard = $1 AND document = $2 AND seq >= $3`,
		shard, document, least)
	if err != nil {
		return nil, 0, err
	}
	updates, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, 0, err
	}
	known := make(map[string]bool, len(updates))
	for _, update := range updates {
		known[string(update)] = true
	}
	err = tx.QueryRow(ctx, `
		SELECT greatest(
			(SELECT max(seq) FROM operations WHERE shard = $1 AND document = $2),
			(SELECT max(seq) FROM snapshots WHERE shard = $1 AND document = $2), $3)`,
		shard, document, taken).Scan(&last)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		if known[string(e.Update)] {
			continue
		}
		known[string(e.Update)] = true
		last++
		e.Seq = last
		lacking = append(lacking, e)
	}
	return lacking, last, nil
}

// snapshot replaces the document's snapshot by a newer one, and keeps it as a base of the history if the last base is
// far enough behind. It fails with ErrDeleted if the document is purged.
func (d database) snapshot(ctx context.Context, l lease, document string, s storage.Snapshot) error {
	return d.write(ctx, l, func(ctx context.Context, tx pgx.Tx) error {
		// The lock keeps the document from being purged meanwhile, and does not conflict with drains.
		var purged bool
		err := tx.QueryRow(ctx, `
			SELECT purged IS NOT NULL FROM documents WHERE shard = $1 AND document = $2 FOR KEY SHARE`,
			l.shard, document).Scan(&purged)
		switch {
		case errors.Is(err, pgx.ErrNoRows): // Its first operations are still on their way.
		case err != nil:
			return err
		case purged:
			return storage.ErrDeleted
		}
		batch := &pgx.Batch{}
		batch.Queue(`
			INSERT INTO snapshots (shard, document, seq, epoch, time, state) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (shard, document) DO UPDATE
			SET seq = excluded.seq, epoch = excluded.epoch, time = excluded.time, state = excluded.state
			WHERE snapshots.seq < excluded.seq`,
			l.shard, document, s.Seq, l.epoch, s.Time, s.State)
		batch.Queue(`
			INSERT INTO bases (shard, document, seq, time, state)
			SELECT shard, document, seq, time, state FROM snapshots
			WHERE shard = $1 AND document = $2 AND seq = $3 AND NOT EXISTS (
				SELECT FROM bases WHERE shard = $1 AND document = $2 AND seq > $3 - $4 AND time > $5)
			ON CONFLICT DO NOTHING`,
			l.shard, document, s.Seq, d.history.BaseOperations, s.Time.Add(-d.history.BaseInterval))
		return tx.SendBatch(ctx, batch).Close()
	})
}

// load reads a document, unless it is deleted.
func (d database) load(ctx context.Context, shard int32, document string) (storage.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	var doc storage.Document
	// One statement each, but of one transaction: what a snapshot replaces is dropped only later.
	err := pgx.BeginTxFunc(ctx, d.pool, readOnly, func(tx pgx.Tx) error {
		deleted, s, err := newestSnapshot(ctx, tx, shard, document)
		if err != nil {
			return err
		}
		if deleted {
			return storage.ErrDeleted
		}
		var after int64
		if s != nil {
			doc.Snapshot, after = s, s.Seq
		}
		doc.Tail, err = operations(ctx, tx, shard, document, after, 0)
		return err
	})
	if errors.Is(err, storage.ErrDeleted) {
		return storage.Document{}, storage.ErrDeleted
	}
	if err != nil {
		return storage.Document{}, fmt.Errorf("read the document from postgres: %w", err)
	}
	return doc, nil
}

// readOnly is a transaction in which all statements see the same.
var readOnly = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// newestSnapshot reads the document's newest snapshot, nil if there is none, and whether the document is deleted. It
// takes one round trip.
func newestSnapshot(
	ctx context.Context, tx pgx.Tx, shard int32, document string,
) (deleted bool, s *storage.Snapshot, err error) {
	batch := &pgx.Batch{}
	batch.Queue(`SELECT FROM documents WHERE shard = $1 AND document = $2 AND deleted IS NOT NULL`, shard, document).
		Exec(func(found pgconn.CommandTag) error {
			deleted = found.RowsAffected() > 0
			return nil
		})
	batch.Queue(`SELECT seq, time, state FROM snapshots WHERE shard = $1 AND document = $2`, shard, document).
		Query(func(rows pgx.Rows) error {
			s, err = oneSnapshot(rows)
			return err
		})
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, nil, err
	}
	return deleted, s, nil
}

func oneSnapshot(rows pgx.Rows) (*storage.Snapshot, error) {
	s, err := pgx.CollectOneRow(rows, func(row pgx.CollectableRow) (storage.Snapshot, error) {
		var s storage.Snapshot
		err := row.Scan(&s.Seq, &s.Time, &s.State)
		s.Time = s.Time.UTC()
		return s, err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// operations reads the operations after one and, unless it is 0, up to another.
func operations(
	ctx context.Context, tx pgx.Tx, shard int32, document string, after, upTo int64,
) ([]storage.Entry, error) {
	rows, err := tx.Query(ctx, `
		SELECT seq, time, user_name, origin, update FROM operations
		WHERE shard = $1 AND document = $2 AND seq > $3 AND (seq <= $4 OR $4 = 0) ORDER BY seq`,
		shard, document, after, upTo)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (storage.Entry, error) {
		e := storage.Entry{Document: document}
		err := row.Scan(&e.Seq, &e.Time, &e.User, &e.Origin, &e.Update)
		e.Time = e.Time.UTC()
		return e, err
	})
}
