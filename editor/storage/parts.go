package storage

import (
	"context"
	"time"
)

// The interfaces below are implemented by the stores and shards that have what they speak of; whoever wants it asks by
// a type assertion.

// Leaver is implemented by shards that keep acknowledged operations in memory until the database has them.
type Leaver interface {
	// Unflushed returns, once the shard is fenced, the operations that it took and of which it does not know that the
	// database has them, in order. The new owner may have read them from the log; operations may be applied twice.
	// Before the shard is fenced there are none.
	Unflushed() []Entry
}

// Finder is implemented by shards that may find operations of a former owner after documents have been loaded, because
// the log could not be read before.
type Finder interface {
	// OnOutdated calls outdated with the name of each document that lacks such operations, from a goroutine of the
	// shard that holds no lock. The document must be closed and loaded again; its snapshots are refused until then.
	// What was found before the call is told as well. It must be called once at most.
	OnOutdated(outdated func(document string))
}

// Unloader is implemented by shards that remember which documents are open.
type Unloader interface {
	// Unload says that a document is closed and will be loaded before it is appended to again. It saves memory.
	Unload(document string)
}

// Flusher is implemented by shards whose operations may reach the database later than they are acknowledged.
type Flusher interface {
	// Flush returns when the database has everything that was appended to a document, which nobody appends to meanwhile.
	Flush(ctx context.Context, document string) error
}

// Publisher is implemented by shards of a Feed.
type Publisher interface {
	// OnPublishing calls changed, in order, with false when operations are not published anymore, and with true when they
	// are again; first with false, before it returns, if they are not now. changed must not call the shard. OnPublishing
	// must be called once at most.
	OnPublishing(changed func(works bool))
}

// Feed is implemented by stores that tell any number of processes of operations whose entries say Publish. It is for
// documents with so many readers that telling them one by one would cost their owner too much.
type Feed interface {
	// Subscribe calls take with each published operation of the document, and lost whenever some may have been missed:
	// then the subscriber must synchronize. Both are called from one goroutine and must not block. lost is called
	// first, as soon as the subscription stands. No call begins after stop has returned.
	Subscribe(document string, take func(Entry), lost func()) (stop func())
}

// Notices is implemented by stores that remember of which changes the application has been told, so that it hears of
// those whose owner died before it told them. It is safe for concurrent use.
type Notices interface {
	// Pending returns documents of the shard that have operations of which the application was not told, at most limit,
	// in an order of the store's own: from the one after the document after, or from the first if that is empty.
	Pending(ctx context.Context, shard int32, after string, limit int) ([]Notice, error)
	// Delivered remembers that the application was told of the documents' changes up to an operation each. Operations
	// that are not there are left alone: they may be those of a document that was purged and begins anew.
	Delivered(ctx context.Context, told map[string]int64) error
}

// Notice says that a document has changed.
type Notice struct {
	// Document is the document's full name, "org/document".
	Document string
	// Seq, User and Time are those of its last operation; User is empty where it is not known anymore.
	Seq  int64
	User string
	Time time.Time
}
