package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/storage"
)

// maxScanned bounds the documents that are looked at for a page of those that may be read.
const maxScanned = 1000

// Document is what is known of a document besides its content.
type Document struct {
	Name          string            `json:"name" doc:"organization/document, as in clients' addresses" example:"acme/notes"`
	Title         string            `json:"title" doc:"a name for people"`
	Metadata      map[string]string `json:"metadata" doc:"whatever the application wants"`
	Version       int64             `json:"version" doc:"rises with each change of title and metadata; the ETag is made of it"`
	Created       time.Time         `json:"created"`
	Updated       time.Time         `json:"updated" doc:"the last change of anything"`
	Deleted       *time.Time        `json:"deleted,omitempty" doc:"when it was deleted, if it is"`
	LastOperation int64             `json:"lastOperation" doc:"the number of the last stored operation, 0 if nothing was ever written"`
}

func describe(r storage.Record) Document {
	d := Document{
		Name: r.Document, Title: r.Title, Metadata: r.Metadata, Version: r.Version, Created: r.Created,
		Updated: r.Updated, Deleted: r.Deleted, LastOperation: r.LastSeq,
	}
	if d.Metadata == nil {
		d.Metadata = map[string]string{}
	}
	return d
}

type documentOutput struct {
	ETag string `header:"ETag"`
	Body Document
}

func described(r storage.Record) *documentOutput {
	return &documentOutput{ETag: `"` + strconv.FormatInt(r.Version, 10) + `"`, Body: describe(r)}
}

// Precondition makes a request depend on the version of the record.
type Precondition struct {
	IfMatch string `header:"If-Match" doc:"an ETag: fail with 412 if the title or the metadata were changed since"`
}

// version is the version that is asked for, 0 if any will do.
func (m Precondition) version() (int64, error) {
	tag := strings.TrimSpace(m.IfMatch)
	if tag == "" || tag == "*" {
		return 0, nil
	}
	quoted, ok := strings.CutPrefix(tag, `"`)
	quoted, closed := strings.CutSuffix(quoted, `"`)
	version, err := strconv.ParseInt(quoted, 10, 64)
	if !ok || !closed || err != nil || version < 1 {
		return 0, problem(http.StatusBadRequest, "if-match", `If-Match must be one ETag as this service gives them, such as "3", or *.`)
	}
	return version, nil
}

type createdOutput struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     Document
}

func created(r storage.Record) *createdOutput {
	d := described(r)
	return &createdOutput{Location: Prefix + "/documents/" + r.Document, ETag: d.ETag, Body: d.Body}
}

type listInput struct {
	Organization string `query:"organization" required:"true" pattern:"^[A-Za-z0-9][A-Za-z0-9._~-]{0,62}$" doc:"whose documents"`
	After        string `query:"after" maxLength:"512" doc:"next of the page before"`
	Limit        int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"at most this many"`
	Deleted      bool   `query:"deleted" doc:"the deleted ones instead of the others"`
}

type listOutput struct {
	Body struct {
		Documents []Document `json:"documents" doc:"those that may be read, in the order of their names"`
		Next      string     `json:"next,omitempty" doc:"the parameter after of the next page, if there is one; a page may have fewer documents than asked for, even none"`
	}
}

type createInput struct {
	Body struct {
		Name     string            `json:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9._~-]{0,62}/[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$" doc:"organization/document"`
		Title    string            `json:"title,omitempty" maxLength:"1024"`
		Metadata map[string]string `json:"metadata,omitempty" maxProperties:"64"`
	}
}

type changeInput struct {
	DocumentPath
	Precondition
	Body struct {
		Title    *string            `json:"title,omitempty" maxLength:"1024" doc:"a new title"`
		Metadata map[string]*string `json:"metadata,omitempty" maxProperties:"64" doc:"what to set and, with null, to remove; the rest stays"`
	}
}

type deleteInput struct {
	DocumentPath
	Precondition
	Purge bool `query:"purge" doc:"for good, with content and history; without it the document can be restored"`
}

type copyInput struct {
	DocumentPath
	Body struct {
		Name  string  `json:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9._~-]{0,62}/[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$" doc:"what the copy is called"`
		Title *string `json:"title,omitempty" maxLength:"1024" doc:"the copy's title; that of the original by default"`
	}
}

