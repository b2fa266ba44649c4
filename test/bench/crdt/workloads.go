package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// workload is a row of the table: the updates that a server receives, in that order.
type workload struct {
	name    string
	about   string
	updates [][]byte
}

// recorder makes the updates of a workload. Its documents are those of the engine in Go, which the differential tests
// show to emit the same bytes as Yjs.
type recorder struct {
	r       *rand.Rand
	updates [][]byte
}

func (rec *recorder) doc(client uint64) *crdt.Doc {
	d := crdt.NewDoc(crdt.Options{ClientID: client})
	d.OnUpdate(func(u []byte, origin any) {
		if origin == nil {
			rec.updates = append(rec.updates, u)
		}
	})
	return d
}

func (rec *recorder) word() string {
	b := make([]byte, 2+rec.r.IntN(8))
	for i := range b {
		b[i] = 'a' + byte(rec.r.IntN(26))
	}
	return string(b)
}

func (rec *recorder) char() string { return string(rune('a' + rec.r.IntN(26))) }

// must is for edits that cannot fail: their positions are in bounds.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// row is how a workload of n operations is made.
type row struct {
	name, about string
	record      func(rec *recorder, n int)
}

// single is a workload of one user.
func single(name, about string, edit func(rec *recorder, d *crdt.Doc, n int)) row {
	return row{name, about, func(rec *recorder, n int) { edit(rec, rec.doc(1), n) }}
}

// double is a workload of two users who edit the same text without hearing of each other.
func double(name, about string, edit func(rec *recorder, text *crdt.Text, n int)) row {
	return row{name, about, func(rec *recorder, n int) {
		a, b := rec.doc(1), rec.doc(2)
		must(a.Text("text").Insert(0, strings.Repeat("x", 100)))
		base := rec.updates
		must(b.ApplyUpdate(base[0], "peer"))
		rec.updates = nil
		edit(rec, a.Text("text"), n)
		first := rec.updates
		rec.updates = nil
		edit(rec, b.Text("text"), n)
		second := rec.updates
		rec.updates = base
		for i := range max(len(first), len(second)) {
			if i < len(first) {
				rec.updates = append(rec.updates, first[i])
			}
			if i < len(second) {
				rec.updates = append(rec.updates, second[i])
			}
		}
	}}
}

// crowd is a workload of 20·√n users who make one change each.
func crowd(name, about string, edit func(rec *recorder, d *crdt.Doc, i int)) row {
	return row{name, about, func(rec *recorder, n int) {
		for i := range int(20 * math.Sqrt(float64(n))) {
			edit(rec, rec.doc(uint64(i+1)), i)
		}
	}}
}

