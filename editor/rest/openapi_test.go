package rest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"collab.dev/operator/editor/rest"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

func TestTheDescriptionInTheDocsIsCurrent(t *testing.T) {
	const file = "../../docs/openapi.json"
	description, err := rest.New(rest.Options{}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Indent(&want, description, "", "  "); err != nil {
		t.Fatal(err)
	}
	want.WriteByte('\n')
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil { //nolint:gosec // Everybody may read it.
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/openapi.json is out of date: go test ./editor/rest -update writes it")
	}
}
