package edge_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shards = 16

// pod is one editor in this process, with real sockets.
type pod struct {
	name    string
	maps    *shard.Maps
	manager *shard.Manager
	edge    *edge.Edge
	http    *httptest.Server
	grpc    *grpc.Server
	member  v1alpha1.ShardMember
	stop    context.CancelFunc
	ran     chan struct{}
	once    sync.Once
}

func startPods(t *testing.T, n int) []*pod {
	t.Helper()
	return startPodsOn(t, n, newMemory())
}

func startPodsOn(t *testing.T, n int, store *memory) []*pod {
	t.Helper()
	pods := make([]*pod, n)
	for i := range pods {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p := &pod{name: fmt.Sprintf("pod-%d", i), maps: &shard.Maps{}, ran: make(chan struct{})}
		p.member = v1alpha1.ShardMember{Name: p.name, UID: p.name, Address: listener.Addr().String()}
		dialer := peer.Dialer{}
		log := slog.New(slog.DiscardHandler)
		p.manager = shard.NewManager(shard.Options{
			Name: p.name, UID: p.name, Maps: p.maps, Store: store, Release: dialer.Release, Logger: log,
		})
		p.edge, err = edge.New(edge.Options{Maps: p.maps, Self: p.name, Local: p.manager, Dial: dialer.Open, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		p.grpc = peer.NewServer(p.manager, nil)
		p.http = httptest.NewServer(p.edge)
		go func() { _ = p.grpc.Serve(listener) }()
		ctx, cancel := context.WithCancel(context.Background())
		p.stop = cancel
		go func() { defer close(p.ran); p.manager.Run(ctx) }()
		t.Cleanup(p.kill)
		pods[i] = p
	}
	return pods
}

// kill cuts all of the pod's connections at once.
func (p *pod) kill() {
	p.once.Do(func() {
		p.grpc.Stop()
		p.edge.Close()
		p.http.Close()
		p.stop()
		<-p.ran
	})
}

// assign makes one pod the owner of all shards, for those who are told.
func assign(told []*pod, members []*pod, owner, previous string, epoch int64) {
	spec := v1alpha1.ShardMapSpec{}
	for _, p := range members {
		spec.Members = append(spec.Members, p.member)
	}
	for i := range int32(shards) {
		spec.Shards = append(spec.Shards, v1alpha1.ShardAssignment{
			Shard: i, Owner: owner, PreviousOwner: previous, Epoch: epoch,
		})
	}
	for _, p := range told {
		p.maps.Set(shard.NewMap(spec))
	}
}

// yjs is a client that behaves as y-websocket does. Its document is a map with a key for each change.
type yjs struct {
	conn *websocket.Conn

	mu     sync.Mutex
	doc    *crdt.Doc
	last   []byte
	synced bool
	err    error
	closed chan struct{}
}

func connect(t *testing.T, p *pod, document string) *yjs {
	t.Helper()
	url := "ws" + strings.TrimPrefix(p.http.URL, "http") + "/collab/acme/" + document
	conn, resp, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return join(t, conn)
}

// join synchronizes over a connection.
func join(t *testing.T, conn *websocket.Conn) *yjs {
	t.Helper()
	c := &yjs{conn: conn, doc: crdt.NewDoc(crdt.Options{}), closed: make(chan struct{})}
	c.doc.OnUpdate(func(update []byte, _ any) { c.last = update })
	go c.run()
	t.Cleanup(func() { _ = conn.Close(); <-c.closed })
	c.write(protocol.SyncStep1, protocol.EmptyStateVector())
	return c
}

func (c *yjs) write(kind protocol.Kind, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.conn.WriteMessage(websocket.BinaryMessage, protocol.Encode(kind, payload))
}

func (c *yjs) run() {
	defer close(c.closed)
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		m, err := protocol.Parse(data)
		if err != nil {
			panic(err)
		}
		switch m.Kind {
		case protocol.Update, protocol.SyncStep2:
			c.mu.Lock()
			if err := c.doc.ApplyUpdate(m.Payload, nil); err != nil {
				panic(err)
			}
			c.synced = c.synced || m.Kind == protocol.SyncStep2
			c.mu.Unlock()
		case protocol.SyncStep1:
			c.mu.Lock()
			missing, err := c.doc.EncodeStateAsUpdate(m.Payload)
			c.mu.Unlock()
			if err != nil {
				panic(err)
			}
			c.write(protocol.SyncStep2, missing)
		}
	}
}

func (c *yjs) edit(text string) {
	c.mu.Lock()
	if err := c.doc.Map("changes").Set(text, true); err != nil {
		panic(err)
	}
	update := c.last
	c.mu.Unlock()
	c.write(protocol.Update, update)
}

func (c *yjs) changes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doc.Map("changes").Len()
}

