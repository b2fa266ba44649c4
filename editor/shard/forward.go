package shard

import (
	"context"
	"sync"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/storage"
)

const (
	// forwardTimeout bounds how long a shard's new owner may take to be told of what was acknowledged here.
	forwardTimeout = 10 * time.Second
	// parallelForwards bounds the documents of a shard that are forwarded at a time.
	parallelForwards = 16
)

// forward brings operations that were acknowledged here, and that the stores may have lost since, to the shard's new
// owner: all of a document's user at once, several documents at a time.
func (m *Manager) forward(left []storage.Entry, shard int32) {
	if len(left) == 0 || m.opts.Forward == nil {
		return
	}
	log := m.opts.Logger.With("shard", shard)
	ctx, cancel := context.WithTimeout(context.Background(), forwardTimeout)
	defer cancel()
	documents := merged(left)
	failed := make(chan error, len(documents))
	turns := make(chan struct{}, parallelForwards)
	var wait sync.WaitGroup
	for _, changes := range documents {
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			for _, c := range changes {
				if err := m.opts.Forward(ctx, c.document, c.user, c.update); err != nil {
					failed <- err
					return
				}
				m.opts.Metrics.forward(c.operations)
			}
		})
	}
	wait.Wait()
	close(failed)
	if n := len(failed); n > 0 {
		log.Error("The new owner was not told of acknowledged operations; it has them if the log has them",
			"operations", len(left), "documents", len(documents), "failed", n, "error", <-failed)
		return
	}
	log.Info("The new owner has the operations that were acknowledged here", "operations", len(left))
}

// change is what a user did in a document.
type change struct {
	document, user string
	update         []byte
	operations     int
}

// merged joins what a user did in a document to one change, and returns each document's changes. Their order does not
// matter: what builds upon another one waits for it.
func merged(left []storage.Entry) (documents [][]change) {
	type author struct{ document, user string }
	var authors []author
	updates := map[author][][]byte{}
	for _, e := range left {
		by := author{e.Document, e.User}
		if updates[by] == nil {
			authors = append(authors, by)
		}
		updates[by] = append(updates[by], e.Update)
	}
	index := map[string]int{}
	for _, by := range authors {
		at, ok := index[by.document]
		if !ok {
			at = len(documents)
			index[by.document], documents = at, append(documents, nil)
		}
		operations, all := len(updates[by]), updates[by]
		if whole, err := crdt.MergeUpdates(all); err == nil {
			all = [][]byte{whole}
		}
		for _, update := range all {
			documents[at] = append(documents[at], change{by.document, by.user, update, operations / len(all)})
		}
	}
	return documents
}
