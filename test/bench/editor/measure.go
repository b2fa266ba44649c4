package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/protocol"
)

const (
	// tooLate is the propagation time, p99, at which a server counts as saturated.
	tooLate = 250 * time.Millisecond
	// full is the part of a processor that this program cannot exceed by much.
	full = 0.97
	// maxSteps bounds the ramp.
	maxSteps = 20
)

// step is what was seen under one load.
type step struct {
	documents, clients int
	took               time.Duration
	// sent and delivered are per second: typed characters, and characters that reached another client.
	sent, delivered float64
	p50, p95, p99   time.Duration
	late            time.Duration
	// server, stores and load are the parts of a processor that were used; foreign is what was used of the server's
	// processor by programs that are not part of the benchmark.
	server, stores, load, foreign float64
}

// perThousand is the processor time that a part of a processor means for 1,000 delivered updates.
func (s step) perThousand(part float64) time.Duration {
	if s.delivered == 0 {
		return 0
	}
	return time.Duration(part / s.delivered * 1000 * float64(time.Second))
}

// saturated says why the server cannot take more, or "" if it can. A full processor is no reason: a server that is
// busy may do more at a time.
func (s step) saturated(rate float64) string {
	switch {
	case s.p99 > tooLate:
		return fmt.Sprintf("p99 is beyond %s with %s of the processor", tooLate, percent(s.server))
	case s.sent < 0.95*rate*float64(s.clients):
		return "the server does not read as fast as is typed"
	default:
		return ""
	}
}

// observe measures the load for a time.
func (l *load) observe(ctx context.Context, window time.Duration) (step, error) {
	before, err := l.running.usage()
	if err != nil {
		return step{}, err
	}
	latency, late := &histogram{}, &histogram{}
	l.latency.Store(latency)
	l.late.Store(late)
	begin, sent, received := time.Now(), l.sent.Load(), l.received.Load()
	if err := pause(ctx, window); err != nil {
		return step{}, err
	}
	took := time.Since(begin)
	sent, received = l.sent.Load()-sent, l.received.Load()-received
	l.latency.Store(&histogram{})
	after, err := l.running.usage()
	if err != nil {
		return step{}, err
	}
	part := func(after, before time.Duration) float64 { return float64(after-before) / float64(took) }
	return step{
		documents: len(l.rooms), clients: len(l.rooms) * l.authors, took: took,
		sent: float64(sent) / took.Seconds(), delivered: float64(received) / took.Seconds(),
		p50: latency.quantile(0.5), p95: latency.quantile(0.95), p99: latency.quantile(0.99), late: late.quantile(0.99),
		server: part(after.server, before.server), stores: part(after.stores, before.stores),
		load:    part(after.load, before.load),
		foreign: max(part(after.all-after.server, before.all-before.server), 0),
	}, errors.Join(l.failure(), l.running.server.ended())
}

// steady measures the load again, twice at most, if the server seems saturated although its processor is not full: a
// pause of the machine is none of the server.
func (l *load) steady(ctx context.Context, o options) (step, error) {
	best, err := l.observe(ctx, o.window)
	for range 2 {
		if err != nil || best.server > 0.9 || best.saturated(o.rate) == "" {
			break
		}
		var again step
		if again, err = l.observe(ctx, o.window); again.p99 < best.p99 {
			best = again
		}
	}
	return best, err
}

// ramp raises the load until the server is saturated, and returns the steps.
func ramp(ctx context.Context, r *running, o options) ([]step, string, error) {
	l, err := newLoad(ctx, r, o.authors, o.rate)
	if err != nil {
		return nil, "", err
	}
	defer l.close()
	var steps []step
	for documents := o.documentsFor(o.first); ; {
		if err := l.resize(ctx, documents); err != nil {
			if len(steps) > 0 && ctx.Err() == nil {
				return steps, fmt.Sprintf("clients could not connect: %v", err), nil
			}
			return nil, "", err
		}
		if err := pause(ctx, o.settle); err != nil {
			return nil, "", err
		}
		s, err := l.steady(ctx, o)
		if err != nil {
			if len(steps) > 0 && ctx.Err() == nil {
				return steps, fmt.Sprintf("a connection broke: %v", err), nil
			}
			return nil, "", err
		}
		steps = append(steps, s)
		slog.Info("step", "system", r.system.key, "documents", s.documents, "clients", s.clients,
			"delivered", int(s.delivered), "p50", s.p50, "p99", s.p99, "late", s.late, "server", percent(s.server),
			"foreign", percent(s.foreign), "stores", percent(s.stores), "load", percent(s.load))
		switch why := s.saturated(o.rate); {
		case why != "":
			return steps, why, r.profiles(ctx, "saturated")
		case s.load >= full:
			return steps, "the load generator's processor is full: the server could do more", r.profiles(ctx, "saturated")
		case len(steps) == maxSteps:
			return steps, "the ramp has ended", nil
		}
		// The busier the server and the later what it delivers, the smaller the next step.
		least := 1.12
		if s.p99 < tooLate/4 {
			least = 1.3
		}
		factor := min(max(1/max(s.server, s.load, 0.01), least), 1.6)
		documents = max(documents+1, int(float64(documents)*factor))
	}
}

