package crdt

import (
	"errors"
	"runtime"
	"testing"

	"collab.dev/operator/editor/crdt/lib0"
)

// twice is an update that tells of a client in two places: of its clocks 5 and 100.
var twice = []byte{
	2,
	1, 1, 5, 0x84, 9, 0, 1, 'a',
	1, 1, 100, 0x84, 5, 99, 1, 'b',
	0,
}

func TestAClientToldOfTwiceIsRefused(t *testing.T) {
	d := NewDoc(Options{ClientID: 2})
	two, err := ConvertUpdateV1ToV2([]byte{1, 1, 1, 0, 4, 1, 1, 't', 1, 'a', 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := ValidateUpdateV2(two); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"apply":    func() error { return d.ApplyUpdate(twice, nil) },
		"validate": func() error { return ValidateUpdate(twice) },
		"merge":    func() error { _, err := MergeUpdates([][]byte{twice, twice}); return err },
		"convert":  func() error { _, err := ConvertUpdateV1ToV2(twice); return err },
		"diff":     func() error { _, err := DiffUpdate(twice, nil); return err },
		"late": func() error { // Between the two is another client.
			u := append([]byte{3}, twice[1:9]...)
			u = append(u, 1, 7, 0, 0, 1)
			return d.ApplyUpdate(append(u, twice[9:]...), nil)
		},
	} {
		if err := f(); !errors.Is(err, ErrInvalidUpdate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.HasPending() {
		t.Error("a refused update waits")
	}
	if _, err := d.EncodeStateAsUpdate(nil); err != nil {
		t.Error(err)
	}
}

// Yjs writes clients in falling order, and its way of merging relies on it. Others need not.
func TestUpdatesInAnyOrderOfClientsAreMerged(t *testing.T) {
	update := func(clients ...uint64) []byte {
		e := &encoderV1{}
		e.varUint(uint64(len(clients)))
		for _, c := range clients {
			e.varUint(2)
			e.client(c)
			e.varUint(0)
			for range 2 {
				e.info(byte(kindGC))
				e.length(3)
			}
		}
		e.varUint(0)
		return e.finish()
	}
	all := [][]byte{update(1, 5, 3), update(5), update(3, 7), update(2)}
	for _, n := range []int{1, 20} { // A few, and so many that they are merged in another way.
		var updates [][]byte
		for range n {
			updates = append(updates, all...)
		}
		merged, err := MergeUpdates(updates)
		if err != nil {
			t.Fatal(err)
		}
		d := NewDoc(Options{})
		if err := d.ApplyUpdate(merged, nil); err != nil {
			t.Fatal(err)
		}
		for _, c := range []uint64{1, 2, 3, 5, 7} {
			if got := d.StateVector()[c]; got != 6 {
				t.Errorf("client %d is at %d", c, got)
			}
		}
	}
}

// garbage returns an update of n structs of a single clock each.
func garbage(e structEncoder, client, clock uint64, n int) []byte {
	e.varUint(1)
	e.varUint(uint64(n))
	e.client(client)
	e.varUint(clock)
	for range n {
		e.info(byte(kindGC))
		e.length(1)
	}
	e.varUint(0)
	return e.finish()
}

// What waits is kept in another form than that in which it came; that must never be too large.
func TestManyStructsThatWaitAreNotTooMany(t *testing.T) {
	const n = 200_000
	d := NewDoc(Options{})
	if err := d.ApplyUpdate(garbage(&encoderV1{}, 1, 1, n), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.EncodeStateAsUpdateV2(nil); err != nil {
		t.Error(err)
	}
	state, err := d.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ApplyUpdate(garbage(&encoderV1{}, 1, 0, 1), nil); err != nil {
		t.Fatal(err)
	}
	if got := d.StateVector()[1]; got != n+1 || d.HasPending() {
		t.Errorf("the state is %d", got)
	}
	if err := NewDoc(Options{}).ApplyUpdate(state, nil); err != nil {
		t.Error(err)
	}
}

// Deleted characters that were typed in front of each other take next to nothing in format v2.
func TestManyDeletedStructsAreNotTooMany(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	text := d.Text("t")
	const n = 200_000
	d.Transact(nil, func(*Transaction) {
		for range n {
			if err := text.Insert(0, "x"); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err := text.Delete(0, n); err != nil {
		t.Fatal(err)
	}
	one, err := d.EncodeStateAsUpdate(nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := d.EncodeStateAsUpdateV2(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"apply":         func() error { return NewDoc(Options{}).ApplyUpdateV2(two, nil) },
		"validate":      func() error { return ValidateUpdateV2(two) },
		"merge":         func() error { _, err := MergeUpdatesV2([][]byte{two, two}); return err },
		"convert":       func() error { _, err := ConvertUpdateV1ToV2(one); return err },
		"convert back":  func() error { _, err := ConvertUpdateV2ToV1(two); return err },
		"in the old":    func() error { return NewDoc(Options{}).ApplyUpdate(one, nil) },
		"snapshot":      func() error { _, err := d.Snapshot().ContainsUpdateV2(two); return err },
		"state vectors": func() error { _, err := EncodeStateVectorFromUpdateV2(two); return err },
	} {
		if err := f(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A few bytes of format v2 can stand for billions of structs. They may not take as much.
func TestRunLengthBombsAreBounded(t *testing.T) {
	for name, write := range map[string]func(e *encoderV2, i uint64){
		"garbage": func(e *encoderV2, _ uint64) { e.info(byte(kindGC)); e.length(1) },
		"deleted": func(e *encoderV2, i uint64) {
			e.info(byte(kindDeleted) | 0x40)
			e.rightID(2, i)
			e.length(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := &encoderV2{}
			e.varUint(1)
			e.varUint(1 << 40)
			e.client(1)
			e.varUint(0)
			const structs = 1 << 22
			for i := range uint64(structs) {
				write(e, i)
			}
			e.varUint(0)
			bomb := e.finish()
			if len(bomb) > 100 {
				t.Fatalf("no bomb: %d bytes", len(bomb))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := NewDoc(Options{}).ApplyUpdateV2(bomb, nil); !errors.Is(err, ErrTooLarge) {
				t.Error(err)
			}
			if _, err := ConvertUpdateV2ToV1(bomb); !errors.Is(err, ErrTooLarge) {
				t.Error(err)
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 1<<29 {
				t.Errorf("%d bytes for %d", got, len(bomb))
			}
		})
	}
}

func TestAValueNestedDeeplyAllocatesLittle(t *testing.T) {
	const size = 1 << 16
	var value []byte
	for len(value) < 4*lib0.MaxDepth {
		value = lib0.AppendVarUint(append(value, 117), size/2)
	}
	value = append(value, make([]byte, size)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v := lib0.NewDecoder(value)
	v.Any()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64*uint64(len(value)) {
		t.Errorf("%d bytes for %d", got, len(value))
	}
}
