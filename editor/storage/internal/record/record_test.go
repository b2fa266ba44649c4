package record

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/storage"
)

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := storage.Entry{
			Document: rapid.StringMatching(`[a-zé]{1,9}/[^\x00]{1,40}`).Draw(t, "document"),
			Seq:      rapid.Int64Min(1).Draw(t, "seq"),
			Time:     time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "time")).UTC(),
			User:     storage.Text(rapid.String().Draw(t, "user")),
			Origin:   rapid.SampledFrom([]string{"", "rest"}).Draw(t, "origin"),
			Update:   rapid.SliceOf(rapid.Byte()).Draw(t, "update"),
		}
		got, err := Decode(Encode(want))
		if err != nil {
			t.Fatal(err)
		}
		if got.Document != want.Document || got.Seq != want.Seq || !got.Time.Equal(want.Time) || got.User != want.User ||
			got.Origin != want.Origin || !bytes.Equal(got.Update, want.Update) {
			t.Fatalf("wrote %+v, read %+v", want, got)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(Encode(storage.Entry{Document: "org/doc", Seq: 7, Time: time.Unix(1, 0), User: "u", Update: []byte{0, 0}}))
	f.Add([]byte{originFormat, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		// Varints have several encodings; what was understood must survive.
		again, err := Decode(Encode(e))
		if err != nil || again.Document != e.Document || again.Seq != e.Seq || !bytes.Equal(again.Update, e.Update) {
			t.Fatalf("%+v became %+v (%v)", e, again, err)
		}
	})
}
