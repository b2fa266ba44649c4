// Command crdt measures the document engine, Yjs and ywasm side by side on the workloads of crdt-benchmarks, and prints
// a table. Each engine runs every workload in a process of its own, one after the other.
package main

import (
	"bytes"
	"context"
	_ "embed" // For the script that measures the others.
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"collab.dev/operator/editor/crdt/yjs"
)

// workerEnv is set in the processes that measure this engine.
const workerEnv = "COLLAB_BENCH_WORKER"

//go:embed bench.mjs
var script string

// options say what to measure.
type options struct {
	n        int    // Operations of B1 to B3.
	trace    int    // Keystrokes of B4, 0 for all.
	rows     string // A pattern for the rows.
	growth   bool   // Measure how the cost grows, too.
	yjsMerge int    // How many updates Yjs merges at most: its time grows with their square.
	effort   effort
	out      io.Writer
}

func main() {
	if os.Getenv(workerEnv) != "" {
		if err := runWorker(os.Stdin, os.Stdout); err != nil {
			fail(err)
		}
		return
	}
	o := options{out: os.Stdout, effort: effort{samples: 7, enough: time.Second / 2}}
	flag.IntVar(&o.n, "n", 6000, "operations of the workloads B1 to B3")
	flag.IntVar(&o.trace, "trace", 0, "keystrokes of B4 (0: all)")
	flag.StringVar(&o.rows, "rows", "*", "pattern of the workloads to run")
	flag.BoolVar(&o.growth, "growth", true, "measure how the cost grows up to ten times B4")
	flag.IntVar(&o.yjsMerge, "yjs-merge", 10000, "how many updates Yjs merges at most")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if _, err := run(ctx, o); err != nil {
		fail(err)
	}
}

func fail(err error) {
	slog.Error("the benchmark failed", "error", err)
	os.Exit(1)
}

var engines = []string{"collab", "yjs", "ywasm"}

// figures are what an engine needs for a workload; times in nanoseconds.
type figures struct {
	workload, engine                  string
	apply, load, encode, diff, merge  float64
	merged                            int // Updates that were merged; 0 if the engine cannot.
	size                              int
	heap, rss                         float64
	final                             []byte
	text                              string
	operations, listLength, mapLength float64
}

func start(ctx context.Context, engine string) (*yjs.Process, error) {
	if engine != "collab" {
		if err := os.Setenv("ENGINE", engine); err != nil {
			return nil, fmt.Errorf("choose the engine: %w", err)
		}
		return yjs.Start(ctx, script, "--expose-gc")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	return yjs.StartCommand(cmd)
}

// run measures and prints, and returns the figures.
func run(ctx context.Context, o options) ([]figures, error) {
	trace, err := readTrace()
	if err != nil {
		return nil, err
	}
	keystrokes := len(trace)
	if o.trace > 0 {
		keystrokes = o.trace
	}
	makers := make([]func() workload, 0, len(rows)+1)
	for _, r := range rows {
		if ok, _ := path.Match(o.rows, r.name); ok {
			makers = append(makers, func() workload { return r.make(o.n) })
		}
	}
	if ok, _ := path.Match(o.rows, "B4"); ok {
		makers = append(makers, func() workload { return traceWorkload("B4", trace, keystrokes) })
	}
	var all []figures
	for _, make := range makers {
		w := make()
		slog.Info("measuring", "workload", w.name, "updates", len(w.updates))
		var first figures
		for i, engine := range engines {
			f, err := measureEngine(ctx, engine, w, o)
			if err != nil {
				return nil, fmt.Errorf("%s with %s: %w", w.name, engine, err)
			}
			if i == 0 {
				first = f
			}
			if err := compare(first, f); err != nil {
				return nil, fmt.Errorf("%s with %s: %w", w.name, engine, err)
			}
			all = append(all, f)
		}
	}
	report := comparison(all) + "\n" + verdict(all)
	if o.growth {
		growing, err := growth(ctx, trace, keystrokes, o)
		if err != nil {
			return nil, err
		}
		report += "\n" + growing
	}
	if _, err := io.WriteString(o.out, report); err != nil {
		return nil, fmt.Errorf("print the report: %w", err)
	}
	return all, nil
}

// compare reports whether an engine made another document of a workload than the first engine.
func compare(a, b figures) error {
	if a.text != b.text || a.listLength != b.listLength || a.mapLength != b.mapLength {
		return fmt.Errorf("the documents differ: texts of %d and %d bytes", len(a.text), len(b.text))
	}
	if b.engine == "yjs" && !bytes.Equal(a.final, b.final) {
		return fmt.Errorf("the encoded documents differ: %d and %d bytes", len(a.final), len(b.final))
	}
	return nil
}

func measureEngine(ctx context.Context, engine string, w workload, o options) (figures, error) {
	f := figures{workload: w.name, engine: engine, operations: float64(len(w.updates))}
	p, err := start(ctx, engine)
	if err != nil {
		return f, err
	}
	list := make([]any, len(w.updates))
	for i := range list {
		list[i] = w.updates[i]
	}
	call := func(request ...any) any {
		if err != nil {
			return nil
		}
		var answer any
		answer, err = p.Call(request)
		return answer
	}
	number := func(v any) float64 { n, _ := v.(float64); return n }
	call("effort", o.effort.samples, float64(o.effort.enough))
	call("updates", list)
	applied, _ := call("apply").([]any)
	if err == nil && len(applied) < 6 {
		err = fmt.Errorf("an answer of %d values", len(applied))
	}
	if err != nil {
		return f, err
	}
	f.apply = number(applied[0])
	f.final, _ = applied[1].([]byte)
	sv, _ := applied[2].([]byte)
	f.text, _ = applied[3].(string)
	f.listLength, f.mapLength = number(applied[4]), number(applied[5])
	f.size = len(f.final)
	f.load = number(call("load", f.final))
	f.encode = number(call("encode"))
	f.diff = number(call("diff", sv))
	f.merged = len(w.updates)
	switch engine {
	case "ywasm":
		f.merged = 0
	case "yjs":
		f.merged = min(f.merged, o.yjsMerge)
	}
	if f.merged > 0 {
		f.merge = number(call("merge", f.merged))
	}
	if err != nil {
		return f, err
	}
	if err := p.Close(); err != nil {
		return f, err
	}
	// Memory is measured by a process that has done nothing else.
	if p, err = start(ctx, engine); err != nil {
		return f, err
	}
	const enough = 4 << 20 // Bytes of encoded documents, so that what is around them does not count.
	copies := min(max(enough/f.size, 20), 1000)
	memory, _ := call("memory", f.final, copies).([]any)
	if err == nil && len(memory) == 2 {
		f.heap, f.rss = number(memory[0]), number(memory[1])
	}
	if err != nil {
		return f, err
	}
	return f, p.Close()
}

func duration(ns float64) string {
	switch d := time.Duration(ns); {
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0f ms", ns/1e6)
	case d >= 100*time.Microsecond:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	default:
		return fmt.Sprintf("%.1f µs", ns/1e3)
	}
}

// table lays out rows of cells as Markdown; the first is the head.
func table(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	line := func(row []string, fill string) {
		for i, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(fill, widths[i]-utf8.RuneCountInString(cell)) + " ")
		}
		b.WriteString("|\n")
	}
	line(rows[0], " ")
	line(make([]string, len(rows[0])), "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
	return b.String()
}

