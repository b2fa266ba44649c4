package rest_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
)

// paper is a document as y-prosemirror keeps it, besides a map.
func paper(doc *crdt.Doc) error {
	heading, text := crdt.NewXmlElement("heading"), crdt.NewXmlText("Title")
	return errors.Join(
		doc.XmlFragment("prosemirror").Push(heading), heading.SetAttribute("level", 1.0), heading.Push(text),
		doc.XmlFragment("prosemirror").Push(crdt.NewXmlElement("paragraph", crdt.NewXmlText("a <b>"))),
		doc.Map("settings").Set("wide", true),
	)
}

func TestContentIsShownInEveryFormat(t *testing.T) {
	s := start(t, false)
	s.edit("acme/paper", paper)
	for name, c := range map[string]struct{ query, accept, media, body string }{
		"text":              {"?format=text", "", "text/plain; charset=utf-8", "Title\na <b>"},
		"HTML":              {"?format=html", "", "text/html; charset=utf-8", "<h1>Title</h1><p>a &lt;b&gt;</p>"},
		"HTML by Accept":    {"", "text/html,*/*;q=0.8", "text/html; charset=utf-8", "<h1>Title</h1><p>a &lt;b&gt;</p>"},
		"Markdown":          {"?format=markdown", "", "text/markdown; charset=utf-8", "# Title\n\na \\<b>\n"},
		"JSON":              {"", "", "application/json", `"settings":{"wide":true}`},
		"JSON of one":       {"?root=settings", "", "application/json", `{"wide":true}`},
		"JSON of none":      {"?root=nothing", "", "application/json", `null`},
		"JSON, if anything": {"", "*/*", "application/json", `"settings":{"wide":true}`},
		"ProseMirror":       {"?format=prosemirror", "", "application/json", `{"type":"heading","attrs":{"level":1},"content":[{"type":"text","text":"Title"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := *s
			s.t = t
			got := s.do("GET", "/documents/acme/paper/content"+c.query, "", "Accept", c.accept).want(http.StatusOK)
			if media := got.header.Get("Content-Type"); media != c.media {
				t.Errorf("Content-Type is %q", media)
			}
			if !strings.Contains(strings.TrimSpace(got.body), strings.TrimSpace(c.body)) {
				t.Errorf("got %q, want %q", got.body, c.body)
			}
			if !strings.HasPrefix(got.header.Get("Content-Security-Policy"), "sandbox;") {
				t.Error("browsers may run it")
			}
		})
	}
	s.do("GET", "/documents/acme/paper/content?format=text&root=settings", "").want(http.StatusUnprocessableEntity)
	s.do("GET", "/documents/acme/none/content", "").want(http.StatusNotFound)
	s.do("POST", "/documents", `{"name":"acme/empty"}`).want(http.StatusCreated)
	if got := s.text("acme/empty"); got != "" {
		t.Errorf("an empty document says %q", got)
	}
}

func TestWhichTextIsMeantHasToBeSaidIfItIsNotObvious(t *testing.T) {
	s := start(t, false)
	s.edit("acme/two", func(doc *crdt.Doc) error {
		return errors.Join(doc.Text("left").Insert(0, "l"), doc.Text("right").Insert(0, "r"))
	})
	a := s.do("GET", "/documents/acme/two/content?format=text", "").want(http.StatusUnprocessableEntity)
	if !strings.Contains(a.body, "left, right") {
		t.Errorf("it does not say which there are: %s", a.body)
	}
	if got := s.do("GET", "/documents/acme/two/content?format=text&root=right", "").want(http.StatusOK).body; got != "r" {
		t.Errorf("got %q", got)
	}
}

func TestUpdatesAreAppliedAndRead(t *testing.T) {
	s := start(t, false)
	doc := crdt.NewDoc(crdt.Options{})
	update, err := doc.Edit(nil, func() error { return doc.Text("default").Insert(0, "hello") })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // To repeat it changes nothing.
		s.do("POST", "/documents/acme/notes/updates", string(update)).want(http.StatusNoContent)
	}
	if update, err = doc.Edit(nil, func() error { return doc.Text("default").Insert(5, " world") }); err != nil {
		t.Fatal(err)
	}
	if update, err = crdt.ConvertUpdateV1ToV2(update); err != nil {
		t.Fatal(err)
	}
	s.do("POST", "/documents/acme/notes/updates", string(update)).want(http.StatusUnprocessableEntity)
	s.do("POST", "/documents/acme/notes/updates?encoding=v2", string(update)).want(http.StatusNoContent)
	if got := s.text("acme/notes"); got != "hello world" {
		t.Fatalf("it says %q", got)
	}
	read := crdt.NewDoc(crdt.Options{})
	got := s.do("GET", "/documents/acme/notes/content?format=update", "").want(http.StatusOK)
	if err := read.ApplyUpdate([]byte(got.body), nil); err != nil || read.Text("default").String() != "hello world" {
		t.Errorf("the update says %q, %v", read.Text("default"), err)
	}
	got = s.do("GET", "/documents/acme/notes/content?format=update-v2", "").want(http.StatusOK)
	read = crdt.NewDoc(crdt.Options{})
	if err := read.ApplyUpdateV2([]byte(got.body), nil); err != nil || read.Text("default").String() != "hello world" {
		t.Errorf("the update in format v2 says %q, %v", read.Text("default"), err)
	}
}

func TestADocumentCannotBecomeLargerThanItMayBe(t *testing.T) {
	s := start(t, false)
	text := strings.Repeat("x", maxDocument*2/3)
	s.do("PUT", "/documents/acme/notes/content/text", text).want(http.StatusNoContent)
	s.do("PUT", "/documents/acme/notes/content/text?root=other", text).want(http.StatusRequestEntityTooLarge)
}

func TestReplacingATextLeavesWhatOthersWrite(t *testing.T) {
	s := start(t, false)
	const writers, rounds = 4, 10
	s.do("PUT", "/documents/acme/notes/content/text?root=text", "begin\nend\n").want(http.StatusNoContent)
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range rounds {
				s.edit("acme/notes", func(doc *crdt.Doc) error {
					return doc.Text("text").Insert(0, fmt.Sprintf("writer %d line %d\n", w, i))
				})
			}
		})
	}
	for done := 0; done < rounds; {
		read := s.do("GET", "/documents/acme/notes/content?format=text", "").want(http.StatusOK)
		text := strings.Replace(read.body, "end\n", "more\nend\n", 1)
		a := s.do("PUT", "/documents/acme/notes/content/text", text, "If-Match", read.header.Get("ETag"))
		if a.status != http.StatusPreconditionFailed {
			a.want(http.StatusNoContent)
			done++
		}
	}
	wait.Wait()
	text := s.text("acme/notes")
	for w := range writers {
		for i := range rounds {
			if line := fmt.Sprintf("writer %d line %d\n", w, i); strings.Count(text, line) != 1 {
				t.Errorf("%q is there %d times", line, strings.Count(text, line))
			}
		}
	}
	if n := strings.Count(text, "more\n"); n != rounds {
		t.Errorf("%d of %d replacements are there", n, rounds)
	}
}

func TestATextCanBecomeEmpty(t *testing.T) {
	s := start(t, false)
	s.do("PUT", "/documents/acme/notes/content/text", "hello").want(http.StatusNoContent)
	s.do("PUT", "/documents/acme/notes/content/text", "").want(http.StatusNoContent)
	if got := s.text("acme/notes"); got != "" {
		t.Errorf("it says %q", got)
	}
}

func TestFormattingOfWhatStaysStays(t *testing.T) {
	s := start(t, false)
	s.edit("acme/notes", func(doc *crdt.Doc) error {
		return doc.Text("text").InsertFormatted(0, "bold", lib0.Object{{Key: "bold", Value: true}})
	})
	s.do("PUT", "/documents/acme/notes/content/text", "bold words").want(http.StatusNoContent)
	if got := s.do("GET", "/documents/acme/notes/content?format=markdown", "").body; !strings.HasPrefix(got, "**bold") {
		t.Errorf("it says %q", got)
	}
	s.edit("acme/notes", func(doc *crdt.Doc) error {
		return doc.Text("text").InsertEmbed(0, lib0.Object{{Key: "image", Value: "x.png"}}, nil)
	})
	s.do("PUT", "/documents/acme/notes/content/text", "plain").want(http.StatusUnprocessableEntity)
}
