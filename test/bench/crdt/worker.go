package main

import (
	"bufio"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/yjs"
)

// worker measures this engine in a process of its own. bench.mjs does the same with the others.
type worker struct {
	effort  effort
	updates [][]byte
	final   []byte
	kept    []*crdt.Doc
}

// runWorker answers requests, each a list of a name and arguments, until the input ends.
func runWorker(in io.Reader, out io.Writer) error {
	w := &worker{}
	in = bufio.NewReader(in)
	for {
		request, err := yjs.ReadFrame(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		args, _ := request.([]any)
		if err := yjs.WriteFrame(out, w.answer(args)); err != nil {
			return err
		}
	}
}

func (w *worker) answer(request []any) any {
	bytesOf := func(i int) []byte { b, _ := request[i].([]byte); return b }
	number := func(i int) float64 { n, _ := request[i].(float64); return n }
	switch request[0] {
	case "effort":
		w.effort = effort{int(number(1)), time.Duration(number(2))}
		return nil
	case "updates":
		list, _ := request[1].([]any)
		w.updates = make([][]byte, len(list))
		for i := range list {
			w.updates[i], _ = list[i].([]byte)
		}
		return nil
	case "apply":
		var d *crdt.Doc
		took := w.effort.measure(func() { d = w.apply(len(w.updates)) })
		final, err := d.EncodeStateAsUpdate(nil)
		must(err)
		sv := w.apply(len(w.updates) * 99 / 100).EncodeStateVector()
		return []any{took, final, sv, d.Text("text").String(), d.Array("array").Len(), d.Map("map").Len()}
	case "load":
		w.final = bytesOf(1)
		return w.effort.measure(func() { load(w.final) })
	case "encode":
		d := load(w.final)
		return w.effort.measure(func() {
			_, err := d.EncodeStateAsUpdate(nil)
			must(err)
		})
	case "diff":
		d := load(w.final)
		return w.effort.measure(func() {
			_, err := d.EncodeStateAsUpdate(bytesOf(1))
			must(err)
		})
	case "merge":
		return w.effort.measure(func() {
			_, err := crdt.MergeUpdates(w.updates[:int(number(1))])
			must(err)
		})
	case "memory":
		final := bytesOf(1)
		copies := number(2)
		load(final)
		heap, rss := footprint()
		for range int(copies) {
			w.kept = append(w.kept, load(final))
		}
		heapAfter, rssAfter := footprint()
		return []any{float64(heapAfter-heap) / copies, float64(rssAfter-rss) / copies}
	}
	return nil
}

func newDoc() *crdt.Doc {
	d := crdt.NewDoc(crdt.Options{})
	d.Text("text")
	d.Array("array")
	d.Map("map")
	return d
}

func (w *worker) apply(n int) *crdt.Doc {
	d := newDoc()
	for _, u := range w.updates[:n] {
		must(d.ApplyUpdate(u, nil))
	}
	return d
}

func load(update []byte) *crdt.Doc {
	d := newDoc()
	must(d.ApplyUpdate(update, nil))
	return d
}

// effort says how often something is measured: at least so many times, and for so long.
type effort struct {
	samples int
	enough  time.Duration
}

// measure returns how long f takes, in nanoseconds: the shortest of some samples of at least a millisecond, after one
// to warm up, as measure in bench.mjs does. What else runs on the machine only ever makes it longer.
func (e effort) measure(f func()) float64 {
	const sample = time.Millisecond
	f()
	runtime.GC()
	best := math.Inf(1)
	for start, taken := time.Now(), 0; taken < e.samples || time.Since(start) < e.enough; taken++ {
		n := 0
		begin := time.Now()
		for n == 0 || time.Since(begin) < sample {
			f()
			n++
		}
		best = min(best, float64(time.Since(begin).Nanoseconds())/float64(n))
	}
	return best
}

// footprint returns the bytes that live on the heap, and those of the process that are in memory.
func footprint() (heap, rss int64) {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			rss = pages * int64(os.Getpagesize())
		}
	}
	return int64(m.HeapAlloc), rss
}
