// Package embedded makes documents durable in one file of one process, for the single-process mode: there is no log to
// drain, because whatever is committed is where it belongs. It implements package storage and knows nothing of sockets
// or of Yjs.
//
// The file is a bbolt database. bbolt rather than a log of our own, because a crash at any byte leaves its last commit
// whole (data first, then a page that refers to them, each with its fsync and the latter with a checksum), because
// reading needs no memory of ours, and because space that retention frees is used again. Rather than an LSM tree,
// because it brings neither background work nor dependencies. With all waiting operations in each commit it is fast
// enough: a commit takes two fsyncs, however many operations it has, and writes few pages, because operations go to their
// documents by way of a journal. Several share a key, because finding a key's place costs more than an operation.
package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/internal/record"
)

const (
	// file is the database's name in the store's directory.
	file = "documents.db"
	// lockTimeout is how long another process may take to let the file go.
	lockTimeout = 2 * time.Second
	// defaultBuffer bounds what waits for a commit.
	defaultBuffer = 64 << 20
	defaultShards = 256
	// batchSize and batchBytes bound a commit.
	batchSize  = 8192
	batchBytes = 16 << 20
	// commitInterval is the time from one commit to the next while several operations come at a time: each commit costs
	// the same two fsyncs, whatever it holds, and who waits for it does not notice.
	commitInterval = 10 * time.Millisecond
	// diskPause is how long a disk is left alone that does not take a commit.
	diskPause = 250 * time.Millisecond
	// compactFrom is the size from which a file that is mostly free space is written anew when it is opened.
	compactFrom = 64 << 20
	// format is the number of the file's layout. Version 1 had no journal, and 2 no runs: each operation was a record with
	// a key of its own, and those that are still there are read as runs of one.
	format = 3
)

// The buckets. Where a key is a document and a number, it is the name, a zero byte and the number in big endian.
var (
	bucketMeta       = []byte("meta")       // "format" → number
	bucketShards     = []byte("shards")     // shard → epoch, owner
	bucketDocuments  = []byte("documents")  // document → record in JSON
	bucketEnds       = []byte("ends")       // document → end
	bucketOperations = []byte("operations") // document and number of the last one → run
	bucketJournal    = []byte("journal")    // number → run
	bucketSnapshots  = []byte("snapshots")  // document → number, time, state
	bucketBases      = []byte("bases")      // document and number → time, state
	bucketVersions   = []byte("versions")   // document and number → time, name, user, state
	bucketUntold     = []byte("untold")     // hash and document → nothing
	bucketPurged     = []byte("purged")     // document → time
)

// Options are what a Store needs.
type Options struct {
	// Directory is where the file is; it is made if it is not there. Required.
	Directory string
	// Shards is the number of shards that documents are hashed to, a power of two; 256 if it is 0.
	Shards int32
	// BufferBytes bounds the operations that wait for being committed; 64 MiB if it is 0.
	BufferBytes int64
	// History says how much of the past is kept.
	History storage.History
	// Now tells the time of records and of the retention; time.Now if it is nil.
	Now func() time.Time
	// Metrics takes what is measured. Optional.
	Metrics *storage.Metrics
	// Logger is slog.Default if it is nil.
	Logger *slog.Logger

	// openFile is os.OpenFile but in tests of disks that fail, spreadAfter the constant but in tests of crashes.
	openFile    openFile
	spreadAfter time.Duration
}

// Store opens shards. It is safe for concurrent use.
type Store struct {
	db      *bolt.DB
	options Options
	logger  *slog.Logger
	stop    context.CancelFunc
	ended   <-chan struct{}
	wait    sync.WaitGroup
	wake    chan struct{}
	// hurry has a value when there is no time for gathering.
	hurry   chan struct{}
	journal *journal

	mu     sync.Mutex
	closed bool
	open   map[int32]*shard
	// queue is what is not committed, the first of it being in the commit that is under way. operations and snapshots are
	// the sizes of its parts.
	queue                 []*item
	committing            int
	operations, snapshots int64
}

// item is an operation or a snapshot that is to be committed.
type item struct {
	shard    *shard
	entry    storage.Entry
	snapshot *storage.Snapshot
	done     func(error)
	// settled says that err is what became of it.
	settled bool
	err     error
	// gone says that nobody waits for the snapshot anymore. The Store's mutex guards it.
	gone bool
}

