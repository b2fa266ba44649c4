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
	"collab.dev/operator/editor/socket"
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
	text   *crdt.Text
	update []byte
	typed  int
	// socket is the connection after the reader has taken it over, under an id. out is what is sent and the socket has not
	// taken, the typist's.
	socket socket.Socket
	id     uint64
	out    []byte
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
	// wait is for the end of all connections that the reader has.
	wait    sync.WaitGroup
	closing atomic.Bool

	// The rest is the typist's. turns counts what was typed; next is when the next character is due.
	turns   int
	next    time.Time
	stopped bool
	// blocked is the author whose socket has to take what was typed before anybody goes on.
	blocked *author
}

// load is many documents, in each of which as many authors type at the same rate.
type load struct {
	running *running
	authors int
	rate    float64
	begin   time.Time
	rooms   []*room
	made    int
	typist  *typist
	reader  *reader
	stop    context.CancelFunc
	wait    sync.WaitGroup

	// sent counts typed characters, owed how often those are to be received, received how often they were.
	sent, owed, received atomic.Int64
	// latency is from sending to receiving; late is how long after its time a character was sent.
	latency, late atomic.Pointer[histogram]

	mu  sync.Mutex
	err error
}

// newLoad returns a load without documents. It ends with close.
func newLoad(ctx context.Context, r *running, authors int, rate float64) (*load, error) {
	l := &load{running: r, authors: authors, rate: rate, begin: time.Now()}
	l.latency.Store(&histogram{})
	l.late.Store(&histogram{})
	var err error
	if l.reader, err = newReader(l); err != nil {
		return nil, err
	}
	l.typist = newTypist(l)
	ctx, l.stop = context.WithCancel(ctx)
	l.wait.Go(l.reader.run)
	l.wait.Go(func() { l.typist.run(ctx) })
	return l, nil
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
	r := &room{load: l, first: uint64(rand.Uint32N(1 << 31))}
	for i := range l.authors {
		c, err := l.running.connect(ctx, name)
		if err != nil {
			r.close()
			return nil, err
		}
		a := &author{room: r, index: i, client: c, seen: make([]uint64, l.authors)}
		doc := crdt.NewDoc(crdt.Options{ClientID: r.first + uint64(i)})
		a.text = doc.Text(root)
		doc.OnUpdate(func(update []byte, _ any) { a.update = update })
		r.authors = append(r.authors, a)
		if _, err := c.content(ctx); err != nil {
			r.close()
			return nil, err
		}
	}
	// All are there before the first is read, which looks at the others.
	for _, a := range r.authors {
		if err := l.reader.add(a); err != nil {
			r.close()
			return nil, err
		}
	}
	r.next = time.Now().Add(rand.N(r.gap()))
	l.typist.add(r)
	return r, nil
}

// gap is the time from one character to the next.
func (r *room) gap() time.Duration {
	return time.Duration(float64(time.Second) / r.load.rate / float64(len(r.authors)))
}

func (r *room) close() {
	r.load.typist.stop(r)
	r.closing.Store(true)
	for _, a := range r.authors {
		a.close()
	}
	r.wait.Wait()
}

// typeNext lets the authors type in turns. Who is late types at once, so that the rate stays what it is.
func (r *room) typeNext() error {
	a, due := r.authors[r.turns%len(r.authors)], r.next
	r.turns++
	r.next = due.Add(r.gap())
	err := a.typeOne(due)
	if len(a.out) > 0 {
		r.blocked = a
	}
	return err
}

// typeOne types and sends one character that is due at a time.
func (a *author) typeOne(due time.Time) error {
	l := a.room.load
	if err := a.text.Insert(a.typed, text[a.typed%len(text):][:1]); err != nil {
		return fmt.Errorf("type: %w", err)
	}
	now := time.Now()
	l.late.Load().add(now.Sub(due))
	a.sent[a.typed%memory].Store(int64(now.Sub(l.begin)))
	a.typed++
	l.sent.Add(1)
	l.owed.Add(int64(len(a.room.authors) - 1))
	a.out = a.client.append(a.out, protocol.Update, a.update)
	return a.flush()
}

// flush sends what the socket takes. It tells the reader when it takes more.
func (a *author) flush() error {
	n, err := a.socket.Write(a.out)
	a.out = append(a.out[:0], a.out[n:]...)
	if err != nil {
		return fmt.Errorf("send to the server: %w", err)
	}
	if len(a.out) > 0 {
		a.room.load.reader.poller.Room(&a.socket, a.id)
	}
	return nil
}

// take takes what has arrived at a time.
func (a *author) take(data []byte, now time.Duration) error {
	c := a.client
	if len(c.in) > 0 {
		c.in = append(c.in, data...)
		data = c.in
	}
	for {
		m, rest, ok, err := c.take(data, a.pong)
		if data = rest; !ok {
			c.in = append(c.in[:0], data...)
			return err
		}
		if m.Kind != protocol.Update && m.Kind != protocol.SyncStep2 {
			continue
		}
		if err := a.receive(m.Payload, now); err != nil {
			return err
		}
	}
}

// pong answers a ping.
func (a *author) pong(ping []byte) error {
	return a.room.load.typist.send(a, appendFrame(nil, pongFrame, ping))
}

// close ends the connection; the reader does so soon, if it has it.
func (a *author) close() {
	if a.id == 0 {
		a.client.close()
	} else {
		a.socket.Shut()
	}
}

// receive counts the characters of an update that are new to this author.
func (a *author) receive(update []byte, now time.Duration) error {
	if parseTyped(update, func(id, from, to uint64) { a.count(id, from, to, now) }) {
		return nil
	}
	if err := crdt.EachRange(update, func(id, from, to uint64) { a.count(id, from, to, now) }); err != nil {
		return fmt.Errorf("received: %w", err)
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

// parseTyped reads an update of nothing but typed characters, which nearly all are, and calls typed with those of each
// author, from a clock to another one. It returns false for all others, perhaps after some calls.
func parseTyped(u []byte, typed func(client, from, to uint64)) bool {
	ok := true
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
	const (
		stringContent = 4
		hasOrigin     = 1 << 7
		hasRight      = 1 << 6
		hasKey        = 1 << 5
	)
	for clients := number(); clients > 0 && ok; clients-- {
		structs, client, clock := number(), number(), number()
		for ; structs > 0; structs-- {
			if len(u) == 0 {
				return false
			}
			info := u[0]
			u = u[1:]
			if info&(hasOrigin|hasRight) == 0 {
				return false // Its parent follows: the first character of an author.
			}
			if info&hasOrigin != 0 {
				number()
				number()
			}
			if info&hasRight != 0 {
				number()
				number()
			}
			length := number()
			if !ok || info&0x1f != stringContent || info&hasKey != 0 || length > uint64(len(u)) {
				return false
			}
			for _, b := range u[:length] {
				if b >= 0x80 {
					return false // A clock counts characters.
				}
			}
			u = u[length:]
			typed(client, clock, clock+length)
			clock += length
		}
	}
	return ok && len(u) == 1 && u[0] == 0 // Nothing is deleted.
}

// settled waits until everybody has received everything that was typed, while nobody types, and says whether they did.
func (l *load) settled(ctx context.Context, within time.Duration) bool {
	for _, r := range l.rooms {
		l.typist.stop(r)
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
	l.stop()
	l.reader.close()
	l.wait.Wait()
}