// loaded measures a fixed load on a fresh connection of everybody.
func loaded(ctx context.Context, r *running, o options, documents int, profile string) (step, error) {
	l, err := newLoad(ctx, r, o.authors, o.rate)
	if err != nil {
		return step{}, err
	}
	defer l.close()
	if err := l.resize(ctx, documents); err != nil {
		return step{}, err
	}
	if err := pause(ctx, 2*o.settle); err != nil {
		return step{}, err
	}
	s, err := l.observe(ctx, 2*o.window)
	if err != nil {
		return step{}, err
	}
	if profile != "" {
		err = r.profiles(ctx, profile)
	}
	return s, err
}

// profiles keeps profiles of this service under load.
func (r *running) profiles(ctx context.Context, name string) error {
	return errors.Join(r.profile(ctx, "profile?seconds=10", name+"-cpu"), r.profile(ctx, "allocs", name+"-allocs"))
}

// profile keeps a profile of this service.
func (r *running) profile(ctx context.Context, what, name string) error {
	if r.options.profiles == "" || !strings.HasPrefix(r.system.key, "collab") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	address := "http://" + loopback + ":" + r.internal + "/debug/pprof/" + what
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s: %w", response.Status, err)
	}
	file := filepath.Join(r.options.profiles, r.system.key+"-"+name+".pprof")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// idle is the memory of connections that do nothing.
type idle struct {
	connections int
	// before and after are the server's memory with one client a document and with all of them.
	before, after int
}

func (i idle) perConnection() int {
	if i.connections == 0 {
		return 0
	}
	return (i.after - i.before) / i.connections
}

// idleConnections opens a number of connections beyond one for each document. Everybody tells its presence, as Yjs
// clients do.
func idleConnections(ctx context.Context, r *running, o options, n int) (idle, error) {
	documents := max(n/o.idlePerDocument, 1)
	var all []*client
	defer func() {
		for _, c := range all {
			c.close()
		}
	}()
	open := func(n int) error {
		some := make([]*client, n)
		errs := make([]error, n)
		slots := make(chan struct{}, parallel)
		var wait sync.WaitGroup
		for i := range n {
			slots <- struct{}{}
			number := len(all) + i
			wait.Go(func() {
				some[i], errs[i] = r.stay(ctx, fmt.Sprintf("idle-%d", i%documents), uint64(number+1))
				<-slots
			})
		}
		wait.Wait()
		var failed error
		for i, c := range some {
			if c != nil {
				all = append(all, c)
			} else {
				failed = errs[i] // One tells enough of thousands.
			}
		}
		return failed
	}
	i := idle{connections: n}
	err := open(documents)
	if err == nil {
		err = pause(ctx, o.idleSettle)
	}
	if err == nil {
		i.before, err = r.server.rss()
	}
	if err == nil {
		err = open(n)
	}
	if err == nil {
		err = pause(ctx, o.idleSettle)
	}
	if err == nil {
		i.after, err = r.server.rss()
	}
	if err != nil {
		return idle{}, fmt.Errorf("%d idle connections: %w", n, err)
	}
	name := fmt.Sprintf("idle-%d", n)
	return i, errors.Join(r.profile(ctx, "heap", name+"-heap"), r.profile(ctx, "goroutine?debug=1", name+"-goroutines"))
}