// size is about what the item takes in memory, in bytes.
func (i *item) size() int64 {
	n := 64 + int64(len(i.entry.Update))
	if i.snapshot != nil {
		n += int64(len(i.snapshot.State))
	}
	return n
}

// Open opens the store in a directory, which one process at a time can do.
func Open(options Options) (*Store, error) {
	options.History = options.History.WithDefaults()
	if options.BufferBytes == 0 {
		options.BufferBytes = defaultBuffer
	}
	if options.Shards == 0 {
		options.Shards = defaultShards
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.spreadAfter == 0 {
		options.spreadAfter = spreadAfter
	}
	db, err := open(options)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Store{
		db: db, options: options, logger: options.Logger, stop: stop, ended: ctx.Done(), wake: make(chan struct{}, 1),
		hurry: make(chan struct{}, 1), journal: newJournal(options.spreadAfter),
		open: map[int32]*shard{},
	}
	s.wait.Go(func() { s.commit(ctx) })
	s.wait.Go(func() { s.tidy(ctx) })
	return s, nil
}

// open opens the database, and writes it anew first if it is mostly free space.
func open(options Options) (*bolt.DB, error) {
	if err := os.MkdirAll(options.Directory, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	path := filepath.Join(options.Directory, file)
	db, err := openDatabase(path, options.openFile)
	if err != nil {
		return nil, err
	}
	if free := free(db); free > compactFrom/2 && free > size(db)/2 {
		before := size(db)
		if db, err = compact(db, path, options.openFile); err != nil {
			return nil, err
		}
		options.Logger.Info("Wrote the store's file anew without its free space", "before", before, "after", size(db))
	}
	return db, nil
}

// openFile is bbolt's Options.OpenFile.
type openFile func(name string, flag int, mode os.FileMode) (*os.File, error)

func openDatabase(path string, openFile openFile) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, OpenFile: openFile,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("another process uses %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store's file: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{
			bucketMeta, bucketShards, bucketDocuments, bucketEnds, bucketOperations, bucketSnapshots, bucketBases,
			bucketVersions, bucketUntold, bucketPurged, bucketJournal,
		} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if known := meta.Get([]byte("format")); known != nil && binary.BigEndian.Uint64(known) > format {
			return fmt.Errorf("%s was written by a newer version", path)
		}
		if err := spread(tx); err != nil {
			return err
		}
		return meta.Put([]byte("format"), binary.BigEndian.AppendUint64(nil, format))
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("prepare the store's file: %w", err)
	}
	return db, nil
}

// size and free are the sizes of the file and of its free pages, in bytes.
func size(db *bolt.DB) int64 {
	var n int64
	_ = db.View(func(tx *bolt.Tx) error {
		n = tx.Size()
		return nil
	})
	return n
}

func free(db *bolt.DB) int64 {
	// Statistics are those of the last writing transaction, which openDatabase has made.
	return int64(db.Stats().FreePageN) * int64(db.Info().PageSize)
}

// compact writes the file anew and puts the new one in the place of the old one at once.
func compact(db *bolt.DB, path string, openFile openFile) (*bolt.DB, error) {
	anew := path + ".new"
	fail := func(err error) (*bolt.DB, error) {
		_ = db.Close()
		_ = os.Remove(anew)
		return nil, fmt.Errorf("write the store's file anew: %w", err)
	}
	if err := os.Remove(anew); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	to, err := bolt.Open(anew, 0o600, &bolt.Options{Timeout: lockTimeout, NoFreelistSync: true})
	if err != nil {
		return fail(err)
	}
	err = bolt.Compact(to, db, batchBytes)
	if err := errors.Join(err, to.Close()); err != nil {
		return fail(err)
	}
	if err := os.Rename(anew, path); err != nil {
		return fail(err)
	}
	if err := db.Close(); err != nil {
		return nil, fmt.Errorf("close the store's old file: %w", err)
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("write the store's file anew: %w", err)
	}
	defer func() { _ = directory.Close() }()
	if err := directory.Sync(); err != nil {
		return nil, fmt.Errorf("write the store's file anew: %w", err)
	}
	return openDatabase(path, openFile)
}

// Catalog returns the catalogue of all documents.
func (s *Store) Catalog() storage.Catalog { return catalog{s} }

