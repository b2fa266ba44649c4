//go:build stores

package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/durable"
	"collab.dev/operator/test/stores"
)

// numbers gives each run a shard of its own, so that runs need not clean up after each other.
var numbers atomic.Int32

// process is an editor with one document open, which is a set of updates. Its networks to the two servers fail as the
// test wants.
type process struct {
	t               failer
	redis, postgres *stores.Network
	store           *durable.Store
	shard           storage.Shard
	name            string
	disconnect      func()

	mu sync.Mutex
	// content is what the document holds as the process sees it, by the number that the process knows.
	content  []numbered
	seq      int64
	appended int
	answered int
	acked    map[string]bool
	outdated bool
}

type numbered struct {
	seq    int64
	update string
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// launch starts a process. It owns nothing yet.
func (s *servers) launch(t failer, name string, durability durable.Durability, network ...*stores.Network) *process {
	p := &process{t: t, name: name, redis: &stores.Network{}, postgres: &stores.Network{}, acked: map[string]bool{}}
	if len(network) > 0 {
		p.redis, p.postgres = network[0], network[0]
	}
	client, pool := p.redis.Redis(s.redis), p.postgres.Postgres(s.t, s.postgres)
	p.disconnect = func() {
		pool.Close()
		_ = client.Close()
	}
	p.store = durable.New(durable.Hasty(durable.Options{
		Redis: client, Postgres: pool, Durability: durability,
		Logger: slog.New(slog.DiscardHandler),
	}))
	return p
}

// dead says whether the process has ended as far as the servers can tell.
func (p *process) dead() bool { return p.redis.Dead() || p.postgres.Dead() }

// own opens the shard and loads the document, as often as it takes.
func (p *process) own(shard int32, epoch int64) bool {
	for deadline := time.Now().Add(patience); !p.dead(); {
		opened, err := p.store.Open(context.Background(), shard, epoch, p.name)
		if err == nil {
			p.shard = opened
			opened.(storage.Finder).OnOutdated(func(string) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.outdated = true
			})
			return p.load()
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the shard cannot be opened: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// load loads the document.
func (p *process) load() bool {
	for deadline := time.Now().Add(patience); !p.dead(); {
		p.mu.Lock()
		p.outdated = false
		p.mu.Unlock()
		doc, err := p.shard.Load(context.Background(), document)
		if errors.Is(err, storage.ErrFenced) {
			return false
		}
		if err == nil {
			p.mu.Lock()
			p.content, p.seq = nil, 0
			if doc.Snapshot != nil {
				p.seq = doc.Snapshot.Seq
				for update := range strings.SplitSeq(string(doc.Snapshot.State), "\n") {
					p.content = append(p.content, numbered{p.seq, update})
				}
			}
			for _, e := range doc.Tail {
				if e.Seq <= p.seq {
					p.t.Fatalf("operation %d follows operation %d", e.Seq, p.seq)
				}
				p.seq = e.Seq
				p.content = append(p.content, numbered{e.Seq, string(e.Update)})
			}
			p.mu.Unlock()
			return true
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the document cannot be loaded: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// append appends an operation. What it says is unique, unless it is given.
func (p *process) append(update string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	p.appended++
	seq := p.seq
	if update == "" {
		update = fmt.Sprintf("%s-%d", p.name, p.appended)
	}
	p.content = append(p.content, numbered{seq, update})
	p.shard.Append(storage.Entry{
		Document: document, Seq: seq, Time: time.UnixMicro(seq), User: p.name, Update: []byte(update),
	}, func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answered++
		if err == nil {
			p.acked[update] = true
		}
	})
}

// settled says whether all operations were answered.
func (p *process) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answered == p.appended
}

// until waits for a condition, unless the process ends.
func (p *process) until(what string, condition func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if p.dead() {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s waited in vain for %s", p.name, what)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// snapshot writes a snapshot of what is stored with all before it, once.
func (p *process) snapshot() error {
	p.mu.Lock()
	var updates []string
	var seq int64
	for _, c := range p.content {
		if !p.acked[c.update] && strings.HasPrefix(c.update, p.name+"-") {
			break
		}
		seq = c.seq
		updates = append(updates, c.update)
	}
	outdated := p.outdated
	p.mu.Unlock()
	if seq == 0 || outdated {
		return nil
	}
	return p.shard.WriteSnapshot(context.Background(), document, storage.Snapshot{
		Seq: seq, Time: time.UnixMicro(seq), State: []byte(strings.Join(updates, "\n")),
	})
}

// end ends the process, in order or at once. It may die while it ends in order.
func (p *process) end(orderly bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !orderly {
		cancel()
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = p.store.Close(ctx)
	}()
	p.until("its end", func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
	cancel()
	<-closed
	p.disconnect()
}

// holds checks that the document has all updates.
func (p *process) holds(acked ...map[string]bool) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	has := map[string]bool{}
	for _, c := range p.content {
		has[c.update] = true
	}
	for _, updates := range acked {
		for update := range updates {
			if !has[update] {
				p.t.Fatalf("%s was acknowledged and is lost; the document has %v", update, p.content)
			}
		}
	}
}

// story is a process's life with a bit of everything.
func (p *process) story(shard int32) {
	if !p.own(shard, 1) {
		return
	}
	for range 2 {
		for range 3 {
			p.append("")
		}
		p.until("acknowledgements", p.settled)
		var err error
		for range 3 {
			if err = p.snapshot(); err == nil || p.dead() {
				break
			}
		}
		if err != nil && !p.dead() {
			p.t.Fatalf("the snapshot is not stored: %v", err)
		}
		p.append("")
	}
	p.until("acknowledgements", p.settled)
}

// TestNoStepLosesAnAcknowledgedOperation lets each single step of a process's life fail in each way.
func TestNoStepLosesAnAcknowledgedOperation(t *testing.T) {
	s := start(t)
	for _, durability := range []durable.Durability{durable.Redis, durable.Postgres, durable.RedisReplicated} {
		t.Run(string(durability), func(t *testing.T) {
			if durability == durable.RedisReplicated {
				s.replicate()
			}
			network := &stores.Network{}
			first := s.launch(t, "a", durability, network)
			first.story(numbers.Add(1))
			first.end(true)
			steps := network.Steps() + 3
			t.Logf("%d steps", steps)
			if steps < 20 {
				t.Fatalf("a life has only %d steps", steps)
			}
			parallel := make(chan struct{}, 4)
			var wait sync.WaitGroup
			for step := 1; step <= steps; step++ {
				for name, fault := range map[string]stores.Fault{
					"refused": stores.Refuse, "lost": stores.Lose, "dead before": stores.DieBefore, "dead after": stores.DieAfter,
				} {
					parallel <- struct{}{}
					wait.Go(func() {
						defer func() { <-parallel }()
						t.Run(fmt.Sprintf("%d %s", step, name), func(t *testing.T) { s.fail(t, durability, step, fault) })
					})
				}
			}
			wait.Wait()
		})
	}
}

// fail lets one step fail and checks what another process finds.
func (s *servers) fail(t *testing.T, durability durable.Durability, step int, fault stores.Fault) {
	shard, network := numbers.Add(1), &stores.Network{}
	network.Decide(func(now int) stores.Fault {
		if now == step {
			return fault
		}
		return stores.Pass
	})
	first := s.launch(t, "a", durability, network)
	first.story(shard)
	first.end(!first.dead())
	if !first.dead() && len(first.acked) != 8 {
		t.Errorf("only %d operations were acknowledged", len(first.acked))
	}
	second := s.launch(t, "b", durability)
	defer second.end(true)
	second.own(shard, 2)
	second.holds(first.acked)
	second.append("")
	second.until("acknowledgements", second.settled)
	if err := second.snapshot(); err != nil {
		t.Errorf("the next owner's snapshot: %v", err)
	}
	second.load()
	second.holds(first.acked, second.acked)
}

// TestRandomFailuresLoseNoAcknowledgedOperation lets owners come and go while their servers fail, Redis loses the end
// of its data, and former owners do not know that they are.
func TestRandomFailuresLoseNoAcknowledgedOperation(t *testing.T) {
	s := start(t)
	s.replicate()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, servers: s, shard: numbers.Add(1)}
		w.durability = rapid.SampledFrom([]durable.Durability{durable.Redis, durable.RedisReplicated}).Draw(t, "durability")
		defer w.close()
		w.supersede()
		t.Repeat(map[string]func(*rapid.T){
			"append":        w.append,
			"former append": w.formerAppend,
			"snapshot":      w.snapshot,
			"reload":        w.reload,
			"redis fails":   func(t *rapid.T) { w.impair(t, w.current.redis) },
			"postgres fails": func(t *rapid.T) {
				w.impair(t, w.current.postgres)
			},
			"replicate": func(*rapid.T) { w.replicate() },
			"fail over": func(*rapid.T) { w.failOver() },
			"crash":     func(*rapid.T) { w.crash() },
			"supersede": func(*rapid.T) { w.supersede() },
		})
		w.finish()
	})
}

// world is one run of the test.
type world struct {
	*rapid.T
	servers *servers
	shard   int32
	// durability is that of all owners. The replica that acknowledges operations is not the one that fail-overs make the
	// primary: that is always behind.
	durability durable.Durability
	epoch      int64
	current    *process
	former     []*process
	processes  []*process
	// replica is what a replica of Redis has.
	replica map[string]string
	// lost says that Redis may have lost what only the living have.
	lost bool
	// unread says that the log may hold what only Redis has: nobody alive does.
	unread bool
}

func (w *world) keys() []string {
	return []string{fmt.Sprintf("collab:{%d}:state", w.shard), fmt.Sprintf("collab:{%d}:log", w.shard)}
}

func (w *world) append(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "operations") {
		w.current.append("")
	}
}

func (w *world) formerAppend(t *rapid.T) {
	if len(w.former) == 0 {
		t.Skip("there is no former owner")
	}
	rapid.SampledFrom(w.former).Draw(t, "owner").append("")
}

// snapshot may fail: another one follows.
func (w *world) snapshot(*rapid.T) { _ = w.current.snapshot() }

// reload does what the document's owner does when it is told that the document is outdated. Whatever was loaded is
// acknowledged to whoever sends it again.
func (w *world) reload(*rapid.T) {
	w.heal()
	if !w.current.load() {
		return
	}
	w.current.mu.Lock()
	defer w.current.mu.Unlock()
	for _, c := range w.current.content {
		w.current.acked[c.update] = true
	}
}

// impair lets all steps of a network fail in one way, or none.
func (w *world) impair(t *rapid.T, network *stores.Network) {
	fault := rapid.SampledFrom([]stores.Fault{stores.Pass, stores.Refuse, stores.Lose}).Draw(t, "fault")
	network.Decide(func(int) stores.Fault { return fault })
}

func (w *world) heal() {
	w.current.redis.Decide(nil)
	w.current.postgres.Decide(nil)
}

// replicate lets Redis's replica catch up.
func (w *world) replicate() {
	w.replica = map[string]string{}
	for _, key := range w.keys() {
		if dump, err := w.servers.client.Dump(context.Background(), key).Result(); err == nil {
			w.replica[key] = dump
		}
	}
}

// failOver makes the replica the primary, which loses what the replica lacks. It happens while everybody lives who has
// what is lost, and they live until they have repaired it: else it would be two failures.
func (w *world) failOver() {
	if w.unread {
		return
	}
	w.lost = true
	ctx := context.Background()
	pipeline := w.servers.client.TxPipeline()
	for _, key := range w.keys() {
		pipeline.Del(ctx, key)
		if dump, ok := w.replica[key]; ok {
			pipeline.RestoreReplace(ctx, key, 0, dump)
		}
	}
	if _, err := pipeline.Exec(ctx); err != nil {
		w.Fatalf("fail over: %v", err)
	}
}

// flush lets the current owner bring everything to PostgreSQL.
func (w *world) flush() {
	w.heal()
	w.current.until("acknowledgements", w.current.settled)
	w.current.until("PostgreSQL to have everything", func() bool { return w.current.store.Buffered() == 0 })
}

// crash kills the current owner, and another one follows. Nothing that only the current owner has was lost.
func (w *world) crash() {
	w.retire()
	if w.lost {
		w.flush()
		w.lost = false
	}
	w.current.end(false)
	w.take()
}

// supersede lets another owner follow while the current one does not know.
func (w *world) supersede() {
	if w.current != nil {
		w.former = append(w.former, w.current)
	}
	w.take()
}

// take lets a new process take over, perhaps while its Redis is down.
func (w *world) take() {
	w.epoch++
	w.current = w.servers.launch(w.T, fmt.Sprintf("p%d", w.epoch), w.durability)
	w.processes = append(w.processes, w.current)
	if rapid.IntRange(0, 3).Draw(w.T, "redis is down") == 0 {
		w.current.redis.Decide(func(int) stores.Fault { return stores.Refuse })
		w.unread = true
	} else {
		w.unread = false
	}
	if !w.current.own(w.shard, w.epoch) {
		w.Fatalf("the next owner could not take over")
	}
}

// retire lets the former owners find out, and hands what they hold to the current one.
func (w *world) retire() {
	w.heal()
	for _, f := range w.former {
		f.redis.Decide(nil)
		f.postgres.Decide(nil)
		f.append("")
		f.until("being fenced", func() bool {
			select {
			case <-f.shard.Fenced():
				return true
			default:
				return false
			}
		})
		f.until("answers", f.settled)
		for _, e := range f.shard.(storage.Leaver).Unflushed() {
			if f.acked[string(e.Update)] {
				w.current.append(string(e.Update))
			}
		}
		f.end(false)
	}
	w.former = nil
	w.current.until("acknowledgements", w.current.settled)
}

func (w *world) finish() {
	w.retire()
	w.flush()
	w.current.end(true)
	last := w.servers.launch(w.T, "last", durable.Redis)
	w.processes = append(w.processes, last)
	last.own(w.shard, w.epoch+1)
	last.load()
	for _, p := range w.processes {
		last.holds(p.acked)
	}
}

func (w *world) close() {
	for _, p := range w.processes {
		p.end(false)
	}
}