// stay connects, tells its presence, and reads in the background until the client is closed.
func (r *running) stay(ctx context.Context, document string, id uint64) (*client, error) {
	c, err := r.connect(ctx, document)
	if err != nil {
		return nil, err
	}
	if _, err := c.content(ctx); err != nil {
		c.close()
		return nil, err
	}
	state := fmt.Sprintf(`{"user":{"name":"author %d","color":"#30bced"}}`, id)
	presence := protocol.EncodeAwareness([]protocol.Presence{{Client: id, Clock: 1, State: state}})
	if err := c.write(protocol.Awareness, presence); err != nil {
		c.close()
		return nil, err
	}
	go func() {
		for {
			if _, err := c.read(); err != nil {
				return // The connection was closed.
			}
		}
	}()
	return c, nil
}

// perDocument is the memory that a document takes which has been edited and which one client has open.
func perDocument(ctx context.Context, r *running, o options, content []byte) (int, error) {
	before, err := r.server.rss()
	if err != nil {
		return 0, err
	}
	for i := range o.open {
		c, err := r.stay(ctx, fmt.Sprintf("open-%d", i), uint64(i+1))
		if err != nil {
			return 0, err
		}
		defer c.close()
		if err := c.write(protocol.Update, content); err != nil {
			return 0, err
		}
	}
	if err := pause(ctx, o.idleSettle); err != nil {
		return 0, err
	}
	after, err := r.server.rss()
	if err != nil {
		return 0, err
	}
	return (after - before) / o.open, r.profile(ctx, "heap", "documents-heap")
}

// joins is how long it takes to receive a document.
type joins struct {
	// warm is the median while the document is open, cold the first time after the server was started again.
	warm, cold time.Duration
	// early says that the first answer after the start was not the whole document.
	early bool
}

// joinTimes stores a document and measures how long it takes to receive it.
func joinTimes(ctx context.Context, r *running, o options, document typed) (joins, error) {
	c, err := r.stay(ctx, "paper", 1)
	if err != nil {
		return joins{}, err
	}
	defer c.close()
	if err := c.write(protocol.Update, document.update); err != nil {
		return joins{}, err
	}
	complete := func(j joined) (bool, error) {
		text, err := j.text()
		return text == document.text, err
	}
	for begin := time.Now(); ; {
		j, err := r.join(ctx, "paper")
		if err != nil {
			return joins{}, err
		}
		if done, err := complete(j); done || err != nil {
			if err != nil {
				return joins{}, err
			}
			break
		}
		if time.Since(begin) > startTimeout {
			return joins{}, errors.New("the server does not deliver the document that it was given")
		}
	}
	times := make([]time.Duration, o.joins)
	for i := range times {
		j, err := r.join(ctx, "paper")
		if err != nil {
			return joins{}, err
		}
		times[i] = j.took
	}
	slices.Sort(times)
	out := joins{warm: times[len(times)/2]}
	// Longer than the others wait before they store.
	if err := pause(ctx, o.idleSettle); err != nil {
		return joins{}, err
	}
	c.close()
	r.stop()
	if err := r.start(ctx); err != nil {
		return joins{}, err
	}
	j, err := r.join(ctx, "paper")
	if err != nil {
		return joins{}, err
	}
	done, err := complete(j)
	out.cold = j.took
	if done || err != nil {
		return out, err
	}
	// y-websocket's server answers before it has loaded the document, and sends the rest to whoever stays.
	out.early = true
	begin := time.Now()
	waiting, err := r.stay(ctx, "paper", 2)
	if err != nil {
		return joins{}, err
	}
	defer waiting.close()
	for {
		j, err := r.join(ctx, "paper")
		if err != nil {
			return joins{}, err
		}
		done, err := complete(j)
		out.cold = time.Since(begin)
		if done || err != nil {
			return out, err
		}
		if out.cold > startTimeout {
			return joins{}, errors.New("the server has lost the document")
		}
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// typed is a document that was typed, and its text.
type typed struct {
	update []byte
	text   string
}

// typeTrace types keystrokes.
func typeTrace(trace []keystroke) (typed, error) {
	doc := crdt.NewDoc(crdt.Options{ClientID: 1})
	to := doc.Text(root)
	for _, k := range trace {
		var err error
		if k.text == "" {
			err = to.Delete(k.at, 1)
		} else {
			err = to.Insert(k.at, k.text)
		}
		if err != nil {
			return typed{}, fmt.Errorf("type the trace: %w", err)
		}
	}
	update, err := doc.EncodeStateAsUpdate(nil)
	if err != nil {
		return typed{}, fmt.Errorf("type the trace: %w", err)
	}
	return typed{update: update, text: to.String()}, nil
}
