package rest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
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

func TestWhatTheDescriptionRefersToIsThere(t *testing.T) {
	description, err := rest.New(rest.Options{}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var api struct {
		Components struct {
			Schemas         map[string]any
			SecuritySchemes map[string]any
		}
		Security []map[string][]string
	}
	if err := json.Unmarshal(description, &api); err != nil {
		t.Fatal(err)
	}
	referred := map[string]bool{}
	for _, match := range regexp.MustCompile(`#/components/schemas/(\w*)`).FindAllSubmatch(description, -1) {
		referred[string(match[1])] = true
	}
	for _, name := range []string{"Archived", "Imported"} {
		if !referred[name] {
			t.Errorf("nothing refers to %s", name)
		}
	}
	for name := range referred {
		if api.Components.Schemas[name] == nil {
			t.Errorf("%q is not described", name)
		}
	}
	for _, one := range api.Security {
		for name := range one {
			if api.Components.SecuritySchemes[name] == nil {
				t.Errorf("%q is not described", name)
			}
		}
	}
	if len(api.Security) != 2 {
		t.Errorf("a token comes in %v", api.Security)
	}
}
