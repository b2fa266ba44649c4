package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/storage"
)

const (
	ndjson = "application/x-ndjson"
	// lineTimeout is how long a client may take to send or receive a line of an archive.
	lineTimeout = time.Minute
	// exportPage is how many documents are listed at a time.
	exportPage = 100
)

// Archived is a line of an export: a document, or, last, how many there were.
type Archived struct {
	Document string            `json:"document,omitempty" doc:"the name within the organization"`
	Title    string            `json:"title,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Created  *time.Time        `json:"created,omitempty"`
	Updated  *time.Time        `json:"updated,omitempty"`
	Update   []byte            `json:"update,omitempty" doc:"the content, as a Yjs update in format v1, in base64"`
	// End is the last line, without which the export is not whole.
	End *Summary `json:"end,omitempty" doc:"the last line, without which the export is not whole"`
}

// Summary says how many documents there were.
type Summary struct {
	Documents int `json:"documents"`
	Failed    int `json:"failed"`
}

// Imported is a line of the answer to an import: what became of a document, or, last, of all.
type Imported struct {
	Document string `json:"document,omitempty" doc:"the name within the organization"`
	Result   string `json:"result,omitempty" enum:"created,merged,failed" doc:"merged: there was such a document, which now has the content of both, and its own title"`
	Detail   string `json:"detail,omitempty" doc:"why it failed"`
	// End is the last line, without which the import is not whole.
	End *Summary `json:"end,omitempty" doc:"the last line, without which not everything was imported"`
}

var documentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$`)

func (a *API) registerArchive() {
	tags, one := []string{"Archives"}, Prefix+"/organizations/{organization}"
	lines := func(of any, description string) map[string]*huma.MediaType {
		schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(of), true, "")
		return map[string]*huma.MediaType{ndjson: {Schema: &huma.Schema{
			Type: huma.TypeString, Description: description + " Each line is: " + schema.Ref + "."}}}
	}
	huma.Register(a.huma, huma.Operation{
		OperationID: "export-organization", Method: http.MethodGet, Path: one + "/export", Tags: tags,
		Summary: "Export an organization's documents", Errors: []int{401, 429, 503},
		Description: "All that may be read and are not deleted, one a line, as the stores have them: what was typed within " +
			"the last second may be missing. History and named versions are not part of it.",
		Responses: map[string]*huma.Response{"200": {Description: "the documents", Content: lines(Archived{}, "JSON lines.")}},
	}, func(ctx context.Context, in *OrganizationPath) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(c huma.Context) { a.export(ctx, in.Organization, c) }}, nil
	})
	huma.Register(a.huma, huma.Operation{
		OperationID: "import-organization", Method: http.MethodPost, Path: one + "/import", Tags: tags,
		Summary: "Import documents into an organization", Errors: []int{401, 403, 429, 503},
		Description: "What an export has, of this organization or another one. Documents that are there are merged, so that " +
			"an import can be repeated. The answer begins before the request has ended.",
		RequestBody: &huma.RequestBody{Required: true, Content: lines(Archived{}, "JSON lines.")},
		Responses:   map[string]*huma.Response{"200": {Description: "what became of each", Content: lines(Imported{}, "JSON lines.")}},
	}, func(ctx context.Context, in *OrganizationPath) (*huma.StreamResponse, error) {
		if !a.opts.Guard.MayWriteIn(auth.IdentityFrom(ctx), in.Organization) {
			return nil, problem(http.StatusForbidden, "forbidden", "This needs the permission to write documents of "+in.Organization+".")
		}
		done, err := a.imports.take(ctx, callerOf(ctx).name)
		if err != nil {
			return nil, a.fail(ctx, "import documents", err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer done()
			a.importAll(ctx, in.Organization, c)
		}}, nil
	})
}

// stream writes lines of JSON to a client.
type stream struct {
	controller *http.ResponseController
	encoder    *json.Encoder
}

func newStream(c huma.Context) *stream {
	_, w := humago.Unwrap(c)
	c.SetHeader("Content-Type", ndjson)
	c.SetStatus(http.StatusOK)
	return &stream{http.NewResponseController(w), json.NewEncoder(w)}
}

// line writes a line. It fails when the client has left, or does not read.
func (s *stream) line(v any) error {
	err := s.controller.SetWriteDeadline(time.Now().Add(lineTimeout))
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		err = s.encoder.Encode(v)
	}
	if err == nil {
		err = s.controller.Flush()
	}
	if err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