// rows are the workloads of crdt-benchmarks but the trace.
var rows = []row{
	single("B1.1", "append N characters", func(rec *recorder, d *crdt.Doc, n int) {
		for i := range n {
			must(d.Text("text").Insert(i, rec.char()))
		}
	}),
	single("B1.2", "insert a string of length N", func(rec *recorder, d *crdt.Doc, n int) {
		must(d.Text("text").Insert(0, rec.string(n)))
	}),
	single("B1.3", "prepend N characters", func(rec *recorder, d *crdt.Doc, n int) {
		for range n {
			must(d.Text("text").Insert(0, rec.char()))
		}
	}),
	single("B1.4", "insert N characters at random positions", func(rec *recorder, d *crdt.Doc, n int) {
		for i := range n {
			must(d.Text("text").Insert(rec.r.IntN(i+1), rec.char()))
		}
	}),
	single("B1.5", "insert N words at random positions", func(rec *recorder, d *crdt.Doc, n int) {
		t := d.Text("text")
		for range n {
			must(t.Insert(rec.r.IntN(t.Len()+1), rec.word()))
		}
	}),
	single("B1.6", "insert a string, then delete it", func(rec *recorder, d *crdt.Doc, n int) {
		must(d.Text("text").Insert(0, rec.string(n)))
		must(d.Text("text").Delete(0, n))
	}),
	single("B1.7", "insert and delete strings at random positions", func(rec *recorder, d *crdt.Doc, n int) {
		rec.insertAndDelete(d.Text("text"), n)
	}),
	single("B1.8", "append N numbers", func(rec *recorder, d *crdt.Doc, n int) {
		for range n {
			must(d.Array("array").Push(rec.r.IntN(1 << 31)))
		}
	}),
	single("B1.9", "insert an array of N numbers", func(rec *recorder, d *crdt.Doc, n int) {
		values := make([]any, n)
		for i := range values {
			values[i] = rec.r.IntN(1 << 31)
		}
		must(d.Array("array").Insert(0, values...))
	}),
	single("B1.10", "prepend N numbers", func(rec *recorder, d *crdt.Doc, n int) {
		for range n {
			must(d.Array("array").Insert(0, rec.r.IntN(1<<31)))
		}
	}),
	single("B1.11", "insert N numbers at random positions", func(rec *recorder, d *crdt.Doc, n int) {
		for i := range n {
			must(d.Array("array").Insert(rec.r.IntN(i+1), rec.r.IntN(1<<31)))
		}
	}),
	double("B2.1", "two insert strings of length N at once", func(rec *recorder, t *crdt.Text, n int) {
		must(t.Insert(0, rec.string(n)))
	}),
	double("B2.2", "two insert N characters at random positions at once", func(rec *recorder, t *crdt.Text, n int) {
		for range n {
			must(t.Insert(rec.r.IntN(t.Len()+1), rec.char()))
		}
	}),
	double("B2.3", "two insert N words at random positions at once", func(rec *recorder, t *crdt.Text, n int) {
		for range n {
			must(t.Insert(rec.r.IntN(t.Len()+1), rec.word()))
		}
	}),
	double("B2.4", "two insert and delete at once", func(rec *recorder, t *crdt.Text, n int) {
		rec.insertAndDelete(t, n)
	}),
	crowd("B3.1", "20√N clients set a number in a map at once", func(_ *recorder, d *crdt.Doc, i int) {
		must(d.Map("map").Set("v", i))
	}),
	crowd("B3.2", "20√N clients set an object in a map at once", func(_ *recorder, d *crdt.Doc, i int) {
		v := lib0.Object{{Key: "name", Value: fmt.Sprint(i)}, {Key: "address", Value: "here"}}
		must(d.Map("map").Set("v", v))
	}),
	crowd("B3.3", "20√N clients set a string of length √N in a map at once", func(_ *recorder, d *crdt.Doc, i int) {
		must(d.Map("map").Set("v", strings.Repeat(fmt.Sprint(i%10), 80)))
	}),
	crowd("B3.4", "20√N clients insert a text in an array at once", func(_ *recorder, d *crdt.Doc, i int) {
		must(d.Array("array").Insert(0, fmt.Sprint(i)))
	}),
}

func (rec *recorder) string(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(rec.r.IntN(26))
	}
	return string(b)
}

func (rec *recorder) insertAndDelete(t *crdt.Text, n int) {
	for range n {
		at := rec.r.IntN(t.Len() + 1)
		if rec.r.IntN(2) == 0 || at == t.Len() {
			must(t.Insert(at, rec.word()))
		} else {
			must(t.Delete(at, min(1+rec.r.IntN(9), t.Len()-at)))
		}
	}
}

func (r row) make(n int) workload {
	rec := &recorder{r: rand.New(rand.NewPCG(1, 2))}
	r.record(rec, n)
	return workload{r.name, r.about, rec.updates}
}

// traceWorkload is the keystrokes of B4, as often as it takes for n of them.
func traceWorkload(name string, trace []keystroke, n int) workload {
	rec := &recorder{}
	t := rec.doc(1).Text("text")
	for i := range n {
		if k := trace[i%len(trace)]; k.text != "" {
			must(t.Insert(k.at, k.text))
		} else {
			must(t.Delete(k.at, 1))
		}
	}
	return workload{name, fmt.Sprintf("a real trace, %d keystrokes", n), rec.updates}
}