// Open implements storage.Store.
func (s *Store) Open(_ context.Context, number int32, epoch int64, owner string) (storage.Shard, error) {
	start := time.Now()
	opened := newShard(s, number, epoch)
	key := binary.BigEndian.AppendUint32(nil, uint32(number)) //nolint:gosec // The same bits are read again.
	var before *shard
	err := s.update(func(tx *bolt.Tx) error {
		shards := tx.Bucket(bucketShards)
		if known := shards.Get(key); len(known) >= 8 {
			highest := int64(binary.BigEndian.Uint64(known)) //nolint:gosec // It was one.
			if highest > epoch || highest == epoch && string(known[8:]) != owner {
				return storage.ErrFenced
			}
		}
		if err := shards.Put(key, append(binary.BigEndian.AppendUint64(nil, uint64(epoch)), owner...)); err != nil {
			return err
		}
		// Within the transaction, so that nothing of the former opening is committed after it.
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			return storage.ErrClosed
		}
		before = s.open[number]
		s.open[number] = opened
		return nil
	})
	if before != nil {
		before.end()
	}
	if err != nil {
		s.forget(opened)
		if errors.Is(err, storage.ErrFenced) || errors.Is(err, storage.ErrClosed) {
			return nil, err
		}
		return nil, fmt.Errorf("open the shard: %w", err)
	}
	s.options.Metrics.Opened(time.Since(start), false)
	return opened, nil
}

// Close implements storage.Store.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	shards := make([]*shard, 0, len(s.open))
	for _, opened := range s.open {
		shards = append(shards, opened)
	}
	s.mu.Unlock()
	var errs []error
	for _, opened := range shards {
		if err := opened.Close(ctx); err != nil && !errors.Is(err, storage.ErrFenced) {
			errs = append(errs, fmt.Errorf("close shard %d: %w", opened.number, err))
		}
	}
	s.stop()
	s.wait.Wait()
	if err := s.db.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close the store's file: %w", err))
	}
	return errors.Join(errs...)
}

func (s *Store) forget(closed *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[closed.number] == closed {
		delete(s.open, closed.number)
	}
}

// commit is the committer: it commits all that waits, as often as something does, until ctx ends.
func (s *Store) commit(ctx context.Context) {
	healthy := true
	for {
		batch := s.batch()
		if len(batch) == 0 && !s.idle(ctx) {
			if ctx.Err() != nil {
				return
			}
			continue
		}
		start := time.Now()
		refused, err := s.store(batch)
		if err != nil {
			s.uncommitted()
			s.options.Metrics.Failed("disk")
			if healthy {
				s.logger.Error("The disk does not take operations; trying again", "error", err)
			}
			healthy = false
			pause(ctx, diskPause)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		if !healthy {
			s.logger.Info("The disk takes operations again")
			healthy = true
		}
		if len(batch) > 0 {
			s.options.Metrics.Appended(time.Since(start))
		}
		s.committed(batch, refused)
		// Whoever waits for one operation before the next is not held up.
		if len(batch) > 1 {
			s.gather(ctx, commitInterval-time.Since(start))
		}
	}
}

// idle waits until something is to be committed or the journal is to be emptied, in which case it returns true, or ctx
// ends.
func (s *Store) idle(ctx context.Context) (due bool) {
	var timer <-chan time.Time
	if at, ok := s.journal.due(); ok {
		timer = time.After(time.Until(at))
	}
	select {
	case <-s.wake:
		return false
	case <-timer:
		return true
	case <-ctx.Done():
		return false
	}
}

// gather lets operations come for a time, unless somebody waits for all of them to be committed, or they are many.
func (s *Store) gather(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.hurry:
	case <-ctx.Done():
	}
}

// batch is what is committed next. It stays in the queue meanwhile.
func (s *Store) batch() []*item {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, bytes := 0, int64(0)
	for n < len(s.queue) && n < batchSize && bytes < batchBytes {
		bytes += s.queue[n].size()
		n++
	}
	s.committing = n
	return s.queue[:n:n]
}

// uncommitted says that a batch could not be committed.
func (s *Store) uncommitted() {
	s.mu.Lock()
	s.committing = 0
	s.mu.Unlock()
	s.withdraw(nil)
}

