package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

const (
	// root is the name of the text that everybody types in.
	root = "text"
	// memory is of how many characters of an author the time of sending is known: those of minutes.
	memory = 1 << 9
	// parallel is how many clients connect at the same time.
	parallel = 32
	text     = "The quick brown fox jumps over the lazy dog. "
)

// author types in a document, always at the end of what it has typed, as if everybody wrote a paragraph.
type author struct {
	room   *room
	index  int
	client *client
	doc    *crdt.Doc
	update []byte
	typed  int
	// sent holds when each of the last characters was sent, in nanoseconds since the load's begin.
	sent [memory]atomic.Int64
	// seen is how much has been received of each author.
	seen []uint64
}

// room is a document and who types in it. The authors' ids follow each other, so that each is found by its id.
type room struct {
	load    *load
	authors []*author
	first   uint64
	wait    sync.WaitGroup
	stop    context.CancelFunc
	closing atomic.Bool
}

// load is many documents, in each of which as many authors type at the same rate.
type load struct {
	running *running
	authors int
	rate    float64
	begin   time.Time
	rooms   []*room
	made    int

	// sent counts typed characters, owed how often those are to be received, received how often they were.
	sent, owed, received atomic.Int64
	// latency is from sending to receiving; late is how long after its time a character was sent.
	latency, late atomic.Pointer[histogram]

	mu  sync.Mutex
	err error
}

func newLoad(r *running, authors int, rate float64) *load {
	l := &load{running: r, authors: authors, rate: rate, begin: time.Now()}
	l.latency.Store(&histogram{})
	l.late.Store(&histogram{})
	return l
}

// fail remembers the first error of a connection.
func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// resize opens or closes documents until there are so many. Who is there types.
func (l *load) resize(ctx context.Context, documents int) error {
	for len(l.rooms) > documents {
		last := len(l.rooms) - 1
		l.rooms[last].close()
		l.rooms = l.rooms[:last]
	}
	opened := make([]*room, documents-len(l.rooms))
	errs := make([]error, len(opened))
	slots := make(chan struct{}, max(1, parallel/l.authors))
	var wait sync.WaitGroup
	for i := range opened {
		slots <- struct{}{}
		name := fmt.Sprintf("typing-%d", l.made)
		l.made++
		wait.Go(func() {
			opened[i], errs[i] = l.open(ctx, name)
			<-slots
		})
	}
	wait.Wait()
	for _, r := range opened {
		if r != nil {
			l.rooms = append(l.rooms, r)
		}
	}
	return errors.Join(errs...)
}

// open lets the authors of a document connect, receive what is there, which is nothing, and begin to type.
func (l *load) open(ctx context.Context, name string) (*room, error) {
	r := &room{load: l, first: uint64(rand.Uint32N(1 << 31)), stop: func() {}}
	for i := range l.authors {
		c, err := l.running.connect(ctx, name)
		if err == nil {
			_, err = c.content(ctx)
		}
		if err != nil {
			if c != nil {
				c.close()
			}
			r.close()
			return nil, err
		}
		a := &author{room: r, index: i, client: c, seen: make([]uint64, l.authors)}
		a.doc = crdt.NewDoc(crdt.Options{ClientID: r.first + uint64(i)})
		a.doc.OnUpdate(func(update []byte, _ any) { a.update = update })
		r.authors = append(r.authors, a)
	}
	for _, a := range r.authors {
		r.wait.Go(a.read)
	}
	typing, stop := context.WithCancel(ctx)
	r.stop = stop
	r.wait.Go(func() { r.run(typing) })
	return r, nil
}

func (r *room) close() {
	r.stop()
	r.closing.Store(true)
	for _, a := range r.authors {
		a.client.close()
	}
	r.wait.Wait()
}

// run lets the authors type in turns. Who is late types at once, so that the rate stays what it is.
func (r *room) run(ctx context.Context) {
	gap := time.Duration(float64(time.Second) / r.load.rate / float64(len(r.authors)))
	next := time.Now().Add(rand.N(gap))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for turn := 0; ; turn++ {
		timer.Reset(time.Until(next))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if err := r.authors[turn%len(r.authors)].typeOne(next); err != nil {
			if ctx.Err() == nil {
				r.load.fail(err)
			}
			return
		}
		next = next.Add(gap)
	}
}

