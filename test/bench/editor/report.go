package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// The goals, as docs/benchmarks.md has them.
const (
	goalEfficiency  = 5.0
	goalMemory      = 0.25
	goalPropagation = 10 * time.Millisecond
	goalConnections = 10000
	goalResident    = 400 << 20
)

func percent(part float64) string { return fmt.Sprintf("%.0f %%", part*100) }

func milliseconds(d time.Duration) string { return ifTaken(d != 0, "%.1f ms", d.Seconds()*1e3) }

func kilobytes(n int) string { return ifTaken(n != 0, "%.1f KiB", float64(n)/1024) }

func ifTaken(taken bool, format string, figure float64) string {
	if !taken {
		return "–"
	}
	return fmt.Sprintf(format, figure)
}

// report prints the table, a column for each system.
func report(ctx context.Context, to io.Writer, all []result) error {
	out := &strings.Builder{}
	versions(ctx, out)
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	row := func(what string, value func(r result) string) {
		cells := []string{what}
		for _, r := range all {
			cells = append(cells, value(r))
		}
		tell(t, "| %s\t|\n", strings.Join(cells, "\t| "))
	}
	row("", func(r result) string { return r.system.name })
	row("---", func(result) string { return "---:" })
	row("stored", func(r result) string { return r.system.durability })
	row("most delivered updates/s, p99 below 250 ms", func(r result) string { return fmt.Sprintf("%.0f", r.peak().delivered) })
	row("typing clients there", func(r result) string { return fmt.Sprint(r.peak().clients) })
	row("propagation there p50", func(r result) string { return milliseconds(r.peak().p50) })
	row("propagation there p99", func(r result) string { return milliseconds(r.peak().p99) })
	row("its processor", func(r result) string { return percent(r.peak().server) })
	row("delivered updates/s up to which p99 is below 10 ms", func(r result) string {
		return ifTaken(r.prompt() != 0, "%.0f", r.prompt())
	})
	row("what ended the ramp", func(r result) string { return r.why })
	row("other programs on its processor", func(r result) string { return percent(r.peak().foreign) })
	row("CPU s per 1,000 delivered there", func(r result) string { return seconds(r.peak(), r.peak().server) })
	row("– of its stores", func(r result) string { return seconds(r.peak(), r.peak().stores) })
	for _, load := range []struct {
		name string
		of   func(r result) step
	}{
		{"half load: ", func(r result) step { return r.half }},
		{"the same load for all: ", func(r result) step { return r.same }},
	} {
		row(load.name+"delivered/s", func(r result) string { return fmt.Sprintf("%.0f", load.of(r).delivered) })
		row(load.name+"propagation p50", func(r result) string { return milliseconds(load.of(r).p50) })
		row(load.name+"propagation p95", func(r result) string { return milliseconds(load.of(r).p95) })
		row(load.name+"propagation p99", func(r result) string { return milliseconds(load.of(r).p99) })
		row(load.name+"the generator's own lateness p99", func(r result) string { return milliseconds(load.of(r).late) })
		row(load.name+"its processor", func(r result) string { return percent(load.of(r).server) })
		row(load.name+"other programs on its processor", func(r result) string { return percent(load.of(r).foreign) })
		row(load.name+"CPU s per 1,000 delivered", func(r result) string { return seconds(load.of(r), load.of(r).server) })
		row("– of its stores", func(r result) string { return seconds(load.of(r), load.of(r).stores) })
	}
	row("memory after the start", func(r result) string { return kilobytes(r.rss) })
	for i := range maxIdle(all) {
		row("memory per idle connection"+note(i), func(r result) string {
			if i >= len(r.idle) {
				return "–"
			}
			return fmt.Sprintf("%s (of %d)", kilobytes(r.idle[i].perConnection()), r.idle[i].connections)
		})
		row("– all of the process", func(r result) string {
			if i >= len(r.idle) {
				return "–"
			}
			return fmt.Sprintf("%.0f MiB", float64(r.idle[i].after)/(1<<20))
		})
	}
	row("memory per open document of "+all[0].documents, func(r result) string { return kilobytes(r.document) })
	row("joining B4, open", func(r result) string { return milliseconds(r.joins.warm) })
	row("joining B4, after a restart", func(r result) string {
		if r.joins.early {
			return milliseconds(r.joins.cold) + ", at first incomplete"
		}
		return milliseconds(r.joins.cold)
	})
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	verdict(out, all)
	if _, err := io.WriteString(to, out.String()); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// versions tells on what the figures were taken.
func versions(ctx context.Context, out io.Writer) {
	node, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		node = []byte("is not installed")
	}
	tell(out, "\n%s, %s/%s, Node %s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.TrimSpace(string(node)))
}

// tell writes to what does not fail: to memory.
func tell(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }

// note tells a second row of the same figure from the first.
func note(i int) string {
	if i == 0 {
		return ""
	}
	return ", more of them"
}

func maxIdle(all []result) int {
	n := 0
	for _, r := range all {
		n = max(n, len(r.idle))
	}
	return n
}

func seconds(s step, part float64) string {
	if part == 0 {
		return "–"
	}
	return fmt.Sprintf("%.4f", s.perThousand(part).Seconds())
}

// verdict compares each way of running this service with the best of the others, and with the goals.
func verdict(out io.Writer, all []result) {
	var own, others, floors []result
	for _, r := range all {
		switch {
		case r.system.floor:
			floors = append(floors, r)
		case strings.HasPrefix(r.system.key, "collab"):
			own = append(own, r)
		default:
			others = append(others, r)
		}
	}
	word := func(ok bool) string {
		if ok {
			return "met"
		}
		return "MISSED"
	}
	for _, r := range floors {
		if len(others) > 0 {
			efficiency, _, _ := bestOf(others)
			tell(out, "\n%s: %.1f times the delivered updates per CPU second of the best other; nobody does more\n",
				r.system.name, r.peak().delivered/r.peak().server/efficiency)
		}
	}
	for _, r := range own {
		tell(out, "\n%s\n", r.system.name)
		if len(others) > 0 {
			efficiency, halfEfficiency, memory := bestOf(others)
			at := r.peak().delivered / r.peak().server / efficiency
			half := r.half.delivered / r.half.server / halfEfficiency
			tell(out, "- delivered updates per CPU second, against the best other: %.1f times at the most, %.1f times at "+
				"half load (goal: %.0f): %s\n", at, half, goalEfficiency, word(at >= goalEfficiency))
			if len(r.idle) > 0 && memory > 0 {
				part := float64(r.idle[len(r.idle)-1].perConnection()) / float64(memory)
				tell(out, "- memory per idle connection, against the best other: %.2f times (goal: %.2f): %s\n", part,
					goalMemory, word(part <= goalMemory))
			}
		}
		tell(out, "- propagation at half load, p99: %s (goal: %s): %s\n", milliseconds(r.half.p99),
			milliseconds(goalPropagation), word(r.half.p99 < goalPropagation))
		if most := mostOf(others); most > 0 {
			tell(out, "- p99 is below %s up to %.2f times what the best other bears at all\n", milliseconds(goalPropagation),
				r.prompt()/most)
		}
		for _, i := range r.idle {
			if i.connections == goalConnections {
				tell(out, "- memory with %d idle connections: %d MiB (goal: %d): %s\n", i.connections, i.after>>20,
					goalResident>>20, word(i.after < goalResident))
			}
		}
	}
}

// mostOf returns the most delivered updates a second.
func mostOf(others []result) (most float64) {
	for _, r := range others {
		most = max(most, r.peak().delivered)
	}
	return most
}

// bestOf returns the most delivered updates per CPU second, at saturation and at half load, and the least memory per
// idle connection.
func bestOf(others []result) (peak, half float64, memory int) {
	for _, r := range others {
		peak = max(peak, r.peak().delivered/r.peak().server)
		half = max(half, r.half.delivered/r.half.server)
		if n := len(r.idle); n > 0 && (memory == 0 || r.idle[n-1].perConnection() < memory) {
			memory = r.idle[n-1].perConnection()
		}
	}
	return peak, half, memory
}
