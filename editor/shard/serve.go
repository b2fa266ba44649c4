package shard

import (
	"context"
	"errors"
	"sync"
	"time"

	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/storage"
)

const (
	// channelQueue and edgeQueue are how much, in bytes, may wait for a slow edge in one document and in all, answers to
	// questions aside, before a document has to be attached anew.
	channelQueue = 16 << 20
	edgeQueue    = 128 << 20
	// handover is how many frames are received ahead, so that a busy edge's are not handed over one by one.
	handover = 64
	// edgeSilence is how long an edge may be silent: it pings once a second.
	edgeSilence = 6 * time.Second
	// attachTimeout bounds how long an edge waits for a document; it asks again.
	attachTimeout = 5 * time.Second
)

// Serve serves one edge until its link or ctx ends.
func (m *Manager) Serve(ctx context.Context, edge peer.Stream) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{
		manager: m, out: peer.NewFair(channelQueue, edgeQueue, peer.Joins(edge)), end: cancel,
		channels: map[uint32]*channel{}, stalled: make(chan struct{}, 1),
		answers: answers{under: map[uint32]*answer{}},
	}
	defer s.close()
	frames := make(chan *peer.Frame, handover)
	// The receiver ends with the stream: gRPC ends it when Serve returns, the pipe with its context.
	go func() {
		defer cancel()
		for {
			f, err := edge.Recv()
			if err != nil {
				return
			}
			select {
			case frames <- f:
			case <-ctx.Done():
				return
			}
		}
	}()
	s.wait.Go(func() {
		defer cancel()
		for {
			f, ok := s.out.Pop(ctx)
			if !ok || edge.Send(f) != nil {
				return
			}
			if f.Kind == peer.ContentEnd && s.answers.sent(f.Channel) {
				s.wait.Go(s.answer)
			}
		}
	})
	silence := time.NewTimer(edgeSilence)
	defer silence.Stop()
	for {
		select {
		case f := <-frames:
			silence.Reset(edgeSilence)
			s.handle(ctx, f)
		case <-s.stalled:
			s.leaveStalled()
		case <-silence.C:
			return errors.New("the edge is silent")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// session is one edge's link. Its mutex guards channels and is taken before any document's.
type session struct {
	manager *Manager
	out     *peer.Fair
	end     context.CancelFunc
	wait    sync.WaitGroup
	answers answers
	// stalled has a value when channels were cut that are still attached.
	stalled chan struct{}

	mu       sync.Mutex
	channels map[uint32]*channel

	cutting sync.Mutex // It is taken after any document's.
	cut     []uint32
}

// channel is one document on the link; attachment is nil while it is being attached.
type channel struct {
	attachment *document.Attachment
	cancel     context.CancelFunc
	// evict closes the document as owned.evict does. It is there when the attachment is.
	evict func(ctx context.Context, done func()) error
}

func (s *session) close() {
	s.end()
	s.wait.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.channels {
		if c.attachment != nil {
			c.attachment.Detach()
		}
	}
}

// send never blocks. A channel in which too much waits is cut: the edge attaches to the document anew.
func (s *session) send(f *peer.Frame) {
	if channel := s.out.Push(f); channel != 0 {
		s.stall(channel)
	}
}

// stall remembers that a channel was cut: a document may be locked, which cannot be left then.
func (s *session) stall(channel uint32) {
	s.cutting.Lock()
	s.cut = append(s.cut, channel)
	s.cutting.Unlock()
	select {
	case s.stalled <- struct{}{}:
	default:
	}
}

// leaveStalled leaves the documents whose channels were cut.
func (s *session) leaveStalled() {
	s.cutting.Lock()
	cut := s.cut
	s.cut = nil
	s.cutting.Unlock()
	for _, channel := range cut {
		s.manager.opts.Metrics.stalled()
		s.leave(channel)
	}
}

// leave closes a channel.
func (s *session) leave(number uint32) {
	s.mu.Lock()
	c := s.channels[number]
	delete(s.channels, number)
	s.mu.Unlock()
	if c == nil {
		return
	}
	c.cancel()
	if c.attachment != nil {
		c.attachment.Leave()
	}
	s.out.Drop(number)
	s.answers.forget(number)
	s.answer()
}

func (s *session) handle(ctx context.Context, f *peer.Frame) {
	if f.Kind == peer.Ping {
		s.send(&peer.Frame{Kind: peer.Pong})
		return
	}
	s.mu.Lock()
	c := s.channels[f.Channel]
	var attachment *document.Attachment
	if c != nil {
		attachment = c.attachment
	}
	s.mu.Unlock()
	switch {
	case f.Kind == peer.Attach && c == nil:
		s.attach(ctx, f)
	case c == nil:
	case f.Kind == peer.Detach:
		s.leave(f.Channel)
	case attachment != nil && f.Kind == peer.Following:
		attachment.Following(f.ID == 1)
	case attachment != nil && f.Kind == peer.Evict:
		s.evict(ctx, c, f)
	case attachment == nil || len(f.Parts) == 0:
	case f.Kind == peer.Update:
		s.manager.updates.Add(1)
		origin, user := peer.SplitAuthor(f.Text)
		attachment.Update(f.ID, document.Author{User: user, Origin: origin}, f.Parts[0], len(f.Parts) > 1)
	case f.Kind == peer.Check:
		attachment.Check(f.ID, f.Parts[0])
	case f.Kind == peer.Stateless:
		attachment.Stateless(f.Parts[0])
	case f.Kind == peer.Awareness:
		if err := attachment.Awareness(f.Parts[0]); err != nil {
			s.manager.opts.Logger.Warn("An edge sent malformed presence", "error", err)
		}
	case f.Kind == peer.Sync:
		if s.answers.ask(question{f.Channel, attachment, f.ID, f.Parts[0]}) {
			s.answer()
		} else {
			s.out.Cut(f.Channel)
			s.stall(f.Channel)
		}
	}
}

func (s *session) attach(ctx context.Context, f *peer.Frame) {
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	c := &channel{cancel: cancel}
	s.mu.Lock()
	s.channels[f.Channel] = c
	s.mu.Unlock()
	s.wait.Go(func() {
		defer cancel()
		err := s.manager.attach(ctx, f.Text, int64(f.ID), func(o *owned, d *document.Document) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.channels[f.Channel] != c {
				return nil
			}
			attachment, err := d.Attach(sink{s, f.Channel})
			c.attachment = attachment
			c.evict = func(ctx context.Context, done func()) error { return o.evict(ctx, f.Text, done) }
			return err
		})
		if err == nil {
			return
		}
		s.mu.Lock()
		if s.channels[f.Channel] == c {
			delete(s.channels, f.Channel)
		}
		s.mu.Unlock()
		refused := &peer.Frame{Kind: peer.Refused, Channel: f.Channel}
		switch {
		case errors.Is(err, storage.ErrDeleted):
			refused.Text = peer.Deleted
		case errors.Is(err, document.ErrUnreadable): // That was logged once.
		case !errors.Is(err, errNotServed) && ctx.Err() == nil:
			s.manager.opts.Logger.Warn("The document cannot be opened", "document", f.Text, "error", err)
		}
		s.send(refused)
	})
}

// evict closes a channel's document for everybody. If the stores do not take the rest of it in time, the edge asks
// again.
func (s *session) evict(ctx context.Context, c *channel, f *peer.Frame) {
	s.wait.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		err := c.evict(ctx, func() { s.send(&peer.Frame{Kind: peer.Ack, Channel: f.Channel, ID: f.ID}) })
		if err != nil && !errors.Is(err, errNotServed) {
			s.manager.opts.Logger.Warn("A document was closed before the stores had all of it", "error", err)
		}
	})
}

