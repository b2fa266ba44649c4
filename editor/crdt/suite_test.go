package crdt_test

import (
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
