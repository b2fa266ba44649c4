package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/rest/revert"
	"collab.dev/operator/editor/rest/textdiff"
	"collab.dev/operator/editor/storage"
)

// Operation is a stored change of a document.
type Operation struct {
	Seq    int64     `json:"seq" doc:"numbers a document's operations from 1"`
	Time   time.Time `json:"time"`
	User   string    `json:"user,omitempty" doc:"who made it; nobody is known where there is no authentication"`
	Origin string    `json:"origin,omitempty" doc:"how it came, such as y-websocket, hocuspocus or rest"`
}

// Version is a named state of a document.
type Version struct {
	Seq     int64     `json:"seq" doc:"the last operation that it contains"`
	Name    string    `json:"name"`
	User    string    `json:"user,omitempty" doc:"who named it"`
	Created time.Time `json:"created" doc:"when it was named"`
}

type pageInput struct {
	DocumentPath
	Before int64 `query:"before" minimum:"0" doc:"next of the page before"`
	Limit  int   `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"at most this many"`
}

type operationsOutput struct {
	Body struct {
		Operations []Operation `json:"operations" doc:"newest first"`
		Next       int64       `json:"next,omitempty" doc:"the parameter before of the next page, if there is one"`
	}
}

type versionsOutput struct {
	Body struct {
		Versions []Version `json:"versions" doc:"newest first"`
		Next     int64     `json:"next,omitempty" doc:"the parameter before of the next page, if there is one"`
	}
}

type nameInput struct {
	DocumentPath
	Body struct {
		Name string `json:"name" minLength:"1" maxLength:"256" doc:"a name for people"`
		Seq  int64  `json:"seq,omitempty" minimum:"1" doc:"the last operation that it is to contain; the last one of all by default"`
	}
}

type nameOutput struct {
	Location string `header:"Location"`
	Body     Version
}

// SeqPath is the path of a version.
type SeqPath struct {
	DocumentPath
	Seq int64 `path:"seq" minimum:"1" doc:"the last operation that is contained"`
}

type versionInput struct {
	SeqPath
	Representation
}

type diffInput struct {
	DocumentPath
	From   int64  `query:"from" required:"true" minimum:"0" doc:"an operation; 0 is the empty document"`
	To     int64  `query:"to" minimum:"0" doc:"another one; the last one by default"`
	Format string `query:"format" enum:"text,markdown,html" default:"text" doc:"in which format the two are compared"`
	Root   string `query:"root" maxLength:"256" doc:"the shared type, as for reading content"`
}

type diffOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) registerHistory() {
	tags, one := []string{"History"}, Prefix+"/documents/{organization}/{document}"
	huma.Register(a.huma, huma.Operation{
		OperationID: "list-operations", Method: http.MethodGet, Path: one + "/history", Tags: tags,
		Summary: "List who changed a document when", Errors: []int{401, 403, 404, 410, 429, 503},
		Description: "As far back as the history is kept. What was changed just now follows within a second.",
	}, a.operations)
	huma.Register(a.huma, huma.Operation{
		OperationID: "list-versions", Method: http.MethodGet, Path: one + "/versions", Tags: tags,
		Summary: "List the versions that have names", Errors: []int{401, 403, 404, 410, 429, 503},
	}, a.versions)
	huma.Register(a.huma, huma.Operation{
		OperationID: "name-version", Method: http.MethodPost, Path: one + "/versions", Tags: tags,
		Summary: "Name a version", DefaultStatus: http.StatusCreated, MaxBodyBytes: maxJSON, BodyReadTimeout: bodyTimeout,
		Description: "It is kept as long as the document, whatever the history's retention. To name it again changes the name.",
		Errors:      []int{401, 403, 404, 410, 429, 503},
	}, a.name)
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: one + "/versions/{seq}", Tags: tags,
		Summary: "Read a document as it was after an operation", Responses: contentResponses(),
		Errors: []int{401, 403, 404, 410, 429, 503},
	}, a.version)
	huma.Register(a.huma, huma.Operation{
		OperationID: "restore-version", Method: http.MethodPost, Path: one + "/versions/{seq}/restore", Tags: tags,
		Summary: "Make a document what it was after an operation", DefaultStatus: http.StatusNoContent,
		Description: "This is a new operation: nothing is lost, and clients see an edit. What others write meanwhile stays.",
		Errors:      []int{401, 403, 404, 410, 413, 429, 503},
	}, a.revert)
	huma.Register(a.huma, huma.Operation{
		OperationID: "diff-versions", Method: http.MethodGet, Path: one + "/diff", Tags: tags,
		Summary: "Show what changed between two operations, as diff -u does",
		Responses: map[string]*huma.Response{"200": {Description: "the difference, empty if there is none",
			Content: map[string]*huma.MediaType{"text/x-diff": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
		Errors: []int{401, 403, 404, 410, 429, 503},
	}, a.diff)
}

func (a *API) operations(ctx context.Context, in *pageInput) (*operationsOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Read); err != nil {
		return nil, err
	}
	ctx, cancel := store(ctx)
	defer cancel()
	if _, err := a.living(ctx, in.name()); err != nil {
		return nil, a.fail(ctx, "list operations", err)
	}
	page, err := a.opts.Catalog.Operations(ctx, in.name(), in.Before, in.Limit)
	if err != nil {
		return nil, a.fail(ctx, "list operations", err)
	}
	out := &operationsOutput{}
	out.Body.Operations = []Operation{}
	for _, e := range page {
		out.Body.Operations = append(out.Body.Operations,
			Operation{Seq: e.Seq, Time: e.Time.UTC(), User: e.User, Origin: e.Origin})
	}
	if len(page) == in.Limit && page[len(page)-1].Seq > 1 {
		out.Body.Next = page[len(page)-1].Seq
	}
	return out, nil
}

func (a *API) versions(ctx context.Context, in *pageInput) (*versionsOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Read); err != nil {
		return nil, err
	}
	ctx, cancel := store(ctx)
	defer cancel()
	if _, err := a.living(ctx, in.name()); err != nil {
		return nil, a.fail(ctx, "list versions", err)
	}
	page, err := a.opts.Catalog.Versions(ctx, in.name(), in.Before, in.Limit)
	if err != nil {
		return nil, a.fail(ctx, "list versions", err)
	}
	out := &versionsOutput{}
	out.Body.Versions = []Version{}
	for _, v := range page {
		out.Body.Versions = append(out.Body.Versions, Version{Seq: v.Seq, Name: v.Name, User: v.User, Created: v.Created.UTC()})
	}
	if len(page) == in.Limit {
		out.Body.Next = page[len(page)-1].Seq
	}
	return out, nil
}

