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
