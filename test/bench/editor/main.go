// Command editor measures this service, Hocuspocus and y-websocket's server side by side: one after the other, each on
// the same processor, on loopback, with the same load. It owns the load and the figures; how the servers do what they
// are asked it does not know.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"collab.dev/operator/api/v1alpha1"
)

const (
	podName   = "bench"
	numShards = 256
)

// options say what to measure.
type options struct {
	editor   string // This service's program.
	floor    string // The program of floorSystem.
	servers  string // The folder with the others.
	trace    string // The editing trace of B4.
	profiles string // A folder for profiles of this service; empty for none.
	scratch  string // Where the servers keep documents; empty for the system's place for temporary files.
	systems  []string
	figures  []string // Groups of figures: those of standard, or some of them.

	serverCPUs, loadCPUs string

	floorTurn time.Duration

	authors int     // Clients of each document that type.
	rate    float64 // Characters that each of them types in a second.
	// Delivered updates a second of the ramp's first step, and of the load that is the same for all.
	first, same float64
	settle      time.Duration
	window      time.Duration

	idle            []int // Numbers of idle connections.
	idlePerDocument int
	idleSettle      time.Duration
	open            int // Documents that are open for their memory.
	openKeystrokes  int // Of how many keystrokes each of them is.
	joins           int
}

// The groups of figures.
const (
	typing    = "typing"
	idling    = "idle"
	documents = "documents"
	joining   = "joins"
)

func standard() options {
	return options{
		editor: "bin/editor", floor: "bin/floor", floorTurn: 200 * time.Millisecond, servers: "test/bench/editor/servers",
		trace: "test/bench/crdt/testdata/automerge-paper.trace.gz", serverCPUs: "0", loadCPUs: "1",
		authors: 10, rate: 5, first: 9000, same: 17000, settle: 1500 * time.Millisecond, window: 5 * time.Second,
		idle: []int{1000, 10000}, idlePerDocument: 20, idleSettle: 15 * time.Second,
		open: 300, openKeystrokes: 5000, joins: 15, figures: []string{typing, idling, documents, joining},
	}
}

// documentsFor is how many documents it takes for a number of delivered updates a second.
func (o options) documentsFor(delivered float64) int {
	each := float64(o.authors*(o.authors-1)) * o.rate
	return max(int(math.Round(delivered/each)), 1)
}

func main() {
	o := standard()
	only := "collab,collab-stores,hocuspocus,y-websocket,floor"
	flag.StringVar(&only, "systems", only, "what to measure")
	figures := strings.Join(o.figures, ",")
	flag.StringVar(&figures, "figures", figures, "which figures to take")
	flag.StringVar(&o.editor, "editor", o.editor, "program of this service")
	flag.StringVar(&o.floor, "floor", o.floor, "program of the system floor")
	flag.DurationVar(&o.floorTurn, "floor-turn", o.floorTurn, "how long the system floor gathers what it sends")
	flag.StringVar(&o.profiles, "profiles", "", "folder for profiles of this service")
	flag.StringVar(&o.scratch, "scratch", "", "folder for the servers' data")
	flag.StringVar(&o.serverCPUs, "server-cpus", o.serverCPUs, "processors of the servers, as taskset writes them")
	flag.StringVar(&o.loadCPUs, "load-cpus", o.loadCPUs, "processors of the stores (and, by taskset, of this program)")
	flag.IntVar(&o.authors, "clients", o.authors, "clients of each document")
	flag.Float64Var(&o.same, "same", o.same, "delivered updates a second of the load that is the same for all")
	flag.DurationVar(&o.window, "window", o.window, "how long a step is measured")
	flag.Parse()
	o.systems, o.figures = strings.Split(only, ","), strings.Split(figures, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	all, err := run(ctx, o)
	if len(all) > 0 {
		err = errors.Join(err, report(context.WithoutCancel(ctx), os.Stdout, all))
	}
	if err != nil {
		slog.Error("the benchmark failed", "error", err)
		os.Exit(1)
	}
}

// result is what was seen of a system.
type result struct {
	system    system
	steps     []step
	why       string // What ended the ramp.
	half      step
	same      step
	idle      []idle
	rss       int // Memory right after the start.
	document  int
	documents string
	joins     joins
}

// prompt is how many updates a second are delivered in the last step up to which all are within the goal, 0 if in none.
func (r result) prompt() (delivered float64) {
	for _, s := range r.steps {
		if s.p99 >= goalPropagation {
			break
		}
		delivered = s.delivered
	}
	return delivered
}

// peak is the step that delivered the most before the server was saturated.
func (r result) peak() step {
	steps := r.steps
	if len(steps) == 0 {
		return step{}
	}
	if n := len(steps); n > 1 {
		steps = steps[:n-1] // The last one is where the ramp has ended.
	}
	return slices.MaxFunc(steps, func(a, b step) int { return int(a.delivered - b.delivered) })
}

// run measures the systems. It returns those that could be measured with the errors of the others.
func run(ctx context.Context, o options) ([]result, error) {
	// The servers inherit the limit: each connection takes a file.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("the limit of open files: %w", err)
	}
	files.Cur = files.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("the limit of open files: %w", err)
	}
	trace, err := readTrace(o.trace)
	if err != nil {
		return nil, err
	}
	paper, err := typeTrace(trace)
	if err != nil {
		return nil, err
	}
	page, err := typeTrace(trace[:o.openKeystrokes])
	if err != nil {
		return nil, err
	}
	var all []result
	var failed error
	for _, s := range systems() {
		if !slices.Contains(o.systems, s.key) {
			continue
		}
		r, err := measure(ctx, s, o, page, paper)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
		} else {
			all = append(all, r)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return all, failed
}