// sink tells one edge of one document.
type sink struct {
	session *session
	channel uint32
}

func (k sink) send(kind peer.Kind, id uint64, parts ...[]byte) {
	k.session.send(&peer.Frame{Kind: kind, Channel: k.channel, ID: id, Parts: parts})
}

func (k sink) single(kind peer.Kind, part []byte) {
	f := peer.Single(kind, part)
	f.Channel = k.channel
	k.session.send(f)
}

func (k sink) Attached(stateVector []byte, room int) {
	k.send(peer.Attached, uint64(room), stateVector)
}
func (k sink) Update(update []byte)     { k.single(peer.Update, update) }
func (k sink) Awareness(update []byte)  { k.single(peer.Awareness, update) }
func (k sink) Stateless(payload []byte) { k.single(peer.Stateless, payload) }
func (k sink) Ack(id uint64)            { k.send(peer.Ack, id) }
func (k sink) Closed()                  { k.send(peer.Moved, 0) }

// Follow asks the edge to take updates from the store's feed, or not to.
func (k sink) Follow(follow bool) {
	var id uint64
	if follow {
		id = 1
	}
	k.send(peer.Follow, id)
}

// Rejected tells the edge why its update is refused.
func (k sink) Rejected(id uint64, why document.Reason) {
	k.session.send(&peer.Frame{Kind: peer.Rejected, Channel: k.channel, ID: id, Text: string(why)})
}

func (k sink) Content(ref uint64, content document.Content) {
	k.session.answers.begin(k.channel, len(content.Update))
	k.send(peer.Content, ref, content.Update)
	k.send(peer.ContentEnd, ref, content.StateVector, content.Awareness)
}
