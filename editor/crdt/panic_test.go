package crdt

import "testing"

// An observer that panics, as one of Yjs that throws, does not keep the transaction from being finished.
func TestAPanickingObserverLeavesTheDocumentUsable(t *testing.T) {
	d := NewDoc(Options{ClientID: 1})
	m := d.Map("m")
	var updates [][]byte
	called := 0
	d.OnUpdate(func(u []byte, _ any) { updates = append(updates, u) })
	d.Observe(m, func(e *Event) {
		called++
		if called == 1 {
			if err := d.Map("other").Set("k", 1); err != nil { // Waits for this transaction.
				t.Error(err)
			}
			panic("observer")
		}
	})
	d.ObserveDeep(m, func([]*Event) { called++ })
	d.OnTransaction(func(*Transaction) { called++ })
	func() {
		defer func() {
			if r := recover(); r != "observer" {
				t.Errorf("the panic is lost: %v", r)
			}
		}()
		_ = m.Set("k", 1)
	}()
	if called != 4 { // All of the first transaction's, and of the second what looks at all transactions.
		t.Errorf("%d calls", called)
	}
	if err := m.Set("k", 2); err != nil {
		t.Fatal(err)
	}
	if len(updates) != 3 || called != 7 {
		t.Errorf("%d updates, %d calls", len(updates), called)
	}
	fresh := NewDoc(Options{})
	for _, u := range updates {
		if err := fresh.ApplyUpdate(u, nil); err != nil {
			t.Fatal(err)
		}
	}
	if v, _ := fresh.Map("m").Get("k"); v != 2.0 || !fresh.Map("other").Has("k") {
		t.Errorf("the updates tell %v", v)
	}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
}