// withdraw takes a snapshot that nobody waits for off the queue, and those before that were being committed. If it is
// being committed itself it stays until that has failed.
func (s *Store) withdraw(withdrawn *item) {
	var gone []*item
	s.mu.Lock()
	if withdrawn != nil {
		withdrawn.gone = true
	}
	rest := slices.DeleteFunc(s.queue[s.committing:], func(i *item) bool {
		if i.gone {
			gone = append(gone, i)
		}
		return i.gone
	})
	s.queue = s.queue[:s.committing+len(rest)]
	s.count(-1, gone...)
	s.mu.Unlock()
	for _, i := range gone {
		i.shard.settle(i, storage.ErrClosed)
		i.shard.told(1)
	}
}

// count adds items to the sizes, or takes them from them. The caller holds mu.
func (s *Store) count(sign int64, items ...*item) {
	var sum int64
	for _, i := range items {
		size := sign * i.size()
		sum += size
		if i.snapshot == nil {
			s.operations += size
		} else {
			s.snapshots += size
		}
	}
	s.options.Metrics.Buffered(int(sign)*len(items), sum)
}

// store writes a batch, and returns what is not to be written: what is of shards that were opened anew or, without
// saying so to who sent operations, of purged documents. If it is time it empties the journal, too.
func (s *Store) store(batch []*item) (refused map[*item]error, err error) {
	at, ok := s.journal.due()
	err = s.transact(ok && !time.Now().Before(at), func(tx *bolt.Tx) (noted []*item, err error) {
		refused, noted, err = s.write(tx, batch)
		return noted, err
	})
	return refused, err
}

// write writes a batch within a transaction, and returns what went into the journal. Operations of purged documents are
// dropped where they are put to their documents.
func (s *Store) write(tx *bolt.Tx, batch []*item) (refused map[*item]error, noted []*item, err error) {
	refused, noted = s.outdated(batch), make([]*item, 0, len(batch))
	direct := newPlacer(tx)
	for _, i := range batch {
		switch {
		case refused[i] != nil:
		case i.snapshot != nil && purged(tx, i.entry.Document):
			refused[i] = storage.ErrDeleted
		case i.snapshot != nil:
			err = s.storeSnapshot(tx, i.entry.Document, *i.snapshot)
		case len(i.entry.Update) <= journaledBytes:
			noted = append(noted, i)
		default:
			err = direct.place(i.entry, record.Encode(i.entry))
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if err := s.journal.note(tx, noted); err != nil {
		return nil, nil, err
	}
	return refused, noted, direct.finish()
}

// outdated refuses the items of shards that were opened anew. No shard is while a transaction writes.
func (s *Store) outdated(batch []*item) map[*item]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := map[*item]error{}
	for _, i := range batch {
		if s.open[i.shard.number] != i.shard {
			refused[i] = storage.ErrFenced
		}
	}
	return refused
}

// committed tells what became of a batch.
func (s *Store) committed(batch []*item, refused map[*item]error) {
	s.mu.Lock()
	s.queue = s.queue[len(batch):]
	s.committing = 0
	s.count(-1, batch...)
	s.mu.Unlock()
	settled := map[*shard]int{}
	for _, i := range batch {
		i.shard.settle(i, refused[i])
		settled[i.shard]++
	}
	for opened, items := range settled {
		opened.told(items)
	}
}

// end is what is known of a document's operations.
type end struct {
	// seq and time are the last operation's, dropped is the last one that retention has dropped.
	seq, time, dropped int64
}

func (e end) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(e.seq))
	b = binary.BigEndian.AppendUint64(b, uint64(e.time))
	return binary.BigEndian.AppendUint64(b, uint64(e.dropped))
}

func readEnd(tx *bolt.Tx, document string) end {
	b := tx.Bucket(bucketEnds).Get([]byte(document))
	if len(b) != 24 {
		return end{}
	}
	return end{seq: integer(b), time: integer(b[8:]), dropped: integer(b[16:])}
}

// integer reads what was written as a big-endian uint64.
func integer(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) } //nolint:gosec // It was one.

// numbered is the key of something of a document that has a number.
func numbered(document string, seq int64) []byte {
	b := append(make([]byte, 0, len(document)+9), document...)
	b = append(b, 0)
	return binary.BigEndian.AppendUint64(b, uint64(seq))
}

// numberOf is the number of a key, if it is one of the document's.
func numberOf(key []byte, document string) (seq int64, ok bool) {
	if len(key) != len(document)+9 || string(key[:len(document)]) != document || key[len(document)] != 0 {
		return 0, false
	}
	return integer(key[len(document)+1:]), true
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
