package report

import "testing"

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"uid":"u1","connections":12}`))
	f.Add([]byte(`{"connections":1e3}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		load, err := Parse(body)
		if err == nil && (load.Connections < 0 || load.Connections > MaxConnections) {
			t.Errorf("accepted %d connections", load.Connections)
		}
	})
}
