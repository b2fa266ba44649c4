package lib0_test

import (
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"testing"

	"collab.dev/operator/editor/crdt/lib0"
)

var samples = []any{
	nil, lib0.Undefined{}, true, false, 0.0, math.Copysign(0, -1), 1.0, -1.0, 63.0, 64.0, -64.0, 2147483647.0, 2147483648.0,
	-2147483647.0, -2147483648.0, 0.5, 0.1, 1e21, 1e-7, math.MaxFloat64, lib0.BigInt(-5), "", "text", "ü😀", []byte{1, 2},
	[]any{}, []any{1.0, "x", nil}, lib0.Object{}, lib0.Object{{Key: "1", Value: 1.0}, {Key: "b", Value: []any{nil}}},
}

// The encodings are those of lib0 0.2.120.
func TestAnyIsEncodedAsJavaScriptDoes(t *testing.T) {
	for _, test := range []struct {
		value any
		want  string
	}{
		{nil, "7e"}, {lib0.Undefined{}, "7f"}, {true, "78"}, {false, "79"}, {0, "7d00"}, {math.Copysign(0, -1), "7d40"},
		{1, "7d01"}, {-1, "7d41"}, {64, "7d8001"}, {2147483647, "7dbfffffff0f"}, {2147483648.0, "7c4f000000"},
		{0.5, "7c3f000000"}, {0.1, "7b3fb999999999999a"}, {math.NaN(), "7b7ff8000000000000"}, {lib0.BigInt(1), "7a0000000000000001"},
		{"ü", "7702c3bc"}, {[]byte{1}, "740101"}, {[]any{1, nil}, "75027d017e"},
		{map[string]any{"b": 1, "a": 2, "10": 3, "9": 4}, "760401397d04023130" + "7d0301617d0201627d01"},
	} {
		got := lib0.AppendAny(nil, test.value)
		if hex.EncodeToString(got) != test.want {
			t.Errorf("%#v: got %x, want %s", test.value, got, test.want)
		}
		d := lib0.NewDecoder(got)
		if !d.SkipAny() || d.Err() != nil {
			if f, ok := test.value.(map[string]any); !ok || len(f) == 0 { // Keys that are indices are looked at twice.
				t.Errorf("%#v: %x is not taken as canonical", test.value, got)
			}
		}
	}
}

func TestSamplesSurviveTheRoundTrip(t *testing.T) {
	for _, v := range samples {
		d := lib0.NewDecoder(lib0.AppendAny(nil, v))
		if got := d.Any(); d.Err() != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%#v becomes %#v, %v", v, got, d.Err())
		}
	}
}

func TestNumbersPrintAsInJavaScript(t *testing.T) {
	for _, test := range []struct {
		f    float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "0"}, {1, "1"}, {-1.5, "-1.5"}, {1e21, "1e+21"}, {1e20, "100000000000000000000"},
		{1e-6, "0.000001"}, {1e-7, "1e-7"}, {1.5e-10, "1.5e-10"}, {1e100, "1e+100"}, {math.NaN(), "null"}, {math.Inf(1), "null"},
	} {
		if got := string(lib0.AppendNumber(nil, test.f)); got != test.want {
			t.Errorf("%v: got %s, want %s", test.f, got, test.want)
		}
	}
}

func TestALyingLengthAllocatesNothing(t *testing.T) {
	huge := lib0.AppendVarUint(nil, lib0.MaxSafeInteger)
	for _, tag := range []byte{119, 118, 117, 116} {
		in := append([]byte{tag}, huge...)
		allocated := testing.AllocsPerRun(10, func() {
			d := lib0.NewDecoder(in)
			d.Any()
			if !errors.Is(d.Err(), lib0.ErrUnexpectedEnd) {
				t.Errorf("tag %d: %v", tag, d.Err())
			}
		})
		if allocated > 3 {
			t.Errorf("tag %d: %v allocations", tag, allocated)
		}
	}
}

func TestDeepValuesAreRefused(t *testing.T) {
	var in []byte
	for range lib0.MaxDepth + 2 {
		in = append(in, 117, 1)
	}
	in = append(in, 126)
	d := lib0.NewDecoder(in)
	if d.Any(); !errors.Is(d.Err(), lib0.ErrTooDeep) {
		t.Error(d.Err())
	}
	text := make([]byte, 2*lib0.MaxDepth)
	for i := range text {
		text[i] = '['
	}
	if _, err := lib0.ParseJSON(text); !errors.Is(err, lib0.ErrTooDeep) {
		t.Error(err)
	}
}

func TestAStringThatIsCutWithinASurrogatePair(t *testing.T) {
	var lens lib0.UintOptRleEncoder
	for _, n := range []uint64{2, 2, 1} {
		lens.Write(n)
	}
	d := lib0.NewStringDecoder(append(lib0.AppendVarString(nil, "a😀bc"), lens.Bytes()...))
	for _, want := range []string{"a\uFFFD", "\uFFFDb", "c"} {
		if got := string(d.Read()); got != want || d.Err() != nil {
			t.Errorf("got %q, want %q, %v", got, want, d.Err())
		}
	}
	if d.Read(); d.Err() == nil {
		t.Error("nothing is left to read")
	}
}

func TestIntegersBeyondTheSafeRangeAreRefused(t *testing.T) {
	for _, in := range []string{"ffffffffffffff10", "ffffffffffffffffff01", "ffffffffffffff7f"} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		d := lib0.NewDecoder(b)
		if d.VarUint(); !errors.Is(d.Err(), lib0.ErrOutOfRange) {
			t.Errorf("%s: %v", in, d.Err())
		}
	}
	b, _ := hex.DecodeString("ffffffffffffff0f")
	d := lib0.NewDecoder(b)
	if v := d.VarUint(); v != lib0.MaxSafeInteger || d.Err() != nil {
		t.Error(v, d.Err())
	}
}

func TestJSONKeepsHalvesOfSurrogatePairs(t *testing.T) {
	for text, want := range map[string]string{
		`"\ud83d"`:                         `"\ud83d"`,
		`"\uDE00x"`:                        `"\ude00x"`,
		`["\ude00\ud83d", "\ud83d\ude00"]`: `["\ude00\ud83d","😀"]`,
		`{"\ud83d": 1, "b": "\ud83d\ud83d\ude00"}`: `{"\ud83d":1,"b":"\ud83d😀"}`,
	} {
		got, err := lib0.CompactJSON([]byte(text))
		if err != nil || string(got) != want {
			t.Errorf("%s becomes %s, %v, want %s", text, got, err, want)
		}
	}
	if v, err := lib0.ParseJSON([]byte(`"a\ud83d\ude00\ude00"`)); err != nil || v != "a😀\uFFFD" {
		t.Errorf("%q, %v", v, err)
	}
}

// Assigning to it in JavaScript sets the prototype, which the any encoding loses when it is read, but JSON does not.
func TestJSONOfAValueKeepsItsPrototypeMember(t *testing.T) {
	const text = `{"a":1,"__proto__":{"__proto__":[2]}}`
	v, err := lib0.ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	value := lib0.AppendAny(nil, v)
	if got := string(lib0.AppendAnyJSON(nil, value)); got != text {
		t.Errorf("got %s", got)
	}
	d := lib0.NewDecoder(value)
	if got := string(lib0.AppendJSON(nil, d.Any())); got != `{"a":1}` {
		t.Errorf("got %s", got)
	}
}
