package crdt_test

import (
	"bytes"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// The files *_suite_test.go are the counterparts of the suites that Yjs itself is tested with. Random editing is in
// package difftest.

func ok(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func wantJSON(t *testing.T, what string, got any, want string) {
	t.Helper()
	if g, w := asJSON(got), canonical(t, want); g != w {
		t.Errorf("%s\n got %s\nwant %s", what, g, w)
	}
}

func attrs(members ...any) lib0.Object {
	var o lib0.Object
	for i := 0; i < len(members); i += 2 {
		key, _ := members[i].(string)
		o = append(o, lib0.Member{Key: key, Value: members[i+1]})
	}
	return o
}

// connected returns documents that hear of each other at once.
func connected(t *testing.T, n int) []*crdt.Doc {
	t.Helper()
	docs := make([]*crdt.Doc, n)
	for i := range docs {
		docs[i] = crdt.NewDoc(crdt.Options{ClientID: uint64(i + 1)})
	}
	for i, d := range docs {
		d.OnUpdate(func(u []byte, origin any) {
			if origin == "peer" {
				return
			}
			for j, other := range docs {
				if i != j {
					ok(t, other.ApplyUpdate(u, "peer"))
				}
			}
		})
	}
	return docs
}

// exchange brings all documents to the same state.
func exchange(t *testing.T, docs ...*crdt.Doc) {
	t.Helper()
	for _, to := range docs {
		for _, from := range docs {
			u, err := from.EncodeStateAsUpdate(to.EncodeStateVector())
			ok(t, err, to.ApplyUpdate(u, "peer"))
		}
	}
}

// apart returns documents that hear of each other only when they exchange.
func apart(n int) []*crdt.Doc {
	docs := make([]*crdt.Doc, n)
	for i := range docs {
		docs[i] = crdt.NewDoc(crdt.Options{ClientID: uint64(i + 1)})
		define(docs[i])
	}
	return docs
}

// agreed brings all documents to the same state and fails the test if they do not hold the same then.
func agreed(t *testing.T, docs ...*crdt.Doc) {
	t.Helper()
	exchange(t, docs...)
	exchange(t, docs...)
	first := docs[0]
	for _, d := range docs {
		ok(t, d.Check())
		define(d)
		if d.HasPending() || !bytes.Equal(d.EncodeStateVector(), first.EncodeStateVector()) ||
			!d.Snapshot().Equal(first.Snapshot()) {
			t.Error("another state")
		}
		if got, want := asJSON(d.JSON()), asJSON(first.JSON()); got != want {
			t.Errorf("content\n got %s\nwant %s", got, want)
		}
		got, want := asJSON(crdt.DeltaJSON(d.Text("text").Delta())), asJSON(crdt.DeltaJSON(first.Text("text").Delta()))
		if got != want {
			t.Errorf("delta\n got %s\nwant %s", got, want)
		}
	}
}
