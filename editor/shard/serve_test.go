package shard

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/storage"
)

// slow is a connection that reads at most so many bytes at a time, with a pause after each; or nothing while it is
// held.
type slow struct {
	net.Conn
	held *sync.RWMutex
}

func (c slow) Read(b []byte) (int, error) {
	c.held.RLock()
	defer c.held.RUnlock()
	time.Sleep(time.Millisecond)
	return c.Conn.Read(b[:min(len(b), 16<<10)])
}

// link opens a link to a manager over a slow network. Whatever comes is handed to take.
func link(
	t *testing.T, m *Manager, take func(*peer.Frame),
) (send func(*peer.Frame), hold *sync.RWMutex, ended chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := peer.NewServer(m, nil)
	var wait sync.WaitGroup
	wait.Go(func() { _ = server.Serve(listener) })
	hold = &sync.RWMutex{}
	dialer := peer.Dialer{Dial: func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return slow{conn, hold}, err
	}}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := dialer.Open(ctx, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	wait.Go(func() {
		for {
			f, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			take(f)
		}
	})
	t.Cleanup(func() {
		cancel()
		server.Stop()
		wait.Wait()
	})
	var sending sync.Mutex
	send = func(f *peer.Frame) {
		sending.Lock()
		defer sending.Unlock()
		if err := stream.Send(f); err != nil && ctx.Err() == nil {
			t.Errorf("send: %v", err)
		}
	}
	wait.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				send(&peer.Frame{Kind: peer.Ping})
			case <-ctx.Done():
				return
			}
		}
	})
	return send, hold, ended
}

// large is a document of so many bytes, encoded.
func large(t *testing.T, size int) (document storage.Document) {
	t.Helper()
	doc := crdt.NewDoc(crdt.Options{ClientID: 1})
	doc.OnUpdate(func(update []byte, _ any) { document.Tail = []storage.Entry{{Seq: 1, Update: update}} })
	if err := doc.Text("t").Insert(0, string(bytes.Repeat([]byte("x"), size))); err != nil {
		t.Fatal(err)
	}
	return document
}

func TestLargeAnswersDoNotHoldUpOtherDocuments(t *testing.T) {
	const (
		documents = 6
		size      = 2 << 20
		updates   = 50
	)
	s := newStore()
	s.loads = make(chan string, 100)
	s.named = map[string]storage.Document{}
	content := large(t, size)
	for n := range documents {
		s.named[fmt.Sprintf("acme/%d", n)] = content
	}
	m := serve(t, s, nil)
	type arrival struct {
		kind    peer.Kind
		channel uint32
		bytes   int
	}
	attached, arrivals := make(chan uint32, 10), make(chan arrival, 10_000)
	send, _, _ := link(t, m, func(f *peer.Frame) {
		switch f.Kind {
		case peer.Attached:
			attached <- f.Channel
		case peer.Content:
			if !bytes.Equal(f.Parts[0], content.Tail[0].Update) {
				t.Errorf("the answer of channel %d is another document of %d bytes", f.Channel, len(f.Parts[0]))
			}
			arrivals <- arrival{f.Kind, f.Channel, len(f.Parts[0])}
		case peer.Update, peer.Pong:
			arrivals <- arrival{f.Kind, f.Channel, f.Size()}
		}
	})
	for n := range uint32(documents + 1) {
		send(&peer.Frame{Kind: peer.Attach, Channel: n + 1, ID: 1, Text: fmt.Sprintf("acme/%d", n)})
	}
	for range documents + 1 {
		receive(t, attached, "the documents to be attached")
	}
	for n := range uint32(documents) {
		for ref := range uint64(2) {
			send(&peer.Frame{Kind: peer.Sync, Channel: n + 1, ID: ref + 1, Parts: [][]byte{{0}}})
		}
	}
	small := typed(t, 9, string(bytes.Repeat([]byte("y"), updates)))
	for i, update := range small {
		send(&peer.Frame{Kind: peer.Update, Channel: documents + 1, ID: uint64(i) + 1, Parts: [][]byte{update, {1}}})
	}
	send(&peer.Frame{Kind: peer.Ping})
	// While 25 MB are under way the small document's changes arrive before most of the answers.
	answers, changes, before := 0, 0, 0
	for answers < 2*documents {
		a := receive(t, arrivals, "the answers")
		switch {
		case a.kind == peer.Content:
			answers++
		case a.kind == peer.Update && a.channel == documents+1:
			if changes++; changes == updates {
				before = answers
			}
		}
	}
	if changes != updates || before > documents {
		t.Errorf("%d changes arrived, the last one after %d of %d answers", changes, before, answers)
	}
}

// counted is the value of a counter.
func counted(t *testing.T, metrics prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestAChannelThatFallsBehindIsAttachedAnewAndNoOther(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := serve(t, newStore(), nil, func(o *Options) { o.Metrics = NewMetrics(registry) })
	frames := make(chan *peer.Frame, 100_000)
	send, hold, ended := link(t, m, func(f *peer.Frame) {
		if f.Kind != peer.Pong {
			frames <- f
		}
	})
	next := func(kind peer.Kind, channel uint32) *peer.Frame {
		t.Helper()
		for {
			f := receive(t, frames, fmt.Sprintf("a frame of the kind %d", kind))
			if f.Kind == kind && f.Channel == channel {
				return f
			}
			if f.Channel != 1 {
				t.Fatalf("got %+v, want the kind %d", f, kind)
			}
		}
	}
	for channel := range uint32(2) {
		send(&peer.Frame{Kind: peer.Attach, Channel: channel + 1, ID: 1, Text: fmt.Sprintf("acme/%d", channel)})
		next(peer.Attached, channel+1)
	}
	// The edge reads nothing while messages of the first document come from elsewhere.
	ctx, cancel := context.WithCancel(t.Context())
	edge, owner := peer.Pipe(ctx)
	var elsewhere sync.WaitGroup
	elsewhere.Go(func() { _ = m.Serve(ctx, owner) })
	defer elsewhere.Wait()
	defer cancel()
	if err := edge.Send(&peer.Frame{Kind: peer.Attach, Channel: 1, ID: 1, Text: "acme/0"}); err != nil {
		t.Fatal(err)
	}
	if f, err := edge.Recv(); err != nil || f.Kind != peer.Attached {
		t.Fatalf("%+v, %v", f, err)
	}
	hold.Lock()
	message := make([]byte, 1<<20)
	for range 2 * channelQueue >> 20 {
		if err := edge.Send(&peer.Frame{Kind: peer.Stateless, Channel: 1, Parts: [][]byte{message}}); err != nil {
			t.Fatal(err)
		}
	}
	send(&peer.Frame{Kind: peer.Update, Channel: 2, ID: 5, Parts: [][]byte{typed(t, 1, "x")[0]}})
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if counted(t, registry, "collab_editor_stalled_channels_total") == 1 {
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal("who has fallen behind is not let go")
		}
	}
	hold.Unlock()
	seen := map[peer.Kind]bool{}
	for len(seen) < 2 {
		f := receive(t, frames, "the other document's acknowledgement, and the end of the first one")
		switch {
		case f.Kind == peer.Moved && f.Channel == 1, f.Kind == peer.Ack && f.Channel == 2:
			seen[f.Kind] = true
		case f.Channel == 2:
			t.Fatalf("got %+v", f)
		}
	}
	send(&peer.Frame{Kind: peer.Attach, Channel: 3, ID: 1, Text: "acme/0"})
	next(peer.Attached, 3)
	select {
	case err := <-ended:
		t.Errorf("the link ended: %v", err)
	default:
	}
}