// next reads the next line that has something. It fails when a client takes too long for that.
func (s *stream) next(in *bufio.Scanner) bool {
	err := s.controller.SetReadDeadline(time.Now().Add(lineTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return false
	}
	for in.Scan() {
		if len(bytes.TrimSpace(in.Bytes())) > 0 {
			// While a line is imported its sender has to wait, and is not to blame.
			_ = s.controller.SetReadDeadline(time.Time{})
			return true
		}
	}
	return false
}

// export writes all documents that may be read. Where it fails the last line is missing.
func (a *API) export(ctx context.Context, organization string, c huma.Context) {
	out := newStream(c)
	summary := &Summary{}
	for after := ""; ; {
		listing, cancel := store(ctx)
		page, err := a.opts.Catalog.List(listing, organization, after, exportPage, false)
		cancel()
		if err != nil {
			_ = a.fail(ctx, "export an organization", err)
			return
		}
		accesses, err := a.accesses(ctx, page)
		if err != nil {
			_ = a.fail(ctx, "export an organization", err)
			return // To leave a document out would look as if there were none.
		}
		for i, r := range page {
			if after = r.Document; accesses[i] < auth.Read {
				continue
			}
			line, err := a.archived(ctx, organization, r)
			if errors.Is(err, storage.ErrNotFound) {
				continue // It was deleted meanwhile.
			}
			if err != nil {
				_ = a.fail(about(ctx, r.Document), "export a document", err)
				return
			}
			if out.line(line) != nil {
				return
			}
			summary.Documents++
		}
		if len(page) < exportPage {
			_ = out.line(Archived{End: summary}) // The client has left.
			return
		}
	}
}

// archived is a document's line.
func (a *API) archived(ctx context.Context, organization string, r storage.Record) (Archived, error) {
	done, err := a.work(ctx)
	if err != nil {
		return Archived{}, err
	}
	defer done()
	ctx, cancel := store(ctx)
	defer cancel()
	line := Archived{
		Document: r.Document[len(organization)+1:], Title: r.Title, Metadata: r.Metadata, Created: &r.Created,
		Updated: &r.Updated,
	}
	if r.LastSeq == 0 {
		return line, nil
	}
	stored, err := a.opts.Catalog.StateAt(ctx, r.Document, math.MaxInt64)
	if err != nil {
		return Archived{}, err
	}
	line.Update, err = crdt.MergeUpdates(updates(stored))
	return line, err
}

// importAll takes documents line by line.
func (a *API) importAll(ctx context.Context, organization string, c huma.Context) {
	request, _ := humago.Unwrap(c)
	out := newStream(c)
	// Answers go out while the request comes in; where that cannot be, they wait.
	_ = out.controller.EnableFullDuplex()
	in := bufio.NewScanner(request.Body)
	in.Buffer(make([]byte, 0, 64<<10), a.maxLine())
	summary, whole := &Summary{}, false
	for out.next(in) {
		line, result, err := a.importLine(ctx, organization, in.Bytes())
		if err == nil && line.End != nil {
			whole = true
			continue
		}
		told := Imported{Document: line.Document, Result: result}
		summary.Documents++
		if err != nil {
			summary.Failed++
			told.Result = "failed"
			told.Detail = a.fail(about(ctx, organization+"/"+line.Document), "import a document", err).Error()
		}
		if out.line(told) != nil {
			return
		}
	}
	err := in.Err()
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		err = errors.New("a line is longer than a document may be")
	case err != nil:
		err = errors.New("the request ended too early")
	case !whole:
		err = errors.New("the last line of the export is missing: it is not whole")
	}
	if err != nil {
		if out.line(Imported{Result: "failed", Detail: err.Error() + "; what came before is imported"}) != nil {
			return
		}
		summary.Failed++
	}
	_ = out.line(Imported{End: summary}) // The client has left.
}

// maxLine bounds a line, whose update is in base64.
func (a *API) maxLine() int { return a.opts.MaxDocumentBytes/3*4 + 2*maxJSON }

// importLine makes a document of a line, or merges it with the one that is there.
func (a *API) importLine(ctx context.Context, organization string, text []byte) (line Archived, result string, err error) {
	if err := pace(ctx, 1, len(text)); err != nil {
		return line, "", err
	}
	line, err = parseArchived(text, func(document string) error {
		return a.allow(ctx, organization+"/"+document, auth.Write)
	})
	if err == nil && line.End == nil {
		result, err = a.importOne(ctx, organization+"/"+line.Document, line)
	}
	return line, result, err
}

// parseArchived reads a line of an export. Content is looked at only where allow allows to write the document.
func parseArchived(line []byte, allow func(document string) error) (Archived, error) {
	invalid := func(detail string) error { return problem(http.StatusUnprocessableEntity, "line", detail) }
	var head struct {
		Document string
		End      *Summary
	}
	if json.Unmarshal(line, &head) != nil {
		return Archived{}, invalid("the line is no document of an export")
	}
	switch {
	case head.End != nil:
		return Archived{End: head.End}, nil
	case !documentName.MatchString(head.Document):
		return Archived{}, invalid("the document's name must be letters, digits and . _ ~ -, at most 128")
	}
	out, named := Archived{}, Archived{Document: head.Document}
	if err := allow(head.Document); err != nil {
		return named, err
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&out) != nil || out.Document != head.Document {
		return Archived{}, invalid("the line has what no document of an export has")
	}
	if len(out.Update) > 0 && crdt.ValidateUpdate(out.Update) != nil {
		return named, invalid("the content is no Yjs update")
	}
	return out, nil
}

// importOne makes a document, or merges it with the one that is there.
func (a *API) importOne(ctx context.Context, name string, line Archived) (result string, err error) {
	done, err := a.work(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	ctx, cancel := store(ctx)
	defer cancel()
	result = "created"
	_, err = a.opts.Catalog.Create(ctx, storage.Record{Document: name, Title: line.Title, Metadata: line.Metadata})
	if errors.Is(err, storage.ErrExists) {
		result = "merged"
		_, err = a.living(ctx, name)
	}
	if err == nil && len(line.Update) > 0 {
		err = a.apply(ctx, name, line.Update)
	}
	return result, err
}
