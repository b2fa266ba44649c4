package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	bolt "go.etcd.io/bbolt"

	"collab.dev/operator/editor/storage"
)

// catalog implements storage.Catalog.
type catalog struct{ store *Store }

func (c catalog) time() time.Time { return c.store.options.Now().UTC().Truncate(time.Microsecond) }

// view and update run transactions; view for one document, or for all if that is empty.
func (c catalog) view(what, document string, do func(*bolt.Tx) error) error {
	if err := c.store.view(document, do); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (c catalog) update(what string, do func(*bolt.Tx) error) error {
	if err := c.store.update(do); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// getRecord reads a record, whose last operation comes from elsewhere.
func getRecord(tx *bolt.Tx, document string) (r storage.Record, err error) {
	b := tx.Bucket(bucketDocuments).Get([]byte(document))
	if b == nil {
		return r, storage.ErrNotFound
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("the record of %q: %w", document, err)
	}
	last := readEnd(tx, document)
	r.LastSeq = last.seq
	if changed := time.UnixMicro(last.time).UTC(); last.seq > 0 && changed.After(r.Updated) {
		r.Updated = changed
	}
	return r, nil
}

// purged says whether the document was purged and not created anew.
func purged(tx *bolt.Tx, document string) bool {
	return tx.Bucket(bucketPurged).Get([]byte(document)) != nil
}

// living fails with ErrDeleted if the document is deleted.
func living(tx *bolt.Tx, document string) error {
	if purged(tx, document) {
		return storage.ErrDeleted
	}
	switch r, err := getRecord(tx, document); {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return err
	case r.Deleted != nil:
		return storage.ErrDeleted
	}
	return nil
}

func putRecord(tx *bolt.Tx, r storage.Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketDocuments).Put([]byte(r.Document), b)
}

// createRecord makes the record of a document that has its first operation, unless there is one.
func createRecord(tx *bolt.Tx, e storage.Entry) error {
	if tx.Bucket(bucketDocuments).Get([]byte(e.Document)) != nil {
		return nil
	}
	return putRecord(tx, storage.Record{
		Document: e.Document, Metadata: map[string]string{}, Version: 1, Created: e.Time.UTC(), Updated: e.Time.UTC(),
	})
}

// Create implements storage.Catalog.
func (c catalog) Create(_ context.Context, r storage.Record) (storage.Record, error) {
	if err := r.Check(); err != nil {
		return storage.Record{}, err
	}
	if r.Metadata == nil {
		r.Metadata = map[string]string{}
	}
	now := c.time()
	r.Version, r.Created, r.Updated, r.Deleted, r.LastSeq = 1, now, now, nil, 0
	err := c.update("create the document's record", func(tx *bolt.Tx) error {
		if tx.Bucket(bucketDocuments).Get([]byte(r.Document)) != nil {
			return storage.ErrExists
		}
		if err := tx.Bucket(bucketPurged).Delete([]byte(r.Document)); err != nil {
			return err
		}
		return putRecord(tx, r)
	})
	if err != nil {
		return storage.Record{}, err
	}
	return r, nil
}

// Get implements storage.Catalog.
func (c catalog) Get(_ context.Context, document string) (r storage.Record, err error) {
	err = c.view("read the document's record", document, func(tx *bolt.Tx) error {
		r, err = getRecord(tx, document)
		return err
	})
	return r, err
}

// List implements storage.Catalog.
func (c catalog) List(
	_ context.Context, org, after string, limit int, deleted bool,
) (records []storage.Record, err error) {
	prefix := []byte(org + "/")
	from := prefix
	if bytes.Compare([]byte(after), prefix) >= 0 {
		from = []byte(after + "\x00")
	}
	err = c.view("list the organization's documents", "", func(tx *bolt.Tx) error {
		cursor := tx.Bucket(bucketDocuments).Cursor()
		for key, _ := cursor.Seek(from); len(records) < limit && bytes.HasPrefix(key, prefix); key, _ = cursor.Next() {
			r, err := getRecord(tx, string(key))
			if err != nil {
				return err
			}
			if (r.Deleted != nil) == deleted {
				records = append(records, r)
			}
		}
		return nil
	})
	return records, err
}

// changed runs a change of a record that has the wanted version.
func (c catalog) changed(
	what, document string, version int64, change func(*bolt.Tx, *storage.Record) error,
) (r storage.Record, err error) {
	err = c.update(what, func(tx *bolt.Tx) error {
		if r, err = getRecord(tx, document); err != nil {
			return err
		}
		if version != 0 && r.Version != version {
			return storage.ErrConflict
		}
		return change(tx, &r)
	})
	if err != nil {
		return storage.Record{}, err
	}
	return r, nil
}

// put stores a changed record.
func (c catalog) put(tx *bolt.Tx, r *storage.Record) error {
	if now := c.time(); now.After(r.Updated) {
		r.Updated = now
	}
	r.Version++
	return putRecord(tx, *r)
}

// Update implements storage.Catalog.
func (c catalog) Update(
	_ context.Context, document string, version int64, change func(*storage.Record),
) (storage.Record, error) {
	return c.changed("change the document's record", document, version, func(tx *bolt.Tx, r *storage.Record) error {
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
		return c.put(tx, r)
	})
}

// Delete implements storage.Catalog.
func (c catalog) Delete(_ context.Context, document string, version int64, purge bool) (storage.Record, error) {
	return c.changed("delete the document", document, version, func(tx *bolt.Tx, r *storage.Record) error {
		if purge {
			return purgeDocument(tx, document, c.time())
		}
		if r.Deleted != nil {
			return storage.ErrNotFound
		}
		now := c.time()
		r.Deleted = &now
		return c.put(tx, r)
	})
}

// purgeDocument drops everything of a document but that it was purged: operations of it may still be on their way.
func purgeDocument(tx *bolt.Tx, document string, now time.Time) error {
	errs := []error{
		tx.Bucket(bucketPurged).Put([]byte(document), binary.BigEndian.AppendUint64(nil, uint64(now.UnixMicro()))),
	}
	for _, name := range [][]byte{bucketDocuments, bucketEnds, bucketSnapshots} {
		errs = append(errs, tx.Bucket(name).Delete([]byte(document)))
	}
	errs = append(errs, tx.Bucket(bucketUntold).Delete(untold(document)))
	for _, name := range [][]byte{bucketOperations, bucketBases, bucketVersions} {
		_, err := deleteNumbered(tx.Bucket(name), document, func(int64, []byte) bool { return true }, -1)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// deleteNumbered deletes what the document has in the bucket, from the first on and as long as wanted, limit elements
// at most unless that is negative. It returns the keys' numbers.
func deleteNumbered(
	bucket *bolt.Bucket, document string, wanted func(seq int64, value []byte) bool, limit int,
) (numbers []int64, err error) {
	cursor := bucket.Cursor()
	for key, value := cursor.Seek(numbered(document, 0)); key != nil; key, value = cursor.Next() {
		seq, ok := numberOf(key, document)
		if !ok || len(numbers) == limit || !wanted(seq, value) {
			break
		}
		numbers = append(numbers, seq)
	}
	// A cursor must not delete what it goes through.
	for _, seq := range numbers {
		if err := bucket.Delete(numbered(document, seq)); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// Restore implements storage.Catalog.
func (c catalog) Restore(_ context.Context, document string) (storage.Record, error) {
	return c.changed("restore the document", document, 0, func(tx *bolt.Tx, r *storage.Record) error {
		if r.Deleted == nil {
			return nil
		}
		r.Deleted = nil
		return c.put(tx, r)
	})
}

// NameVersion implements storage.Catalog.
func (c catalog) NameVersion(_ context.Context, document string, v storage.Version) error {
	if err := v.Check(); err != nil {
		return err
	}
	if v.Created.IsZero() {
		v.Created = c.time()
	}
	_, err := c.changed("name the document's version", document, 0, func(tx *bolt.Tx, _ *storage.Record) error {
		versions, key := tx.Bucket(bucketVersions), numbered(document, v.Seq)
		if before := versions.Get(key); before != nil && len(v.State) == 0 {
			v.State = decodeVersion(v.Seq, before).State
		}
		return versions.Put(key, encodeVersion(v))
	})
	return err
}

func encodeVersion(v storage.Version) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(v.Created.UnixMicro()))
	for _, s := range []string{v.Name, v.User} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // Check bounds it.
		b = append(b, s...)
	}
	return append(b, v.State...)
}

// decodeVersion reads a version, whose state is part of b.
func decodeVersion(seq int64, b []byte) storage.Version {
	v := storage.Version{Seq: seq, Created: time.UnixMicro(integer(b)).UTC()}
	b = b[8:]
	for _, s := range []*string{&v.Name, &v.User} {
		n := binary.BigEndian.Uint32(b)
		*s, b = string(b[4:4+n]), b[4+n:]
	}
	v.State = b
	return v
}

// backwards calls do with what the document has in the bucket below a number, or with all if that is 0, newest first,
// as long as do wants more.
func backwards(bucket *bolt.Bucket, document string, before int64, do func(seq int64, value []byte) (more bool)) {
	cursor := bucket.Cursor()
	if before == 0 {
		before = 1<<63 - 1
	}
	key, _ := cursor.Seek(numbered(document, before))
	previous := cursor.Prev
	if key == nil {
		previous = cursor.Last
	}
	for key, value := previous(); key != nil; key, value = cursor.Prev() {
		seq, ok := numberOf(key, document)
		if !ok || !do(seq, value) {
			return
		}
	}
}

// Versions implements storage.Catalog.
func (c catalog) Versions(
	_ context.Context, document string, before int64, limit int,
) (versions []storage.Version, err error) {
	err = c.view("list the document's versions", document, func(tx *bolt.Tx) error {
		backwards(tx.Bucket(bucketVersions), document, before, func(seq int64, value []byte) bool {
			if len(versions) == limit {
				return false
			}
			v := decodeVersion(seq, value)
			v.State = nil
			versions = append(versions, v)
			return true
		})
		return nil
	})
	return versions, err
}

// Operations implements storage.Catalog.
func (c catalog) Operations(
	_ context.Context, document string, before int64, limit int,
) (entries []storage.Entry, err error) {
	err = c.view("list the document's operations", document, func(tx *bolt.Tx) error {
		entries, err = readBackwards(tx, document, before, limit)
		return err
	})
	return entries, err
}

// StateAt implements storage.Catalog.
func (c catalog) StateAt(_ context.Context, document string, seq int64) (doc storage.Document, err error) {
	err = c.view("read the document's history", document, func(tx *bolt.Tx) error {
		if tx.Bucket(bucketDocuments).Get([]byte(document)) == nil {
			return storage.ErrNotFound
		}
		doc.Snapshot = baseAt(tx, document, seq)
		var base int64
		if doc.Snapshot != nil {
			base = doc.Snapshot.Seq
		}
		if base < min(seq, readEnd(tx, document).dropped) {
			return storage.ErrNotFound
		}
		if seq > base {
			doc.Tail, err = readOperations(tx, document, base, seq)
		}
		return err
	})
	if err != nil {
		return storage.Document{}, err
	}
	return doc, nil
}

// baseAt is the newest state that is not after an operation.
func baseAt(tx *bolt.Tx, document string, seq int64) *storage.Snapshot {
	var base *storage.Snapshot
	if s := readSnapshot(tx, document); s != nil && s.Seq <= seq {
		base = s
	}
	if seq == 1<<63-1 {
		seq--
	}
	backwards(tx.Bucket(bucketBases), document, seq+1, func(number int64, value []byte) bool {
		if base == nil || number > base.Seq {
			base = &storage.Snapshot{
				Seq: number, Time: time.UnixMicro(integer(value)).UTC(), State: bytes.Clone(value[8:]),
			}
		}
		return false
	})
	backwards(tx.Bucket(bucketVersions), document, seq+1, func(number int64, value []byte) bool {
		v := decodeVersion(number, value)
		if len(v.State) == 0 {
			return true
		}
		if base == nil || number > base.Seq {
			base = &storage.Snapshot{Seq: number, Time: v.Created, State: bytes.Clone(v.State)}
		}
		return false
	})
	return base
}

// readSnapshot reads the document's newest snapshot, nil if there is none.
func readSnapshot(tx *bolt.Tx, document string) *storage.Snapshot {
	b := tx.Bucket(bucketSnapshots).Get([]byte(document))
	if len(b) < 16 {
		return nil
	}
	return &storage.Snapshot{
		Seq: integer(b), Time: time.UnixMicro(integer(b[8:])).UTC(), State: bytes.Clone(b[16:]),
	}
}

// storeSnapshot replaces the document's snapshot by a newer one, and keeps it as a base of the history if the last base
// is far enough behind.
func (s *Store) storeSnapshot(tx *bolt.Tx, document string, snapshot storage.Snapshot) error {
	snapshots, key := tx.Bucket(bucketSnapshots), []byte(document)
	if before := snapshots.Get(key); len(before) >= 8 && integer(before) >= snapshot.Seq {
		return nil
	}
	at := binary.BigEndian.AppendUint64(nil, uint64(snapshot.Time.UnixMicro()))
	b := append(binary.BigEndian.AppendUint64(nil, uint64(snapshot.Seq)), at...)
	if err := snapshots.Put(key, append(b, snapshot.State...)); err != nil {
		return err
	}
	bases, due := tx.Bucket(bucketBases), true
	backwards(bases, document, 0, func(seq int64, value []byte) bool {
		due = seq <= snapshot.Seq-s.options.History.BaseOperations ||
			!time.UnixMicro(integer(value)).After(snapshot.Time.Add(-s.options.History.BaseInterval))
		return false
	})
	if !due {
		return nil
	}
	return bases.Put(numbered(document, snapshot.Seq), append(at, snapshot.State...))
}