func (a *API) registerDocuments() {
	tags, one := []string{"Documents"}, Prefix+"/documents/{organization}/{document}"
	huma.Register(a.huma, huma.Operation{
		OperationID: "list-documents", Method: http.MethodGet, Path: Prefix + "/documents", Tags: tags,
		Summary: "List an organization's documents", Errors: []int{401, 429, 503},
	}, a.list)
	huma.Register(a.huma, huma.Operation{
		OperationID: "create-document", Method: http.MethodPost, Path: Prefix + "/documents", Tags: tags,
		Summary: "Create a document", DefaultStatus: http.StatusCreated, MaxBodyBytes: maxJSON, BodyReadTimeout: bodyTimeout,
		Description: "Documents also come into being when a client opens them.", Errors: []int{401, 403, 409, 429, 503},
	}, a.create)
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-document", Method: http.MethodGet, Path: one, Tags: tags,
		Summary: "Describe a document, also a deleted one", Errors: []int{401, 403, 404, 429, 503},
		Description: "What a client has just opened is known within a second.",
	}, a.get)
	huma.Register(a.huma, huma.Operation{
		OperationID: "change-document", Method: http.MethodPatch, Path: one, Tags: tags,
		Summary: "Rename a document, or change its metadata", MaxBodyBytes: maxJSON, BodyReadTimeout: bodyTimeout,
		Description: "The title changes; the name stays, because it is the address that clients know. Copy and delete the " +
			"document to give it another one.",
		Errors: []int{401, 403, 404, 412, 429, 503},
	}, a.change)
	huma.Register(a.huma, huma.Operation{
		OperationID: "delete-document", Method: http.MethodDelete, Path: one, Tags: tags,
		Summary: "Delete a document", DefaultStatus: http.StatusNoContent, Errors: []int{401, 403, 404, 412, 429, 503},
		Description: "Whoever has it open is disconnected with the close code 4404.",
	}, a.remove)
	huma.Register(a.huma, huma.Operation{
		OperationID: "restore-document", Method: http.MethodPost, Path: one + "/restore", Tags: tags,
		Summary: "Take the deletion of a document back", Errors: []int{401, 403, 404, 429, 503},
	}, a.restore)
	huma.Register(a.huma, huma.Operation{
		OperationID: "copy-document", Method: http.MethodPost, Path: one + "/copy", Tags: tags,
		Summary: "Copy a document", DefaultStatus: http.StatusCreated, MaxBodyBytes: maxJSON, BodyReadTimeout: bodyTimeout,
		Description: "The copy has the content, the title and the metadata, and a history of its own.",
		Errors:      []int{401, 403, 404, 409, 410, 413, 429, 503},
	}, a.copy)
}

func (a *API) list(ctx context.Context, in *listInput) (*listOutput, error) {
	ctx, cancel := store(ctx)
	defer cancel()
	if in.After != "" && !strings.HasPrefix(in.After, in.Organization+"/") {
		return nil, problem(http.StatusUnprocessableEntity, "after", "after must be what next was on the page before.")
	}
	out := &listOutput{}
	out.Body.Documents = []Document{}
	after := in.After
	for scanned := 0; scanned < maxScanned; {
		page, err := a.opts.Catalog.List(ctx, in.Organization, after, in.Limit, in.Deleted)
		if err != nil {
			return nil, a.fail(ctx, "list documents", err)
		}
		accesses, err := a.accesses(ctx, page)
		if err != nil {
			return nil, a.fail(ctx, "list documents", err)
		}
		for i, r := range page {
			if len(out.Body.Documents) == in.Limit {
				out.Body.Next = after
				return out, nil
			}
			if after = r.Document; accesses[i] >= auth.Read {
				out.Body.Documents = append(out.Body.Documents, describe(r))
			}
		}
		if len(page) < in.Limit {
			return out, nil
		}
		scanned += len(page)
	}
	out.Body.Next = after
	return out, nil
}

func (a *API) create(ctx context.Context, in *createInput) (*createdOutput, error) {
	if err := a.allow(ctx, in.Body.Name, auth.Write); err != nil {
		return nil, err
	}
	ctx, cancel := store(ctx)
	defer cancel()
	record, err := a.opts.Catalog.Create(ctx, storage.Record{
		Document: in.Body.Name, Title: in.Body.Title, Metadata: in.Body.Metadata,
	})
	if err != nil {
		return nil, a.fail(about(ctx, in.Body.Name), "create a document", err)
	}
	return created(record), nil
}

func (a *API) get(ctx context.Context, in *DocumentPath) (*documentOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Read); err != nil {
		return nil, err
	}
	ctx, cancel := store(ctx)
	defer cancel()
	record, err := a.opts.Catalog.Get(ctx, in.name())
	if err != nil {
		return nil, a.fail(ctx, "describe a document", err)
	}
	return described(record), nil
}

