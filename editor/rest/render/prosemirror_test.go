package render_test

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
	"collab.dev/operator/editor/crdt/yjs"
	"collab.dev/operator/editor/rest/render"
)

//go:embed testdata/prosemirror.mjs
var prosemirror string

// schemaBlocks are nodes of prosemirror.mjs's schema.
func schemaBlocks(t *rapid.T, depth int) (out []render.Node) {
	types := []string{"paragraph", "heading", "horizontal_rule", "blockquote"}
	if depth == 0 {
		types = types[:3]
	}
	for range rapid.IntRange(1, 3).Draw(t, "blocks") {
		n := render.Node{Type: rapid.SampledFrom(types).Draw(t, "type")}
		switch n.Type {
		case "blockquote":
			n.Content = schemaBlocks(t, depth-1)
		case "heading":
			n.Attrs = attrs("level", float64(rapid.IntRange(1, 6).Draw(t, "level")),
				"id", rapid.SampledFrom([]any{nil, "x", "\"<", true, 1.5}).Draw(t, "id"))
			n.Content = schemaInline(t)
		case "paragraph":
			n.Content = schemaInline(t)
		}
		out = append(out, n)
	}
	return out
}

func schemaInline(t *rapid.T) (out []render.Node) {
	for range rapid.IntRange(0, 5).Draw(t, "parts") {
		switch rapid.IntRange(0, 4).Draw(t, "part") {
		case 0:
			out = append(out, render.Node{Type: "hard_break"})
		case 1:
			data := rapid.SampledFrom([]any{attrs("a", []any{1.0, nil, "x"}), []any{}, attrs(), false, 1e21}).Draw(t, "data")
			out = append(out, render.Node{Type: "mention", Attrs: attrs("label", text().Draw(t, "label"), "data", data)})
		default:
			n := render.Node{Type: "text", Text: "t" + text().Draw(t, "text")}
			n.Marks = rapid.SliceOfNDistinct(rapid.SampledFrom([]render.Mark{
				{Type: "strong"}, {Type: "em"}, {Type: "link", Attrs: attrs("href", "/a", "title", "b")},
				{Type: "comment", Attrs: attrs("id", 1.0)}, {Type: "comment", Attrs: attrs("id", "two")},
			}), 0, 4, func(m render.Mark) string { return fmt.Sprint(m) }).Draw(t, "marks")
			out = append(out, n)
		}
	}
	return out
}

func TestJSONIsThatOfYProseMirror(t *testing.T) {
	node := yjs.StartForTest(t, prosemirror)
	rapid.Check(t, func(t *rapid.T) {
		original := render.Node{Type: "doc", Content: schemaBlocks(t, 2)}
		answer, err := node.Call(string(original.JSON()))
		if err != nil {
			t.Fatal(err)
		}
		members := answer.(lib0.Object)
		update, _ := members.Get("update")
		want, _ := members.Get("json")
		doc := crdt.NewDoc(crdt.Options{})
		if err := doc.ApplyUpdate(update.([]byte), nil); err != nil {
			t.Fatal(err)
		}
		got := render.FromXML(doc.XmlFragment("prosemirror"))
		for _, n := range []string{normalJSON(t, got.JSON()), normalJSON(t, original.JSON())} {
			if n != normalJSON(t, []byte(want.(string))) {
				t.Fatalf("got  %s\nwant %s\nof   %s", n, want, original.JSON())
			}
		}
	})
}

// normalJSON is the JSON of a node without the order of marks and of attributes, the attributes that a mark does not
// have, and the borders between texts of the same marks, none of which means anything.
func normalJSON(t *rapid.T, data []byte) string {
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	var visit func(n map[string]any)
	visit = func(n map[string]any) {
		marks, _ := n["marks"].([]any)
		for _, m := range marks {
			if attrs, _ := m.(map[string]any)["attrs"].(map[string]any); len(attrs) == 0 {
				delete(m.(map[string]any), "attrs")
			}
		}
		slices.SortFunc(marks, func(a, b any) int { return slices.Compare([]byte(fmt.Sprint(a)), []byte(fmt.Sprint(b))) })
		if attrs, _ := n["attrs"].(map[string]any); attrs != nil {
			for key, value := range attrs {
				if value == nil {
					delete(attrs, key) // y-prosemirror stores none, and ProseMirror takes the default.
				}
			}
			if len(attrs) == 0 {
				delete(n, "attrs")
			}
		}
		content, _ := n["content"].([]any)
		var merged []any
		for _, child := range content {
			child := child.(map[string]any)
			visit(child)
			if len(merged) > 0 {
				last := merged[len(merged)-1].(map[string]any)
				if child["type"] == "text" && last["type"] == "text" && fmt.Sprint(last["marks"]) == fmt.Sprint(child["marks"]) {
					last["text"] = last["text"].(string) + child["text"].(string)
					continue
				}
			}
			merged = append(merged, child)
		}
		if content != nil {
			n["content"] = merged
		}
	}
	visit(doc)
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return string(out)
}