func (c *yjs) knows(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced && c.doc.Map("changes").Len() == n
}

func (c *yjs) mustBeConnected(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		t.Fatalf("the client was disconnected: %v", c.err)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// typing lets every client make n changes while disturb happens.
func typing(clients []*yjs, n int, disturb func()) {
	var wait sync.WaitGroup
	for i, c := range clients {
		wait.Go(func() {
			for k := range n {
				c.edit(fmt.Sprintf("client %d change %d", i, k))
				time.Sleep(time.Millisecond)
			}
		})
	}
	disturb()
	wait.Wait()
}

func TestClientsOnDifferentPodsConverge(t *testing.T) {
	pods := startPods(t, 3)
	assign(pods, pods, "pod-1", "", 1)
	clients := []*yjs{connect(t, pods[0], "a"), connect(t, pods[1], "a"), connect(t, pods[2], "a"), connect(t, pods[0], "a")}
	typing(clients, 50, func() {})
	late := connect(t, pods[2], "a")
	for _, c := range append(clients, late) {
		await(t, "all changes", func() bool { return c.knows(200) })
	}
}

func TestAKilledOwnerLosesNothing(t *testing.T) {
	store := newMemory()
	pods := startPodsOn(t, 3, store)
	assign(pods, pods, "pod-1", "", 1)
	clients := []*yjs{connect(t, pods[0], "a"), connect(t, pods[2], "a")}
	typing(clients, 200, func() {
		await(t, "some changes", func() bool { return clients[0].changes() > 50 })
		pods[1].kill()
		left := []*pod{pods[0], pods[2]}
		assign(left, left, "pod-2", "", 2)
	})
	late := connect(t, pods[0], "a")
	for _, c := range append(clients, late) {
		await(t, "all changes", func() bool { return c.knows(400) })
	}
	clients[0].mustBeConnected(t)
	clients[1].mustBeConnected(t)
	await(t, "all changes to be stored", func() bool {
		stored := crdt.NewDoc(crdt.Options{})
		for _, e := range store.entries("acme/a") {
			if err := stored.ApplyUpdate(e.Update, nil); err != nil {
				t.Fatal(err)
			}
		}
		return stored.Map("changes").Len() == 400
	})
}

func TestAPlannedMoveIsInvisibleToClients(t *testing.T) {
	pods := startPods(t, 3)
	assign(pods, pods, "pod-1", "", 1)
	clients := []*yjs{connect(t, pods[0], "a"), connect(t, pods[1], "a"), connect(t, pods[2], "a")}
	typing(clients, 200, func() {
		for epoch := int64(2); epoch < 6; epoch++ {
			from, to := fmt.Sprintf("pod-%d", (epoch-1)%3), fmt.Sprintf("pod-%d", epoch%3)
			assign(pods, pods, to, from, epoch)
			time.Sleep(30 * time.Millisecond)
		}
	})
	late := connect(t, pods[0], "a")
	for _, c := range append(clients, late) {
		await(t, "all changes", func() bool { return c.knows(600) })
		c.mustBeConnected(t)
	}
}

func TestAPodThatDoesNotHearOfItsReplacementIsFencedAndForwardsNothing(t *testing.T) {
	pods := startPods(t, 3)
	assign(pods, pods, "pod-1", "", 1)
	clients := []*yjs{connect(t, pods[0], "a"), connect(t, pods[1], "a")}
	typing(clients, 100, func() {
		others := []*pod{pods[0], pods[2]}
		assign(others, pods, "pod-2", "", 2)
		time.Sleep(50 * time.Millisecond)
		assign(pods[1:2], pods, "pod-2", "", 2)
	})
	for _, c := range clients {
		await(t, "all changes", func() bool { return c.knows(200) })
		c.mustBeConnected(t)
	}
}

func TestADrainedPodLetsItsClientsGo(t *testing.T) {
	pods := startPods(t, 1)
	assign(pods, pods, "pod-0", "", 1)
	c := connect(t, pods[0], "a")
	c.edit("something")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := pods[0].edge.Drain(ctx, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	<-c.closed
	if !websocket.IsCloseError(c.err, websocket.CloseServiceRestart) {
		t.Fatalf("closed with %v", c.err)
	}
}
