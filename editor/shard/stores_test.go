//go:build stores

package shard

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/storage/durable"
	"collab.dev/operator/test/stores"
)

// pod is a manager on real stores, with an edge.
type pod struct {
	*testing.T
	server *stores.Server
	pool   *pgxpool.Pool
	store  *durable.Store
	edge   peer.Stream
	frames chan *peer.Frame
}

// startPod runs a manager that owns the only shard of a map.
func startPod(t *testing.T) *pod {
	t.Helper()
	_, client := stores.StartRedis(t)
	server, admin := stores.StartPostgres(t)
	if err := durable.Migrate(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	admin.Reset()
	named := *server
	named.Address += "&application_name=editor"
	p := &pod{T: t, server: server, pool: (&stores.Network{}).Postgres(t, &named), frames: make(chan *peer.Frame, 10_000)}
	log := slog.New(slog.DiscardHandler)
	p.store = durable.New(durable.Options{Redis: client, Postgres: p.pool, Shards: 1, Logger: log})
	maps := &Maps{}
	maps.Set(NewMap(v1alpha1.ShardMapSpec{
		Members: []v1alpha1.ShardMember{{Name: "a"}},
		Shards:  []v1alpha1.ShardAssignment{{Shard: 0, Owner: "a", Epoch: 1}},
	}))
	m := NewManager(Options{Name: "a", Maps: maps, Store: p.store, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	var owner peer.Stream
	p.edge, owner = peer.Pipe(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { m.Run(ctx) })
	wait.Go(func() { _ = m.Serve(ctx, owner) })
	wait.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = p.edge.Send(&peer.Frame{Kind: peer.Ping})
			case <-ctx.Done():
				return
			}
		}
	})
	wait.Go(func() {
		for {
			f, err := p.edge.Recv()
			if err != nil {
				return
			}
			if f.Kind != peer.Pong {
				p.frames <- f
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		closing, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		_ = p.store.Close(closing)
		p.pool.Close()
	})
	return p
}

func (p *pod) send(f *peer.Frame) {
	p.Helper()
	if err := p.edge.Send(f); err != nil {
		p.Fatal(err)
	}
}

// attach attaches to a document, as often as it takes, and returns the channel.
func (p *pod) attach(name string, channel uint32) uint32 {
	p.Helper()
	for ; ; channel++ {
		p.send(&peer.Frame{Kind: peer.Attach, Channel: channel, ID: 1, Text: name})
		for {
			f := receive(p.T, p.frames, "the document to be attached")
			if f.Channel == channel && f.Kind == peer.Attached {
				return channel
			}
			if f.Channel == channel && f.Kind == peer.Refused {
				time.Sleep(10 * time.Millisecond)
				break
			}
		}
	}
}

// await waits for a frame of a kind.
func (p *pod) await(kind peer.Kind, channel uint32) *peer.Frame {
	p.Helper()
	for {
		if f := receive(p.T, p.frames, fmt.Sprintf("a frame of the kind %d", kind)); f.Kind == kind && f.Channel == channel {
			return f
		}
	}
}

// drained waits until PostgreSQL has everything.
func (p *pod) drained() {
	p.Helper()
	for start := time.Now(); p.store.Buffered() > 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			p.Fatal("PostgreSQL does not have everything")
		}
	}
}

// transactions is how many transactions the pod's connections, which are closed for that, have made so far.
func (p *pod) transactions() (n int64) {
	p.Helper()
	// Connections to another database do not count.
	admin, err := pgxpool.New(p.Context(), strings.Replace(p.server.Address, "/postgres?", "/template1?", 1))
	if err != nil {
		p.Fatal(err)
	}
	defer admin.Close()
	p.pool.Reset()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		var open int
		err := admin.QueryRow(p.Context(), `
			SELECT xact_commit + xact_rollback, (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'editor')
			FROM pg_stat_database WHERE datname = 'postgres'`).Scan(&n, &open)
		if err != nil {
			p.Fatal(err)
		}
		if open == 0 {
			return n
		}
		if time.Since(start) > 20*time.Second {
			p.Fatalf("%d connections stay open", open)
		}
	}
}

func TestAShardThatADatabaseFromABackupDoesNotKnowIsTakenAgain(t *testing.T) {
	p := startPod(t)
	updates := typed(t, 1, "ab")
	channel := p.attach("acme/a", 1)
	p.send(&peer.Frame{Kind: peer.Update, Channel: channel, ID: 1, Parts: [][]byte{updates[0]}})
	p.await(peer.Ack, channel)
	p.drained()
	if _, err := p.pool.Exec(t.Context(), `TRUNCATE shards`); err != nil {
		t.Fatal(err)
	}
	p.send(&peer.Frame{Kind: peer.Update, Channel: channel, ID: 2, Parts: [][]byte{updates[1]}})
	p.await(peer.Moved, channel)
	channel = p.attach("acme/a", channel+1)
	p.send(&peer.Frame{Kind: peer.Update, Channel: channel, ID: 3, Parts: [][]byte{updates[1]}})
	p.await(peer.Ack, channel)
	p.drained()
	p.send(&peer.Frame{Kind: peer.Sync, Channel: channel, ID: 4, Parts: [][]byte{{0}}})
	doc := crdt.NewDoc(crdt.Options{})
	if err := doc.ApplyUpdate(p.await(peer.Content, channel).Parts[0], nil); err != nil {
		t.Fatal(err)
	}
	if text := doc.Text("t").String(); text != "ab" {
		t.Errorf("the document says %q", text)
	}
}

// TestTypingTakesFewTransactions counts what many keystrokes cost PostgreSQL.
func TestTypingTakesFewTransactions(t *testing.T) {
	const keystrokes = 2000
	p := startPod(t)
	updates := typed(t, 1, strings.Repeat("x", keystrokes))
	channel := p.attach("acme/a", 1)
	before := p.transactions()
	for i, update := range updates {
		p.send(&peer.Frame{Kind: peer.Update, Channel: channel, ID: uint64(i) + 1, Parts: [][]byte{update}})
		if i%20 == 0 {
			time.Sleep(10 * time.Millisecond) // People do not type at once.
		}
	}
	for range updates {
		p.await(peer.Ack, channel)
	}
	p.drained()
	n := p.transactions() - before
	t.Logf("%d transactions", n)
	if n == 0 || n > keystrokes/10 {
		t.Errorf("%d keystrokes took %d transactions", keystrokes, n)
	}
}

// TestIdleDocumentsAskTheDatabaseNothing opens documents and lets some time pass.
func TestIdleDocumentsAskTheDatabaseNothing(t *testing.T) {
	const documents = 200
	p := startPod(t)
	channel := uint32(0)
	for n := range documents {
		channel = p.attach(fmt.Sprintf("acme/%d", n), channel+1)
		p.send(&peer.Frame{Kind: peer.Update, Channel: channel, ID: 1, Parts: [][]byte{typed(t, 1, "x")[0]}})
		p.await(peer.Ack, channel)
	}
	p.drained()
	before := p.transactions()
	time.Sleep(3 * time.Second)
	// Once an hour, the first time within ten seconds, somebody looks after the partitions.
	if n := p.transactions() - before; n > documents/4 {
		t.Errorf("%d idle documents made %d transactions in three seconds", documents, n)
	}
}
