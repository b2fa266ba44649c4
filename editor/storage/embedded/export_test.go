package embedded

import (
	"os"
	"time"

	"collab.dev/operator/editor/storage"
)

// OnDisk lets a store of the options open its file by a function.
func OnDisk(options Options, open func(name string, flag int, mode os.FileMode) (*os.File, error)) Options {
	options.openFile = open
	return options
}

// SpreadAfter lets a store of the options empty its journal so long after the first operation.
func SpreadAfter(options Options, after time.Duration) Options {
	options.spreadAfter = after
	return options
}

// Waiting is the number of items of a shard in the queue.
func Waiting(opened storage.Shard) int {
	s := opened.(*shard)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// Journaled says whether there is something in the journal.
func Journaled(s *Store) bool { return s.journal.has("") }

// RunBytes bounds runs of several operations.
const RunBytes = runBytes

// Commit commits operations of a shard together. No others may be on their way.
func Commit(opened storage.Shard, entries ...storage.Entry) error {
	s := opened.(*shard)
	batch := make([]*item, 0, len(entries))
	for _, e := range entries {
		batch = append(batch, &item{shard: s, entry: e})
	}
	_, err := s.store.store(batch)
	return err
}

// Untold is the key of a document of whose changes the application was not told.
func Untold(document string) []byte { return untold(document) }
