package peer

import (
	"reflect"
	"testing"
)

func FuzzFrame(f *testing.F) {
	seed, err := codec{}.Marshal(&Frame{Kind: Update, Channel: 3, ID: 9, Text: "u", Parts: [][]byte{{1}, {}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		var frame, again Frame
		if (codec{}).Unmarshal(data, &frame) != nil {
			return
		}
		out, err := codec{}.Marshal(&frame)
		if err != nil {
			t.Fatal(err)
		}
		if err := (codec{}).Unmarshal(out, &again); err != nil || !reflect.DeepEqual(frame, again) {
			t.Fatalf("%+v became %+v, %v", frame, again, err)
		}
	})
}
