package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/protocol"
)

// ErrName says that a document's name is not "organization/document".
var ErrName = errors.New("not a document's name")

// ErrDraining says that the edge is closed. While it drains, sessions can be opened: what was acknowledged here may have to
// be handed on.
var ErrDraining = errors.New("the server is about to stop")

// ErrDeleted says that the document is deleted.
var ErrDeleted = errors.New("the document is deleted")

// RefusedError says that the document's owner refused a change for good.
type RefusedError struct{ Reason document.Reason }

// Error implements error.
func (e *RefusedError) Error() string { return "the change was refused: " + string(e.Reason) }

// Session is a participant within this process, for the REST API and the like. It is safe for concurrent use.
type Session struct {
	room   *room
	member member
	// by is who its changes are stored as.
	by string

	changes chan struct{}
	left    sync.Once
	// deleted is closed when the document turns out to be.
	deleted chan struct{}
	closing sync.Once

	// asking lets one State ask at a time.
	asking chan struct{}
	mu     sync.Mutex
	answer chan []byte
}

// Open attaches to a document as a client would, wherever its owner is. origin and user are who its changes are stored
// as. It fails with ErrName and ErrDraining. Close ends the session.
func (e *Edge) Open(document, origin, user string) (*Session, error) {
	if !validName(document) {
		return nil, fmt.Errorf("%w: %.100q", ErrName, document)
	}
	s := &Session{
		by:      peer.Author(origin, user),
		changes: make(chan struct{}, 1), asking: make(chan struct{}, 1), deleted: make(chan struct{}),
	}
	s.member = member{participant: s, silent: true}
	if s.room = e.join(document, &s.member, false); s.room == nil {
		return nil, ErrDraining
	}
	return s, nil
}

func (s *Session) author() string { return s.by }

func (s *Session) gone() { s.closing.Do(func() { close(s.deleted) }) }

func (s *Session) send(m message) {
	switch m.kind {
	case protocol.SyncStep2:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.answer != nil {
			s.answer <- m.payload // It has room for the one answer.
			s.answer = nil
		}
	case protocol.Update:
		select {
		case s.changes <- struct{}{}:
		default:
		}
	default:
		// Sessions have no presence.
	}
}

// State returns the whole document as an update in format v1. It waits for an owner as long as ctx allows. It fails with
// ErrDeleted.
func (s *Session) State(ctx context.Context) ([]byte, error) {
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the document: %w", ctx.Err())
	}
	answer := make(chan []byte, 1)
	s.mu.Lock()
	s.answer = answer
	s.mu.Unlock()
	s.room.sync(&s.member, protocol.EmptyStateVector(), false)
	select {
	case state := <-answer:
		return state, nil
	case <-s.deleted:
		return nil, ErrDeleted
	case <-ctx.Done():
		s.mu.Lock()
		s.answer = nil
		s.mu.Unlock()
		return nil, fmt.Errorf("wait for the document: %w", ctx.Err())
	}
}

// Apply changes the document, and returns when the change is durable. It fails with a RefusedError, ErrDeleted, or when
// ctx ends: then the change may still be stored.
func (s *Session) Apply(ctx context.Context, update []byte) error {
	if protocol.IsEmptyUpdate(update) {
		return nil
	}
	if err := crdt.ValidateUpdate(update); err != nil {
		return &RefusedError{document.Malformed}
	}
	return s.wait(ctx, func(done fate) bool { return s.room.update(caller{ctx}, &s.member, update, false, done) })
}

// caller waits for a session as long as its context allows.
type caller struct{ context.Context } //nolint:containedctx // It is one call's.

func (caller) waits(something func()) { something() }

// answer is where the fate of one change is waited for.
type answer chan error

func (a answer) decided(why document.Reason, ok bool) {
	switch {
	case ok:
		a <- nil
	case why == document.Deleted:
		a <- ErrDeleted
	default:
		a <- &RefusedError{why}
	}
}

// wait asks the owner for something and waits for the answer.
func (s *Session) wait(ctx context.Context, ask func(fate) bool) error {
	answer := make(answer, 1)
	if !ask(answer) {
		return fmt.Errorf("wait for the document: %w", ctx.Err())
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("wait for the document's owner: %w", ctx.Err())
	}
}

// Evict closes a document for everybody who has it open, wherever its owner is: who comes back finds it as it is stored. It
// fails with ErrName, ErrDraining, or when ctx ends.
func (e *Edge) Evict(ctx context.Context, document string) error {
	s, err := e.Open(document, "", "")
	if err != nil {
		return err
	}
	defer s.Close()
	return s.wait(ctx, func(done fate) bool { return s.room.evict(caller{ctx}, done) })
}

// Changes has a value when the document was changed by others since the last one was taken.
func (s *Session) Changes() <-chan struct{} { return s.changes }

// Close ends the session. What was applied is still stored.
func (s *Session) Close() { s.left.Do(func() { s.room.leave(&s.member) }) }
