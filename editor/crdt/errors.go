package crdt

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalidUpdate reports bytes that are no well-formed update, state vector, snapshot or position. Whatever was
	// being applied has not changed the document.
	ErrInvalidUpdate = errors.New("invalid Yjs encoding")
	// ErrTooLarge reports input that is well-formed but beyond what this implementation holds: see MaxClock and
	// the limits in docs/crdt.md. It is an ErrInvalidUpdate too.
	ErrTooLarge = fmt.Errorf("%w: beyond the limits", ErrInvalidUpdate)
	// ErrOutOfBounds reports a position or a length beyond the end of a shared type.
	ErrOutOfBounds = errors.New("position is out of bounds")
	// ErrUnsupportedValue reports a Go value that no shared type can hold.
	ErrUnsupportedValue = errors.New("unsupported value")
	// ErrDetached reports the use of a shared type whose part of the document was deleted, or that was not inserted yet.
	ErrDetached = errors.New("shared type is not part of a document")
	// ErrCollected reports an operation on history that garbage collection may have removed.
	ErrCollected = errors.New("history was garbage collected")
)

// MaxClock bounds the clocks of one client: a client can make this many insertions into one document. Yjs bounds them
// by 2^53; four bytes per clock instead of eight are a good part of the memory that this package saves.
const MaxClock = 1<<31 - 1

func invalid(err error) error { return fmt.Errorf("%w: %w", ErrInvalidUpdate, err) }

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidUpdate, fmt.Sprintf(format, args...))
}
