package edge

import (
	"context"
	"sync"
	"time"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/editor/peer"
)

const (
	pingPeriod = time.Second
	// ownerSilence is how long an owner may be silent before its link is given up.
	ownerSilence = 3 * time.Second
	// linkQueue is how much, in bytes, may wait for a slow owner before its link is cut.
	linkQueue = 128 << 20
)

// links holds one link to each owner that this edge needs.
type links struct {
	ctx  context.Context //nolint:containedctx // Its end is the edge's.
	opts *Options
	wait sync.WaitGroup

	mu   sync.Mutex
	byID map[v1alpha1.ShardMember]*link
}

// link is a link to one owner. It is never repaired: who needs the owner again gets a new one.
type link struct {
	out    *peer.Queue[*peer.Frame]
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	next     uint32
	channels map[uint32]func(*peer.Frame)
}

// open opens a link; one to this very pod stays within the process.
func (l *links) open(ctx context.Context, owner v1alpha1.ShardMember) (peer.Stream, error) {
	if owner.Name != l.opts.Self {
		return l.opts.Dial(ctx, owner.Address)
	}
	ctx, cancel := context.WithCancel(ctx)
	edge, local := peer.Pipe(ctx)
	l.wait.Go(func() {
		defer cancel()
		_ = l.opts.Local.Serve(ctx, local)
	})
	return edge, nil
}

// get returns the link to an owner, opening it if there is none.
func (l *links) get(owner v1alpha1.ShardMember) *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.byID[owner]; k != nil {
		return k
	}
	ctx, cancel := context.WithCancel(l.ctx)
	k := &link{
		out: peer.NewQueue(linkQueue, (*peer.Frame).Size), cancel: cancel, done: make(chan struct{}),
		channels: map[uint32]func(*peer.Frame){},
	}
	l.byID[owner] = k
	l.wait.Go(func() {
		k.run(ctx, func() (peer.Stream, error) { return l.open(ctx, owner) })
		l.mu.Lock()
		delete(l.byID, owner)
		l.mu.Unlock()
		close(k.done)
	})
	return k
}

func (k *link) run(ctx context.Context, open func() (peer.Stream, error)) {
	defer k.cancel()
	var wait sync.WaitGroup
	defer wait.Wait()
	silence := time.AfterFunc(ownerSilence, k.cancel)
	defer silence.Stop()
	stream, err := open()
	if err != nil {
		k.cancel()
		return
	}
	wait.Go(func() {
		defer k.cancel()
		for {
			f, ok := k.out.Pop(ctx)
			if !ok || stream.Send(f) != nil {
				return
			}
		}
	})
	wait.Go(func() {
		ticker := time.NewTicker(pingPeriod)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				k.send(&peer.Frame{Kind: peer.Ping})
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		f, err := stream.Recv()
		if err != nil {
			k.cancel()
			return
		}
		silence.Reset(ownerSilence)
		k.mu.Lock()
		handle := k.channels[f.Channel]
		k.mu.Unlock()
		if handle != nil {
			handle(f)
		}
	}
}

// channel opens a channel; handle is called from the link's goroutine and must not block.
func (k *link) channel(handle func(*peer.Frame)) uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	k.channels[k.next] = handle
	return k.next
}

// drop closes a channel.
func (k *link) drop(channel uint32) {
	k.mu.Lock()
	delete(k.channels, channel)
	k.mu.Unlock()
	k.send(&peer.Frame{Kind: peer.Detach, Channel: channel})
}

func (k *link) send(f *peer.Frame) {
	if !k.out.Push(f) {
		k.cancel()
	}
}