// measure takes all figures of a system. Memory is measured by servers that have done nothing else.
func measure(ctx context.Context, s system, o options, page, paper typed) (result, error) {
	out := result{system: s, documents: fmt.Sprintf("%.1f kB", float64(len(page.update))/1e3)}
	fresh := func(figure, what string, f func(r *running) error) error {
		if !slices.Contains(o.figures, figure) || s.floor && figure != typing {
			return nil
		}
		slog.Info("measuring", "system", s.key, "what", what)
		r, err := s.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := f(r); err != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(err, r.close()))
		}
		return r.close()
	}
	err := fresh(typing, "typing", func(r *running) error {
		var err error
		if out.rss, err = r.server.rss(); err != nil {
			return err
		}
		if out.steps, out.why, err = ramp(ctx, r, o); err != nil {
			return err
		}
		slog.Info("saturated", "system", s.key, "why", out.why)
		return nil
	})
	if err != nil {
		return out, err
	}
	err = fresh(typing, "half load", func(r *running) error {
		var err error
		out.half, err = loaded(ctx, r, o, max(out.peak().documents/2, 1), "half")
		return err
	})
	if err != nil {
		return out, err
	}
	err = fresh(typing, "the same load for all", func(r *running) error {
		var err error
		out.same, err = loaded(ctx, r, o, o.documentsFor(o.same), "same")
		return err
	})
	if err != nil {
		return out, err
	}
	for _, n := range o.idle {
		err := fresh(idling, "idle connections", func(r *running) error {
			i, err := idleConnections(ctx, r, o, n)
			out.idle = append(out.idle, i)
			return err
		})
		if err != nil {
			return out, err
		}
	}
	err = fresh(documents, "open documents", func(r *running) error {
		var err error
		out.document, err = perDocument(ctx, r, o, page.update)
		return err
	})
	if err != nil {
		return out, err
	}
	return out, fresh(joining, "joining", func(r *running) error {
		var err error
		out.joins, err = joinTimes(ctx, r, o, paper)
		return err
	})
}

// shardMap gives all shards to the only pod.
func shardMap() []byte {
	m := v1alpha1.ShardMap{}
	m.Spec.Members = []v1alpha1.ShardMember{{Name: podName, UID: podName, Address: loopback + ":1"}}
	for n := range int32(numShards) {
		m.Spec.Shards = append(m.Spec.Shards, v1alpha1.ShardAssignment{Shard: n, Owner: podName, Epoch: 1})
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // It holds texts and numbers.
	}
	return data
}
