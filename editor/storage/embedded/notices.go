package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	bolt "go.etcd.io/bbolt"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/internal/record"
)

var _ storage.Notices = (*Store)(nil)

// untold is the key of a document of whose changes the application was not told. It begins with the document's hash in
// reverse, so that those of a shard follow each other, however many shards there are.
func untold(document string) []byte {
	hash := uint32(storage.ShardOf(document, 1<<30)) //nolint:gosec // Not below 0.
	return append(binary.BigEndian.AppendUint32(nil, bits.Reverse32(hash)), document...)
}

// markUntold remembers that the application was not told of a document's last change.
func markUntold(tx *bolt.Tx, document string) error {
	bucket, key := tx.Bucket(bucketUntold), untold(document)
	if bucket.Get(key) != nil {
		return nil
	}
	return bucket.Put(key, []byte{1})
}

// Pending implements storage.Notices.
func (s *Store) Pending(
	_ context.Context, shard int32, after string, limit int,
) (notices []storage.Notice, err error) {
	err = s.view("", func(tx *bolt.Tx) error {
		notices = pending(tx, shard, s.options.Shards, after, limit)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read which changes are to be told of: %w", err)
	}
	return notices, nil
}

func pending(tx *bolt.Tx, shard, shards int32, after string, limit int) (notices []storage.Notice) {
	cursor := tx.Bucket(bucketUntold).Cursor()
	from := binary.BigEndian.AppendUint32(nil, bits.Reverse32(uint32(shard))) //nolint:gosec // Not below 0.
	if after != "" {
		from = append(untold(after), 0)
	}
	for key, _ := cursor.Seek(from); key != nil && len(notices) < limit; key, _ = cursor.Next() {
		document := string(key[4:])
		if storage.ShardOf(document, shards) != shard {
			break
		}
		last := readEnd(tx, document)
		notice := storage.Notice{Document: document, Seq: last.seq, Time: time.UnixMicro(last.time).UTC()}
		var newest []byte
		for newest = range record.Records(tx.Bucket(bucketOperations).Get(numbered(document, last.seq))) {
		}
		if e, err := record.Decode(newest); err == nil {
			notice.User, notice.Time = e.User, e.Time
		}
		notices = append(notices, notice)
	}
	return notices
}

// Delivered implements storage.Notices.
func (s *Store) Delivered(_ context.Context, told map[string]int64) error {
	err := s.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketUntold)
		for document, seq := range told {
			if readEnd(tx, document).seq != seq {
				continue
			}
			if err := bucket.Delete(untold(document)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.options.Metrics.Failed("disk")
		return fmt.Errorf("write which changes were told of: %w", err)
	}
	return nil
}
