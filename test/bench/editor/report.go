package main

import (
	"fmt"
	"io"
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

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1e3) }

func kilobytes(n int) string { return fmt.Sprintf("%.1f KiB", float64(n)/1024) }

// report prints the table, a column for each system.
func report(out io.Writer, all []result) error {
	fmt.Fprintln(out)
	versions(out)
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	row := func(what string, value func(r result) string) {
		cells := []string{what}
		for _, r := range all {
			cells = append(cells, value(r))
		}
		fmt.Fprintln(t, "| "+strings.Join(cells, "\t| ")+"\t|")
	}
	row("", func(r result) string { return r.system.name })
	row("---", func(result) string { return "---:" })
	row("stored", func(r result) string { return r.system.durability })
	row("delivered updates/s at saturation", func(r result) string { return fmt.Sprintf("%.0f", r.peak().delivered) })
	row("typing clients there", func(r result) string { return fmt.Sprint(r.peak().clients) })
	row("what ended the ramp", func(r result) string { return r.why })
	row("other programs on its processor", func(r result) string { return percent(r.peak().foreign) })
	row("CPU s per 1,000 delivered at saturation", func(r result) string { return seconds(r.peak(), r.peak().server) })
	row("– of its stores", func(r result) string { return seconds(r.peak(), r.peak().stores) })
	row("half load: delivered/s", func(r result) string { return fmt.Sprintf("%.0f", r.half.delivered) })
	row("half load: propagation p50", func(r result) string { return milliseconds(r.half.p50) })
	row("half load: propagation p95", func(r result) string { return milliseconds(r.half.p95) })
	row("half load: propagation p99", func(r result) string { return milliseconds(r.half.p99) })
	row("half load: the generator's own lateness p99", func(r result) string { return milliseconds(r.half.late) })
	row("half load: other programs on its processor", func(r result) string { return percent(r.half.foreign) })
	row("half load: CPU s per 1,000 delivered", func(r result) string { return seconds(r.half, r.half.server) })
	row("– of its stores", func(r result) string { return seconds(r.half, r.half.stores) })
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
		if r.joins.lost {
			return "incomplete"
		}
		return milliseconds(r.joins.cold)
	})
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	verdict(out, all)
	return nil
}

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
	var own, others []result
	for _, r := range all {
		if strings.HasPrefix(r.system.key, "collab") {
			own = append(own, r)
		} else {
			others = append(others, r)
		}
	}
	word := func(ok bool) string {
		if ok {
			return "met"
		}
		return "MISSED"
	}
	for _, r := range own {
		fmt.Fprintf(out, "\n%s\n", r.system.name)
		if len(others) > 0 {
			efficiency, halfEfficiency, memory := bestOf(others)
			at := r.peak().delivered / r.peak().server / efficiency
			half := r.half.delivered / r.half.server / halfEfficiency
			fmt.Fprintf(out, "- delivered updates per CPU second, against the best other: %.1f times at saturation, %.1f times at "+
				"half load (goal: %.0f): %s\n", at, half, goalEfficiency, word(at >= goalEfficiency))
			if len(r.idle) > 0 && memory > 0 {
				part := float64(r.idle[0].perConnection()) / float64(memory)
				fmt.Fprintf(out, "- memory per idle connection, against the best other: %.2f times (goal: %.2f): %s\n", part,
					goalMemory, word(part <= goalMemory))
			}
		}
		fmt.Fprintf(out, "- propagation at half load, p99: %s (goal: %s): %s\n", milliseconds(r.half.p99),
			milliseconds(goalPropagation), word(r.half.p99 < goalPropagation))
		for _, i := range r.idle {
			if i.connections == goalConnections {
				fmt.Fprintf(out, "- memory with %d idle connections: %d MiB (goal: %d): %s\n", i.connections, i.after>>20,
					goalResident>>20, word(i.after < goalResident))
			}
		}
	}
}

// bestOf returns the most delivered updates per CPU second, at saturation and at half load, and the least memory per
// idle connection.
func bestOf(others []result) (peak, half float64, memory int) {
	for _, r := range others {
		peak = max(peak, r.peak().delivered/r.peak().server)
		half = max(half, r.half.delivered/r.half.server)
		if len(r.idle) > 0 && (memory == 0 || r.idle[0].perConnection() < memory) {
			memory = r.idle[0].perConnection()
		}
	}
	return peak, half, memory
}