// at is the document as it was after an operation, which has to be there.
func (a *API) at(ctx context.Context, name string, seq int64) (*crdt.Doc, error) {
	ctx, cancel := store(ctx)
	defer cancel()
	stored, err := a.opts.Catalog.StateAt(ctx, name, seq)
	if err != nil {
		return nil, err
	}
	if stored.LastSeq() < seq {
		return nil, fmt.Errorf("%w: operation %d", storage.ErrNotFound, seq)
	}
	return load(updates(stored)...)
}

// updates are what a stored document consists of.
func updates(stored storage.Document) [][]byte {
	var out [][]byte
	if stored.Snapshot != nil {
		out = append(out, stored.Snapshot.State)
	}
	for _, e := range stored.Tail {
		out = append(out, e.Update)
	}
	return out
}

func (a *API) name(ctx context.Context, in *nameInput) (*nameOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Write); err != nil {
		return nil, err
	}
	done, err := a.work(ctx)
	if err != nil {
		return nil, a.fail(ctx, "name a version", err)
	}
	defer done()
	ctx, cancel := store(ctx)
	defer cancel()
	record, err := a.living(ctx, in.name())
	if err != nil {
		return nil, a.fail(ctx, "name a version", err)
	}
	seq := in.Body.Seq
	if seq == 0 {
		if seq = record.LastSeq; seq == 0 {
			return nil, problem(http.StatusConflict, "empty", "Nothing was ever written into the document.")
		}
	}
	doc, err := a.at(ctx, in.name(), seq)
	if err != nil {
		return nil, a.fail(ctx, "name a version", err)
	}
	state, err := doc.EncodeStateAsUpdate(nil)
	if err != nil {
		return nil, a.fail(ctx, "name a version", err)
	}
	version := storage.Version{
		Seq: seq, Name: in.Body.Name, User: user(ctx), Created: time.Now().UTC().Truncate(time.Microsecond), State: state,
	}
	if err := a.opts.Catalog.NameVersion(ctx, in.name(), version); err != nil {
		return nil, a.fail(ctx, "name a version", err)
	}
	return &nameOutput{
		Location: Prefix + "/documents/" + in.name() + "/versions/" + number(seq),
		Body:     Version{Seq: seq, Name: version.Name, User: version.User, Created: version.Created},
	}, nil
}

func (a *API) version(ctx context.Context, in *versionInput) (*contentOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Read); err != nil {
		return nil, err
	}
	done, err := a.work(ctx)
	if err != nil {
		return nil, a.fail(ctx, "read a version", err)
	}
	defer done()
	storing, cancel := store(ctx)
	defer cancel()
	if _, err := a.living(storing, in.name()); err != nil {
		return nil, a.fail(ctx, "read a version", err)
	}
	doc, err := a.at(storing, in.name(), in.Seq)
	if err != nil {
		return nil, a.fail(ctx, "read a version", err)
	}
	out, err := in.show(doc)
	if err != nil {
		return nil, a.fail(ctx, "read a version", err)
	}
	return out, nil
}

func (a *API) revert(ctx context.Context, in *SeqPath) (*struct{}, error) {
	return a.edit(ctx, in.DocumentPath, 0, func() ([]byte, error) {
		old, err := a.at(ctx, in.name(), in.Seq)
		if err != nil {
			return nil, err
		}
		state, err := a.state(ctx, in.name())
		if err != nil {
			return nil, err
		}
		current, err := load(state)
		if err != nil {
			return nil, err
		}
		return revert.Update(current, old)
	})
}

func (a *API) diff(ctx context.Context, in *diffInput) (*diffOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Read); err != nil {
		return nil, err
	}
	done, err := a.work(ctx)
	if err != nil {
		return nil, a.fail(ctx, "compare versions", err)
	}
	defer done()
	storing, cancel := store(ctx)
	defer cancel()
	record, err := a.living(storing, in.name())
	if err != nil {
		return nil, a.fail(ctx, "compare versions", err)
	}
	if in.To == 0 {
		in.To = record.LastSeq
	}
	how := Representation{Format: in.Format, Root: in.Root}
	show := func(seq int64) (string, error) {
		doc := crdt.NewDoc(crdt.Options{})
		if seq > 0 {
			if doc, err = a.at(storing, in.name(), seq); err != nil {
				return "", err
			}
		}
		text, err := how.encode(doc, in.Format)
		return string(text), err
	}
	before, err := show(in.From)
	if err != nil {
		return nil, a.fail(ctx, "compare versions", err)
	}
	after, err := show(in.To)
	if err != nil {
		return nil, a.fail(ctx, "compare versions", err)
	}
	name := func(seq int64) string { return in.name() + "@" + number(seq) }
	return &diffOutput{
		ContentType: "text/x-diff; charset=utf-8",
		Body:        []byte(textdiff.Unified(name(in.From), name(in.To), before, after)),
	}, nil
}
