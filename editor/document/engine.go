package document

import (
	"crypto/sha256"

	"collab.dev/operator/editor/protocol"
)

// engine holds a document's content.
type engine interface {
	// Apply integrates an update as operation seq. If it changes nothing because an earlier operation contains it,
	// Apply returns that operation's number, else 0. An error says that the update is malformed.
	Apply(update []byte, seq int64) (known int64, err error)
	// Diff returns updates that bring a document with this state vector up to date.
	Diff(stateVector []byte) ([][]byte, error)
	// StateVector says what the content has.
	StateVector() []byte
}

// opaque keeps updates as they came. It asks everybody for everything (its state vector is empty) and recognizes only
// updates that are equal byte by byte, which is enough for correctness: Yjs updates are idempotent.
type opaque struct {
	updates [][]byte
	seen    map[[sha256.Size]byte]int64
}

func newOpaque() *opaque { return &opaque{seen: map[[sha256.Size]byte]int64{}} }

func (o *opaque) Apply(update []byte, seq int64) (int64, error) {
	sum := sha256.Sum256(update)
	if known, ok := o.seen[sum]; ok {
		return known, nil
	}
	o.seen[sum] = seq
	o.updates = append(o.updates, update)
	return 0, nil
}

// Diff returns all updates: the elements never change and later updates are appended beyond the returned slice.
func (o *opaque) Diff([]byte) ([][]byte, error) {
	return o.updates[:len(o.updates):len(o.updates)], nil
}

func (*opaque) StateVector() []byte { return protocol.EmptyStateVector() }