// typeOne types and sends one character that is due at a time.
func (a *author) typeOne(due time.Time) error {
	l := a.room.load
	if err := a.doc.Text(root).Insert(a.typed, text[a.typed%len(text):][:1]); err != nil {
		return fmt.Errorf("type: %w", err)
	}
	now := time.Now()
	l.late.Load().add(now.Sub(due))
	a.sent[a.typed%memory].Store(int64(now.Sub(l.begin)))
	a.typed++
	l.sent.Add(1)
	l.owed.Add(int64(len(a.room.authors) - 1))
	return a.client.write(protocol.Update, a.update)
}

// read counts what arrives until the connection ends.
func (a *author) read() {
	l := a.room.load
	for {
		m, err := a.client.read()
		if err != nil {
			if !a.room.closing.Load() {
				l.fail(err)
			}
			return
		}
		if m.Kind != protocol.Update && m.Kind != protocol.SyncStep2 {
			continue
		}
		if err := a.receive(m.Payload, time.Since(l.begin)); err != nil {
			l.fail(err)
			return
		}
	}
}

// receive counts the characters of an update that are new to this author.
func (a *author) receive(update []byte, now time.Duration) error {
	if id, clock, ok := parseTyped(update); ok {
		a.count(id, clock, clock+1, now)
		return nil
	}
	meta, err := crdt.ParseUpdateMeta(update)
	if err != nil {
		return fmt.Errorf("received: %w", err)
	}
	for id, from := range meta.From {
		a.count(id, from, meta.To[id], now)
	}
	return nil
}

// count counts the characters of an author from a clock to another one.
func (a *author) count(id, from, to uint64, now time.Duration) {
	from0 := id - a.room.first
	if from0 >= uint64(len(a.room.authors)) || int(from0) == a.index {
		return
	}
	latency := a.room.load.latency.Load()
	by := a.room.authors[from0]
	for clock := max(from, a.seen[from0]); clock < to; clock++ {
		latency.add(now - time.Duration(by.sent[clock%memory].Load()))
		a.room.load.received.Add(1)
	}
	a.seen[from0] = max(a.seen[from0], to)
}

// parseTyped reads an update that consists of one typed character, which is nearly all of them. It returns false for
// all others.
func parseTyped(u []byte) (client, clock uint64, ok bool) {
	number := func() (n uint64) {
		for shift := 0; ; shift += 7 {
			if len(u) == 0 || shift > 49 {
				ok = false
				return 0
			}
			b := u[0]
			u = u[1:]
			n |= uint64(b&0x7f) << shift
			if b < 0x80 {
				return n
			}
		}
	}
	ok = true
	clients, structs := number(), number()
	client, clock = number(), number()
	const (
		stringContent = 4
		hasOrigin     = 1 << 7
		hasRight      = 1 << 6
		hasKey        = 1 << 5
	)
	if clients != 1 || structs != 1 || len(u) == 0 {
		return 0, 0, false
	}
	info := u[0]
	u = u[1:]
	if info&0x1f != stringContent || info&hasKey != 0 {
		return 0, 0, false
	}
	if info&hasOrigin != 0 {
		number()
		number()
	}
	if info&hasRight != 0 {
		number()
		number()
	}
	if info&(hasOrigin|hasRight) == 0 {
		return 0, 0, false // Its parent follows: the first character of an author.
	}
	// One byte of text, and nothing deleted.
	ok = ok && number() == 1 && len(u) == 2 && u[1] == 0
	return client, clock, ok
}

// settled waits until everybody has received everything that was typed, while nobody types, and says whether they did.
func (l *load) settled(ctx context.Context, within time.Duration) bool {
	for _, r := range l.rooms {
		r.stop()
	}
	deadline := time.Now().Add(within)
	for l.received.Load() < l.owed.Load() {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}

// close ends the load.
func (l *load) close() {
	for _, r := range l.rooms {
		r.close()
	}
	l.rooms = nil
}
