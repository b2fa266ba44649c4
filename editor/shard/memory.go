package shard

import (
	"context"
	"slices"
	"time"

	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/storage"
)

const (
	// sweepPeriod is how often idle documents are looked for, and hurry how long to wait before looking again while
	// documents are opened or the memory is short.
	sweepPeriod = 10 * time.Second
	hurry       = time.Second
)

// sweep closes documents that are idle or do not fit into the memory, until ctx ends.
func (m *Manager) sweep(ctx context.Context) {
	timer := time.NewTimer(sweepPeriod)
	defer timer.Stop()
	for {
		opened := m.opened
		select {
		case <-opened:
			// Many documents may be opened at once, after a take-over.
			select {
			case <-time.After(hurry):
			case <-ctx.Done():
			}
		case <-timer.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return
		}
		if m.closeUnused(time.Now()) {
			timer.Reset(hurry)
		} else {
			timer.Reset(sweepPeriod)
		}
	}
}

// candidate is an open document.
type candidate struct {
	owned    *owned
	name     string
	document *document.Document
	use      document.Use
}

// closeUnused closes what need not or cannot stay open. It says whether the memory is still too small.
func (m *Manager) closeUnused(now time.Time) (short bool) {
	var open []candidate
	m.mu.Lock()
	for _, o := range m.shards {
		o.mu.Lock()
		for name, d := range o.documents {
			switch {
			case d.document != nil:
				open = append(open, candidate{owned: o, name: name, document: d.document})
			case !d.until.IsZero() && now.After(d.until):
				delete(o.documents, name)
			}
		}
		o.mu.Unlock()
	}
	m.mu.Unlock()
	total := 0
	for i := range open {
		open[i].use = open[i].document.Use()
		total += open[i].use.Bytes
	}
	idle, evicted := unused(open, m.opts.MemoryBudget, now.Add(-m.opts.IdleAfter))
	for _, c := range slices.Concat(idle, evicted) {
		// Closing may take a snapshot first; then the next sweep closes it.
		if c.document.CloseIfIdle() {
			total -= c.use.Bytes
			c.owned.forget(c.name, c.document)
		}
	}
	m.opts.Metrics.memory(total, len(evicted))
	return m.opts.MemoryBudget > 0 && total > m.opts.MemoryBudget
}

// unused picks the documents that nobody has used since, and of the other unattended ones the least recently used as
// long as all together exceed the budget in bytes; a budget of 0 has room for everything.
func unused(open []candidate, budget int, since time.Time) (idle, evicted []candidate) {
	total := 0
	var free []candidate
	for _, c := range open {
		switch {
		case c.use.Attended:
			total += c.use.Bytes
		case c.use.Last.Before(since):
			idle = append(idle, c)
		default:
			total += c.use.Bytes
			free = append(free, c)
		}
	}
	slices.SortFunc(free, func(a, b candidate) int { return a.use.Last.Compare(b.use.Last) })
	for ; budget > 0 && total > budget && len(free) > 0; free = free[1:] {
		total -= free[0].use.Bytes
		evicted = append(evicted, free[0])
	}
	return idle, evicted
}

// forget drops a document that was closed.
func (o *owned) forget(name string, d *document.Document) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if present := o.documents[name]; present != nil && present.document == d {
		delete(o.documents, name)
		o.unload(name)
	}
}

// unload lets the stores forget a document that was closed. The caller holds mu.
func (o *owned) unload(name string) {
	if u, ok := o.shard.(storage.Unloader); ok {
		u.Unload(name)
	}
}
