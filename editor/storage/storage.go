// Package storage owns the contract between an open document and what makes it durable.
//
// A Store opens shards; an open Shard is the only way to read and write its documents, and everything that is written
// through it is fenced by the shard's epoch. The package knows nothing of Redis, PostgreSQL, sockets or Yjs: updates
// are opaque bytes.
package storage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

var (
	// ErrFenced says that the shard belongs to a higher epoch by now. Its owner must drop the shard.
	ErrFenced = errors.New("the shard belongs to a newer owner")
	// ErrOverloaded says that the stores are down or too slow and the bounded buffer is full: the update was not
	// taken, and the client should feel backpressure.
	ErrOverloaded = errors.New("the store's buffer is full")
	// ErrUnavailable says that the database is down or does not answer in time: it may take the same later.
	ErrUnavailable = errors.New("the database is not available")
	// ErrClosed says that the shard or the store was closed.
	ErrClosed = errors.New("the shard is closed")
	// ErrOutdated says that operations of a former owner were found after the document was loaded: it lacks them until
	// it is loaded again.
	ErrOutdated = errors.New("the document lacks operations of a former owner")
	// ErrName says that a document's name cannot be stored.
	ErrName = errors.New("the document's name is not valid")
)

// Entry is one stored operation of a document.
type Entry struct {
	// Document is the document's full name, "org/document".
	Document string
	// Seq numbers the document's operations from 1 without gaps, in the order in which the owner integrated them.
	Seq int64
	// Time is the hybrid logical timestamp: it never falls within a document.
	Time time.Time
	// User says who made the change; empty where nobody is known.
	User string
	// Origin says how the change came, as "y-websocket", "hocuspocus" or "rest"; empty where it is not known.
	Origin string
	// Publish asks a store that is a Feed to tell the document's subscribers, together with the appending. It is not
	// stored.
	Publish bool
	// Update is the change in Yjs's update format v1.
	Update []byte
}

// Snapshot is a document's whole state after an operation.
type Snapshot struct {
	// Seq is the last operation that the snapshot contains.
	Seq int64
	// Time is that operation's hybrid logical timestamp.
	Time time.Time
	// State is the state in Yjs's update format v1.
	State []byte
}

// Document is a stored document: a snapshot, if there is one, and all operations after it in order.
type Document struct {
	Snapshot *Snapshot
	Tail     []Entry
}

// LastSeq is the sequence number of the document's last operation, 0 if it has none.
func (d Document) LastSeq() int64 {
	if n := len(d.Tail); n > 0 {
		return d.Tail[n-1].Seq
	}
	if d.Snapshot != nil {
		return d.Snapshot.Seq
	}
	return 0
}

// Add adds operations that were appended and that the document may lack, and restores the order.
func (d *Document) Add(appended ...Entry) {
	known := make(map[int64]bool, len(d.Tail))
	for _, e := range d.Tail {
		known[e.Seq] = true
	}
	for _, e := range appended {
		if !known[e.Seq] && (d.Snapshot == nil || e.Seq > d.Snapshot.Seq) {
			d.Tail = append(d.Tail, e)
		}
	}
	slices.SortFunc(d.Tail, func(a, b Entry) int { return cmp.Compare(a.Seq, b.Seq) })
}

// Store opens shards. It is safe for concurrent use.
type Store interface {
	// Open fences all lower epochs of the shard out of every store, reads what the durable log holds beyond the
	// database, and returns the shard. It fails with ErrFenced if a higher epoch is known. owner is the pod's name, for
	// people who look at the database.
	Open(ctx context.Context, shard int32, epoch int64, owner string) (Shard, error)
	// Close flushes and closes all shards and ends the store's goroutines. It waits no longer than ctx.
	Close(ctx context.Context) error
}

// Shard is one open shard. It is safe for concurrent use.
type Shard interface {
	// Load reads a document, including what only the log has. It returns when all that it returns is as durable as
	// configured, and the done functions of these operations were called: whoever repeats one of them may be told that it
	// is stored. The caller must not hold a lock that they take. It fails with ErrDeleted while the document is deleted.
	Load(ctx context.Context, document string) (Document, error)
	// Append takes an operation and returns at once. done is called exactly once, from another goroutine and in the
	// order of appending: with nil when the operation is as durable as configured, or with ErrFenced, ErrOverloaded
	// or ErrClosed. Before done is called nobody may be told that the operation is stored. Update must not change
	// afterwards.
	Append(entry Entry, done func(error))
	// WriteSnapshot stores a snapshot of a document whose operations up to snapshot.Seq have been appended. It
	// replaces older snapshots, of which some are kept as bases of the history. It calls no done function, so that its
	// caller may hold the lock that done takes. It fails with ErrOutdated if the document has to be loaded again, with
	// ErrDeleted if it was purged, and with ErrUnavailable if that is the reason.
	WriteSnapshot(ctx context.Context, document string, snapshot Snapshot) error
	// Fenced is closed when the shard has learned that a higher epoch exists.
	Fenced() <-chan struct{}
	// Close flushes what was appended to the database, as long as ctx allows, and closes the shard. What could not
	// be flushed stays in the log for the next owner.
	Close(ctx context.Context) error
}