func (a *API) change(ctx context.Context, in *changeInput) (*documentOutput, error) {
	version, err := in.version()
	if err == nil {
		err = a.allow(ctx, in.name(), auth.Write)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := store(ctx)
	defer cancel()
	record, err := a.opts.Catalog.Update(ctx, in.name(), version, func(r *storage.Record) {
		if in.Body.Title != nil {
			r.Title = *in.Body.Title
		}
		for key, value := range in.Body.Metadata {
			switch {
			case value == nil:
				delete(r.Metadata, key)
			case r.Metadata == nil:
				r.Metadata = map[string]string{key: *value}
			default:
				r.Metadata[key] = *value
			}
		}
	})
	if err != nil {
		return nil, a.fail(ctx, "change a document", err)
	}
	return described(record), nil
}

func (a *API) remove(ctx context.Context, in *deleteInput) (*struct{}, error) {
	version, err := in.version()
	if err == nil {
		err = a.allow(ctx, in.name(), auth.Write)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := store(ctx)
	defer cancel()
	// What was just written is known to the catalogue when its owner has closed it.
	for attempt := 0; attempt == 0 || attempt == 1 && err != nil; attempt++ {
		_, err = a.opts.Catalog.Delete(ctx, in.name(), version, false)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, a.fail(ctx, "delete a document", err)
		}
		// Nobody can open it anymore; now whoever has it open has to leave, whether or not the client waits for that. If it
		// is deleted already somebody may be left whom the last request did not reach.
		evicting, done := context.WithTimeout(context.WithoutCancel(ctx), ownerTimeout)
		evicted := a.opts.Clients.Evict(evicting, in.name())
		done()
		if evicted != nil {
			return nil, a.fail(ctx, "close a deleted document", evicted)
		}
	}
	if err == nil {
		version = 0 // This was a change, too.
	}
	if in.Purge {
		_, err = a.opts.Catalog.Delete(ctx, in.name(), version, true)
	}
	if err != nil {
		return nil, a.fail(ctx, "delete a document", err)
	}
	return nil, nil //nolint:nilnil // There is nothing to say.
}

func (a *API) restore(ctx context.Context, in *DocumentPath) (*documentOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Write); err != nil {
		return nil, err
	}
	ctx, cancel := store(ctx)
	defer cancel()
	record, err := a.opts.Catalog.Restore(ctx, in.name())
	if err != nil {
		return nil, a.fail(ctx, "restore a document", err)
	}
	return described(record), nil
}

func (a *API) copy(ctx context.Context, in *copyInput) (*createdOutput, error) {
	err := errors.Join(a.allow(ctx, in.name(), auth.Read), a.allow(ctx, in.Body.Name, auth.Write))
	if err != nil {
		return nil, a.fail(ctx, "copy a document", err)
	}
	done, err := a.work(ctx)
	if err != nil {
		return nil, a.fail(ctx, "copy a document", err)
	}
	defer done()
	state, err := a.state(ctx, in.name())
	if err != nil {
		return nil, a.fail(ctx, "read the document to copy", err)
	}
	storing, cancel := store(ctx)
	defer cancel()
	record, err := a.opts.Catalog.Get(storing, in.name())
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // It may be too young for the catalogue.
		return nil, a.fail(ctx, "describe the document to copy", err)
	}
	if in.Body.Title != nil {
		record.Title = *in.Body.Title
	}
	record, err = a.opts.Catalog.Create(storing, storage.Record{
		Document: in.Body.Name, Title: record.Title, Metadata: record.Metadata,
	})
	if err != nil {
		return nil, a.fail(ctx, "create the copy", err)
	}
	if err := a.apply(ctx, in.Body.Name, state); err != nil {
		// An empty document in its place would be no copy, and in the way of the next attempt.
		cleaning, done := store(context.WithoutCancel(ctx))
		defer done()
		_, undone := a.opts.Catalog.Delete(cleaning, in.Body.Name, 0, false) // Nobody can open it anymore.
		if undone == nil {
			undone = a.opts.Clients.Evict(cleaning, in.Body.Name)
		}
		if undone == nil {
			_, undone = a.opts.Catalog.Delete(cleaning, in.Body.Name, 0, true)
		}
		if undone != nil {
			a.opts.Logger.Warn("An unfinished copy is left", "document", in.Body.Name, "error", undone)
		}
		return nil, a.fail(ctx, "fill the copy", err)
	}
	return created(record), nil
}
