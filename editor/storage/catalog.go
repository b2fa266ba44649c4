package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// The bounds of a record.
const (
	// MaxName bounds a document's full name, in bytes.
	MaxName = 512
	// MaxTitle bounds a title, in bytes.
	MaxTitle = 1024
	// MaxMetadata bounds the number of a record's metadata entries.
	MaxMetadata = 64
	// MaxMetadataBytes bounds the metadata's keys and values together.
	MaxMetadataBytes = 16 << 10
)

var (
	// ErrNotFound says that there is no such document or version, or that the history does not reach back to it.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the record has another version than was expected.
	ErrConflict = errors.New("the record was changed meanwhile")
	// ErrExists says that there is such a document already.
	ErrExists = errors.New("the document exists")
	// ErrDeleted says that the document is deleted: it can be restored, but not opened. A purged one can only be created
	// anew.
	ErrDeleted = errors.New("the document is deleted")
	// ErrRecord says that a record or version is beyond the bounds.
	ErrRecord = errors.New("the record is not valid")
)

// Record is what the catalogue knows of a document besides its content.
type Record struct {
	// Document is the document's full name, "org/document".
	Document string
	Title    string
	// Metadata is whatever the application wants: at most MaxMetadata entries of MaxMetadataBytes together.
	Metadata map[string]string
	// Version rises by one with each change of the record, from 1.
	Version int64
	// Created is the time of the record or of the first operation, Updated that of the last change of either.
	Created, Updated time.Time
	// Deleted is when the document was deleted; nil for a living one.
	Deleted *time.Time
	// LastSeq is the last operation that has reached the database, 0 if there is none.
	LastSeq int64
}

// Version is a named version of a document.
type Version struct {
	// Seq is the last operation that the version contains.
	Seq        int64
	Name, User string
	Created    time.Time
	// State is the document's state in Yjs's update format v1, which keeps the version beyond the history's retention.
	// It is empty in lists.
	State []byte
}

// Catalog is what a store knows of its documents besides serving them. It is safe for concurrent use. Lists return at
// most limit elements. What has only reached the log yet is not in it: it follows within a second.
type Catalog interface {
	// Create makes the record of a document, which need not have any content. The record's Version and times are
	// set by the store. It fails with ErrExists, also for deleted documents, but not for purged ones.
	Create(ctx context.Context, record Record) (Record, error)
	// Get returns a record, also of a deleted document. It fails with ErrNotFound.
	Get(ctx context.Context, document string) (Record, error)
	// List returns the records of an organization's documents in the byte order of their names, from the one after
	// the name "org/document" given by after, or from the first if that is empty: the deleted ones or the others.
	List(ctx context.Context, org, after string, limit int, deleted bool) ([]Record, error)
	// Update changes Title and Metadata. It fails with ErrNotFound if the document is not there or deleted, and with
	// ErrConflict if the record does not have the version, unless that is 0. change may be called more than once.
	Update(ctx context.Context, document string, version int64, change func(*Record)) (Record, error)
	// Delete marks the document as deleted or, with purge, removes its record, content and history for good; a deleted
	// document can be purged. The store remembers the name of a purged document as long as its history's retention or
	// until it is created anew: it cannot be opened, and what was on its way to the database is dropped. Who creates it
	// anew has to make sure that nobody has it open. It fails as Update does, and returns the record as it is, or was.
	Delete(ctx context.Context, document string, version int64, purge bool) (Record, error)
	// Restore takes a deletion back. It fails with ErrNotFound; a living document stays as it is.
	Restore(ctx context.Context, document string) (Record, error)
	// NameVersion names the document's version v.Seq, or names it anew. It fails with ErrNotFound.
	NameVersion(ctx context.Context, document string, v Version) error
	// Versions returns the named versions below the operation number before, or all if that is 0, newest first.
	Versions(ctx context.Context, document string, before int64, limit int) ([]Version, error)
	// Operations returns the stored operations below the number before, or all if that is 0, newest first and without
	// their updates.
	Operations(ctx context.Context, document string, before int64, limit int) ([]Entry, error)
	// StateAt returns a state that is not after the operation seq, if there is one, and the operations from there to
	// seq, for replaying. Beyond the last operation it returns the newest state. It fails with ErrNotFound when there
	// is no such document or the history's retention has dropped what is needed.
	StateAt(ctx context.Context, document string, seq int64) (Document, error)
}

// History says how much of the past a store keeps. Named versions with a state stay for good.
type History struct {
	// Retention is how long operations are kept at least, if snapshots contain them; others are always kept. 90 days
	// if it is 0.
	Retention time.Duration
	// BaseOperations and BaseInterval say how often a snapshot is kept as a base of the history: when the last base
	// is so many operations or so long ago. 10,000 and a day if they are 0.
	BaseOperations int64
	BaseInterval   time.Duration
}

// WithDefaults replaces what is 0.
func (h History) WithDefaults() History {
	if h.Retention == 0 {
		h.Retention = 90 * 24 * time.Hour
	}
	if h.BaseOperations == 0 {
		h.BaseOperations = 10_000
	}
	if h.BaseInterval == 0 {
		h.BaseInterval = 24 * time.Hour
	}
	return h
}

// ShardOf is the shard that a document belongs to. shards is a power of two.
func ShardOf(document string, shards int32) int32 {
	return int32(xxhash.Sum64String(document) & uint64(shards-1)) //nolint:gosec // Less than shards.
}

// CheckName fails with ErrName if a document cannot be stored under a name.
func CheckName(document string) error {
	org, rest, ok := strings.Cut(document, "/")
	if !ok || org == "" || rest == "" || len(document) > MaxName || !text(document) {
		return fmt.Errorf("%w: %.100q", ErrName, document)
	}
	return nil
}

// CheckEntry fails if an operation cannot be stored: its document's name is not valid, its time is beyond what
// databases know, or its user or origin is no text.
func CheckEntry(e Entry) error {
	if !text(e.User) || !text(e.Origin) {
		return fmt.Errorf("%w: the operation's user or origin is no text", ErrRecord)
	}
	if year := e.Time.Year(); year < 1 || year > 9999 {
		return fmt.Errorf("%w: the operation's time is %v", ErrRecord, e.Time)
	}
	return CheckName(e.Document)
}

// Check fails with ErrName or ErrRecord if the record is not valid.
func (r Record) Check() error {
	if err := CheckName(r.Document); err != nil {
		return err
	}
	if len(r.Title) > MaxTitle || !text(r.Title) {
		return fmt.Errorf("%w: its title is too long or no text", ErrRecord)
	}
	size := 0
	for key, value := range r.Metadata {
		if !text(key) || !text(value) {
			return fmt.Errorf("%w: its metadata is no text", ErrRecord)
		}
		size += len(key) + len(value)
	}
	if len(r.Metadata) > MaxMetadata || size > MaxMetadataBytes {
		return fmt.Errorf("%w: it has more metadata than %d entries or %d bytes", ErrRecord, MaxMetadata, MaxMetadataBytes)
	}
	return nil
}

// Check fails with ErrRecord if the version is not valid.
func (v Version) Check() error {
	if v.Seq < 0 || len(v.Name) > MaxTitle || !text(v.Name) || !text(v.User) {
		return fmt.Errorf("%w: the version's name is too long or no text", ErrRecord)
	}
	return nil
}

// text says whether a database takes the string as text.
func text(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// Text makes a string that a database takes as text: what is no text is replaced.
func Text(s string) string {
	if text(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
