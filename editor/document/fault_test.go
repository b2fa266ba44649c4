package document

import (
	"testing"
	"time"
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
