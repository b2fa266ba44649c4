package edge_test

import (
	"context"
	"slices"
	"sync"

	"collab.dev/operator/editor/storage"
)

// memory is a Store without disks, shared by all pods of a test: it fences and keeps what was appended.
type memory struct {
	mu     sync.Mutex
	shards map[int32]*memoryShard
	data   map[string][]storage.Entry
	// deleted are the documents that cannot be opened.
	deleted map[string]bool
}

func newMemory() *memory {
	return &memory{shards: map[int32]*memoryShard{}, data: map[string][]storage.Entry{}, deleted: map[string]bool{}}
}

func (m *memory) Open(_ context.Context, shard int32, epoch int64, _ string) (storage.Shard, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.shards[shard]; old != nil {
		if old.epoch > epoch {
			return nil, storage.ErrFenced
		}
		old.fence()
	}
	s := &memoryShard{memory: m, epoch: epoch, fenced: make(chan struct{}), queue: make(chan func(), 1<<16)}
	m.shards[shard] = s
	go func() {
		for done := range s.queue {
			done()
		}
	}()
	return s, nil
}

func (m *memory) Close(context.Context) error { return nil }

func (m *memory) entries(document string) []storage.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data[document])
}

func (m *memory) remove(document string, deleted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deleted[document] = deleted
}

type memoryShard struct {
	memory *memory
	epoch  int64
	fenced chan struct{}
	queue  chan func()
	over   bool
	closed bool
}

func (s *memoryShard) fence() {
	if !s.over {
		s.over = true
		close(s.fenced)
	}
}

func (s *memoryShard) Load(_ context.Context, document string) (storage.Document, error) {
	s.memory.mu.Lock()
	deleted := s.memory.deleted[document]
	s.memory.mu.Unlock()
	if deleted {
		return storage.Document{}, storage.ErrDeleted
	}
	return storage.Document{Tail: s.memory.entries(document)}, nil
}

func (s *memoryShard) Append(e storage.Entry, done func(error)) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	switch {
	case s.closed:
		go done(storage.ErrClosed)
	case s.over:
		s.queue <- func() { done(storage.ErrFenced) }
	default:
		s.memory.data[e.Document] = append(s.memory.data[e.Document], e)
		s.queue <- func() { done(nil) }
	}
}

func (s *memoryShard) WriteSnapshot(context.Context, string, storage.Snapshot) error { return nil }
func (s *memoryShard) Fenced() <-chan struct{}                                       { return s.fenced }

func (s *memoryShard) Close(context.Context) error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	return nil
}
