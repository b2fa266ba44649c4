package record

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/storage"
)

func TestARunHasTheRecordsThatWereAppended(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 20).Draw(t, "records")
		var run []byte
		for _, record := range want {
			run = AppendRun(run, record)
		}
		var got [][]byte
		for record := range Records(run) {
			got = append(got, record)
		}
		if len(got) != len(want) {
			t.Fatalf("%d records became %d", len(want), len(got))
		}
		for i, record := range got {
			if !bytes.Equal(record, want[i]) {
				t.Fatalf("record %d was %x and is %x", i, want[i], record)
			}
		}
	})
}

func TestARecordIsARunOfOne(t *testing.T) {
	record := Encode(storage.Entry{Document: "org/doc", Seq: 7, Time: time.Unix(1, 0), Update: []byte{3, 0}})
	n := 0
	for got := range Records(record) {
		if n++; !bytes.Equal(got, record) {
			t.Errorf("%x became %x", record, got)
		}
	}
	if n != 1 {
		t.Errorf("one record became %d", n)
	}
}

func FuzzReadRun(f *testing.F) {
	var run []byte
	for seq := int64(1); seq <= 3; seq++ {
		e := storage.Entry{Document: "org/doc", Seq: seq, Time: time.Unix(seq, 0), User: "u", Update: fmt.Append(nil, seq)}
		run = AppendRun(run, Encode(e))
		f.Add(run)
		f.Add(run[:len(run)-1])
	}
	f.Add(Encode(storage.Entry{Document: "org/doc", Seq: 1, Time: time.Unix(1, 0), Origin: "rest"}))
	f.Add([]byte{})
	f.Add([]byte{runFormat})
	f.Add([]byte{runFormat, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		var read []storage.Entry
		var again []byte
		ended := false
		for record := range Records(b) {
			if ended {
				t.Fatalf("%x goes on where it has no record", b)
			}
			ended = record == nil
			e, err := Decode(record)
			if err != nil {
				continue
			}
			if ended {
				t.Fatalf("%x has a record where it has none: %+v", b, e)
			}
			read = append(read, e)
			again = AppendRun(again, Encode(e))
		}
		if read == nil {
			return
		}
		// What was understood must survive.
		n := 0
		for record := range Records(again) {
			e, err := Decode(record)
			if err != nil || n == len(read) || e.Document != read[n].Document || e.Seq != read[n].Seq ||
				!bytes.Equal(e.Update, read[n].Update) {
				t.Fatalf("record %d of %+v became %+v (%v)", n, read, e, err)
			}
			n++
		}
		if n != len(read) {
			t.Fatalf("%d records became %d", len(read), n)
		}
	})
}