func comparison(all []figures) string {
	rows := [][]string{{
		"workload", "engine", "apply updates", "load", "size", "encode", "diff 1 %", "heap", "RSS", "merge updates",
	}}
	for _, f := range all {
		merge := "–"
		if f.merged > 0 {
			merge = duration(f.merge)
			if f.merged < int(f.operations) {
				merge += fmt.Sprintf(" (%d of %d)", f.merged, int(f.operations))
			}
		}
		rows = append(rows, []string{
			f.workload, f.engine, duration(f.apply), duration(f.load), fmt.Sprint(f.size), duration(f.encode),
			duration(f.diff), fmt.Sprintf("%.1f kB", f.heap/1e3), fmt.Sprintf("%.1f kB", f.rss/1e3), merge,
		})
	}
	return table(rows)
}

// verdict tells where the engine is not the fastest and the smallest.
func verdict(all []figures) string {
	var out strings.Builder
	behind := 0
	for i := 0; i < len(all); i += len(engines) {
		own := all[i]
		for _, other := range all[i+1 : i+len(engines)] {
			for _, c := range []struct {
				what       string
				own, other float64
			}{
				{"apply", own.apply, other.apply},
				{"load", own.load, other.load},
				{"encode", own.encode, other.encode},
				{"diff", own.diff, other.diff},
				{"heap", own.heap, other.heap},
			} {
				if c.own > c.other {
					behind++
					fmt.Fprintf(&out, "%s: %s takes %.2f times as much as in %s\n",
						own.workload, c.what, c.own/c.other, other.engine)
				}
			}
			if own.workload == "B4" {
				fmt.Fprintf(&out, "B4 against %s: apply %.1f, load %.1f times as fast; heap %.2f, RSS %.2f times as much\n",
					other.engine, other.apply/own.apply, other.load/own.load, own.heap/other.heap, own.rss/other.rss)
			}
		}
	}
	if behind == 0 {
		out.WriteString("ahead of the others in every row\n")
	}
	return out.String()
}

// growth measures B4 at a tenth of, at once and at ten times its length.
func growth(ctx context.Context, trace []keystroke, n int, o options) (string, error) {
	rows := [][]string{{"keystrokes", "apply updates", "load", "encode", "merge updates", "heap"}}
	var last figures
	for _, count := range []int{n / 10, n, n * 10} {
		f, err := measureEngine(ctx, "collab", traceWorkload("B4", trace, count), o)
		if err != nil {
			return "", fmt.Errorf("%d keystrokes: %w", count, err)
		}
		cell := func(now, before float64) string {
			if last.apply == 0 {
				return duration(now)
			}
			return fmt.Sprintf("%s (× %.1f)", duration(now), now/before)
		}
		rows = append(rows, []string{
			fmt.Sprint(count), cell(f.apply, last.apply), cell(f.load, last.load), cell(f.encode, last.encode),
			cell(f.merge, last.merge), fmt.Sprintf("%.0f kB", f.heap/1e3),
		})
		last = f
	}
	return table(rows), nil
}
