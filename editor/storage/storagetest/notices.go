package storagetest

import (
	"fmt"
	"maps"

	"collab.dev/operator/editor/storage"
)

// pending reads what is to be told of in a shard, in pages of a size.
func (f *fixture) pending(shard int32, page int) map[string]storage.Notice {
	f.Helper()
	found := map[string]storage.Notice{}
	for after := ""; ; {
		notices, err := f.store.Pending(f.Context(), shard, after, page)
		if err != nil {
			f.Fatalf("read what is to be told of: %v", err)
		}
		for _, n := range notices {
			if _, twice := found[n.Document]; twice {
				f.Fatalf("%q is listed twice", n.Document)
			}
			found[n.Document] = n
			after = n.Document
		}
		if len(notices) < page {
			return found
		}
	}
}

func (f *fixture) delivered(told map[string]int64) {
	f.Helper()
	if err := f.store.Delivered(f.Context(), told); err != nil {
		f.Fatalf("remember what was told of: %v", err)
	}
}

func testNotices(f *fixture) {
	f.start(Config{})
	mine := storage.ShardOf(document, shards)
	check := func(when string, seq int64) {
		f.Helper()
		got, want := f.pending(mine, 10), map[string]storage.Notice{}
		if seq > 0 {
			e := entry(document, seq)
			want[document] = storage.Notice{Document: document, Seq: seq, User: e.User, Time: e.Time}
		}
		if !maps.Equal(got, want) {
			f.Errorf("%s: pending is %v, not %v", when, got, want)
		}
		for other := range int32(shards) {
			if other != mine && len(f.pending(other, 10)) > 0 {
				f.Errorf("%s: shard %d tells of documents that are not its own", when, other)
			}
		}
	}
	if _, err := f.store.Catalog().Create(f.Context(), storage.Record{Document: document}); err != nil {
		f.Fatal(err)
	}
	check("without operations", 0)
	shard := f.own(document, 1, "a")
	f.appendAll(shard, document, 1, 3)
	f.recorded(document, 3)
	check("after three operations", 3)
	f.delivered(map[string]int64{document: 2, "acme/none": 7})
	check("told of two", 3)
	f.delivered(map[string]int64{document: 9})
	check("told of what is not there", 3)
	f.delivered(map[string]int64{document: 3})
	check("told of all", 0)
	f.delivered(map[string]int64{document: 1})
	check("told of an old one late", 0)
	f.appendAll(shard, document, 4, 4)
	f.recorded(document, 4)
	check("after a fourth operation", 4)
	f.snapshot(shard, document, 4)
	f.restart(Config{})
	check("after a restart", 4)
	f.delivered(map[string]int64{document: 4})
	f.restart(Config{})
	check("told of all, after a restart", 0)

	shard = f.own(document, 2, "a")
	f.appendAll(shard, document, 5, 5)
	f.recorded(document, 5)
	if _, err := f.store.Catalog().Delete(f.Context(), document, 0, true); err != nil {
		f.Fatal(err)
	}
	check("purged", 0)
	if _, err := f.store.Catalog().Create(f.Context(), storage.Record{Document: document}); err != nil {
		f.Fatal(err)
	}
	f.appendAll(shard, document, 1, 1)
	f.recorded(document, 1)
	check("begun anew", 1)
}

func testPendingPages(f *fixture) {
	f.start(Config{})
	opened := map[int32]storage.Shard{}
	want := map[int32]int{}
	for n := range 60 {
		name := fmt.Sprintf("acme/plan %d", n)
		number := storage.ShardOf(name, shards)
		if opened[number] == nil {
			opened[number] = f.own(name, 1, "a")
		}
		f.appendAll(opened[number], name, 1, 1)
		f.recorded(name, 1)
		if n%3 == 0 {
			f.delivered(map[string]int64{name: 1})
			continue
		}
		want[number]++
	}
	for number := range int32(shards) {
		for _, page := range []int{1, 3, 100} {
			got := f.pending(number, page)
			for name := range got {
				if storage.ShardOf(name, shards) != number {
					f.Errorf("shard %d tells of %q", number, name)
				}
			}
			if len(got) != want[number] {
				f.Errorf("shard %d tells of %d documents in pages of %d, not of %d", number, len(got), page, want[number])
			}
		}
	}
}
