package embedded_test

import (
	"testing"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/embedded"
)

func TestTheJournalIsEmptiedByWhoReads(t *testing.T) {
	for name, read := range map[string]func(*embedded.Store, storage.Shard) error{
		"a document is loaded": func(_ *embedded.Store, shard storage.Shard) error {
			doc, err := shard.Load(t.Context(), document)
			if len(doc.Tail) != 10 {
				t.Errorf("%d operations are loaded", len(doc.Tail))
			}
			return err
		},
		"documents are listed": func(store *embedded.Store, _ storage.Shard) error {
			records, err := store.Catalog().List(t.Context(), "acme", "", 10, false)
			if len(records) != 1 || records[0].LastSeq != 10 {
				t.Errorf("listed %+v", records)
			}
			return err
		},
		"a document is deleted": func(store *embedded.Store, _ storage.Shard) error {
			record, err := store.Catalog().Delete(t.Context(), document, 0, false)
			if record.LastSeq != 10 {
				t.Errorf("deleted %+v", record)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, shard := slowly(t, t.TempDir())
			defer shut(t, store)
			add(t, shard, 1, 10)
			if !embedded.Journaled(store) {
				t.Fatal("the operations are not in the journal")
			}
			if err := read(store, shard); err != nil {
				t.Fatal(err)
			}
			if embedded.Journaled(store) {
				t.Error("operations are left in the journal")
			}
		})
	}
}

func TestTheJournalIsEmptiedByItself(t *testing.T) {
	store := open(t, t.TempDir())
	defer shut(t, store)
	shard, err := store.Open(t.Context(), 1, 1, "a")
	if err != nil {
		t.Fatal(err)
	}
	add(t, shard, 1, 10)
	until(t, "the journal to be empty", func() bool { return !embedded.Journaled(store) })
}

func TestReadingAnotherDocumentLeavesTheJournal(t *testing.T) {
	store, shard := slowly(t, t.TempDir())
	defer shut(t, store)
	add(t, shard, 1, 10)
	if _, err := shard.Load(t.Context(), "acme/other"); err != nil {
		t.Fatal(err)
	}
	if !embedded.Journaled(store) {
		t.Error("the journal was emptied")
	}
}
