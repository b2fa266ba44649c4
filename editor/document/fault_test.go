package document

import (
	"errors"
	"testing"
	"time"

	"collab.dev/operator/editor/storage"
)

func TestAFaultOfTheEngineCostsOneUpdateAndReloadsTheDocument(t *testing.T) {
	broken := 0
	var told []int64
	d, from, _, a := open(t, &gate{}, func(o *Options) {
		o.Broken = func() { broken++ }
		o.Changed = func(_ string, seq int64, _ string, _ time.Time) { told = append(told, seq) }
	})
	d.apply = func([]byte, any) (bool, error) { panic("an index is out of range") }
	a.Update(1, Author{}, []byte("update"), false)
	if broken != 1 || from.rejected != Malformed {
		t.Errorf("asked %d times to load the document again, and refused it as %q", broken, from.rejected)
	}
	from.rejected = ""
	// Until it is closed nothing is taken, and nothing acknowledged: the edges send it again.
	a.Update(2, Author{}, []byte("update"), false)
	if from.acks != 0 || from.rejected != "" || len(told) != 0 {
		t.Errorf("acknowledged %d, refused as %q and told of %v", from.acks, from.rejected, told)
	}
}

func TestAFaultOfTheEngineOverAQuestionReloadsTheDocument(t *testing.T) {
	for name, ask := range map[string]func(*Attachment) error{
		"for what is new":  func(a *Attachment) error { return a.Sync(1, nil) },
		"about an update":  func(a *Attachment) error { a.Check(1, []byte{0, 0}); return nil },
		"for its snapshot": func(a *Attachment) error { _, _, _ = a.document.encode(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			broken := 0
			d, from, _, a := open(t, &gate{}, func(o *Options) { o.Broken = func() { broken++ } })
			d.engine = nil // Whatever it is asked.
			if err := ask(a); err != nil {
				t.Error(err)
			}
			if broken != 1 || from.acks != 0 || from.rejected != "" {
				t.Errorf("asked %d times to load the document again; %+v", broken, from)
			}
		})
	}
}

func TestADocumentThatCannotBeReadIsAnError(t *testing.T) {
	d := &Document{name: "acme/a", apply: func([]byte, any) (bool, error) { panic("an index is out of range") }}
	if err := d.replay(storage.Document{Snapshot: &storage.Snapshot{Seq: 1}}); err == nil {
		t.Error("a fault of the engine is no error")
	}
	_, err := Open("acme/a", storage.Document{Tail: []storage.Entry{{Seq: 1, Update: []byte("no update")}}}, Options{})
	if !errors.Is(err, ErrUnreadable) {
		t.Errorf("opening a document that is no Yjs document ended with %v", err)
	}
}
