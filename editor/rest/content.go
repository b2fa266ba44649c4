package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/danielgtaylor/huma/v2"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/crdt"
	"collab.dev/operator/editor/crdt/lib0"
	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/protocol"
	"collab.dev/operator/editor/rest/render"
	"collab.dev/operator/editor/rest/textdiff"
	"collab.dev/operator/editor/storage"
)

// The formats in which content is read.
const (
	formatText        = "text"
	formatJSON        = "json"
	formatProseMirror = "prosemirror"
	formatHTML        = "html"
	formatMarkdown    = "markdown"
	formatUpdate      = "update"
	formatUpdateV2    = "update-v2"
)

// mediaTypes are the formats' Content-Types, accepted what Accept may ask for besides the parameter format.
var (
	mediaTypes = map[string]string{
		formatText: "text/plain; charset=utf-8", formatJSON: "application/json", formatProseMirror: "application/json",
		formatHTML: "text/html; charset=utf-8", formatMarkdown: "text/markdown; charset=utf-8",
		formatUpdate: "application/octet-stream", formatUpdateV2: "application/octet-stream",
	}
	accepted = map[string]string{
		"text/plain": formatText, "application/json": formatJSON, "text/html": formatHTML,
		"text/markdown": formatMarkdown, "application/octet-stream": formatUpdate,
	}
)

// usualRoots are the names that editors give to the shared type of their text, tried in this order.
var usualRoots = []string{
	"default", "prosemirror", "content", "text", "quill", "codemirror", "monaco", "document-store", "root",
}

// Representation says how content is shown.
type Representation struct {
	Format string `query:"format" enum:"text,json,prosemirror,html,markdown,update,update-v2" doc:"json unless Accept says otherwise. prosemirror is the JSON of ProseMirror and Tiptap, update the whole document as a Yjs update in format v1"`
	Root   string `query:"root" maxLength:"256" doc:"the shared type, as doc.getText(root) names it. By default the only one, or that with a usual name: default, prosemirror, content, text, quill, codemirror, monaco, document-store, root. json and updates have all of them"`
	Accept string `header:"Accept"`
}

// format is what is asked for.
func (r Representation) format() string {
	if r.Format != "" {
		return r.Format
	}
	for _, wanted := range strings.Split(r.Accept, ",") {
		if media, _, err := mime.ParseMediaType(wanted); err == nil && accepted[media] != "" {
			return accepted[media]
		}
	}
	return formatJSON
}

type contentOutput struct {
	ContentType string `header:"Content-Type"`
	ETag        string `header:"ETag"`
	// Policy keeps browsers from running what is shown, and Disposition updates from being shown.
	Policy string `header:"Content-Security-Policy"`
	Body   []byte
}

// show shows a document.
func (r Representation) show(doc *crdt.Doc) (*contentOutput, error) {
	format := r.format()
	body, err := r.encode(doc, format)
	if err != nil {
		return nil, err
	}
	return &contentOutput{
		ContentType: mediaTypes[format], ETag: tagOf(body), Body: body,
		Policy: "sandbox; default-src 'none'; img-src * data:; style-src 'unsafe-inline'",
	}, nil
}

// tagOf is the ETag of content.
func tagOf(body []byte) string { return fmt.Sprintf(`"%016x"`, xxhash.Sum64(body)) }

func (r Representation) encode(doc *crdt.Doc, format string) ([]byte, error) {
	switch format {
	case formatUpdate:
		return doc.EncodeStateAsUpdate(nil)
	case formatUpdateV2:
		return doc.EncodeStateAsUpdateV2(nil)
	case formatJSON:
		return r.json(doc)
	}
	root, err := pick(doc, r.Root)
	if err != nil {
		return nil, err
	}
	var node render.Node
	switch root := root.(type) {
	case nil:
		node = render.Node{Type: "doc"}
	case *crdt.Text:
		if format == formatText {
			return []byte(root.String()), nil
		}
		node = render.FromText(root)
	case *crdt.XmlText:
		node = render.FromText(&root.Text)
	case *crdt.XmlFragment:
		node = render.FromXML(root)
	case *crdt.XmlElement:
		node = render.FromXML(&root.XmlFragment)
	default:
		return nil, problem(http.StatusUnprocessableEntity, "root", fmt.Sprintf(
			"The shared type is a %s, which is no text: ask for json.", root.Kind()))
	}
	switch format {
	case formatProseMirror:
		return node.JSON(), nil
	case formatHTML:
		return []byte(node.HTML()), nil
	case formatMarkdown:
		return []byte(node.Markdown()), nil
	default:
		return []byte(node.PlainText()), nil
	}
}

// json returns all shared types, or one, as JSON.
func (r Representation) json(doc *crdt.Doc) ([]byte, error) {
	if r.Root != "" {
		root, err := pick(doc, r.Root)
		if err != nil || root == nil {
			return []byte("null"), err
		}
		return lib0.AppendJSON(nil, root.JSON()), nil
	}
	var members []lib0.Member
	for _, root := range doc.Roots() {
		if shared, ok := doc.Root(root.Name); ok {
			members = append(members, lib0.Member{Key: root.Name, Value: shared.JSON()})
		}
	}
	return lib0.AppendJSON(nil, lib0.NewObject(members)), nil
}

// pick returns the shared type of that name or, without one, the one that is meant; nil if the document is empty.
func pick(doc *crdt.Doc, name string) (crdt.Shared, error) {
	if name != "" {
		root, _ := doc.Root(name)
		return root, nil
	}
	var names []string
	for _, root := range doc.Roots() {
		if _, ok := doc.Root(root.Name); ok {
			names = append(names, root.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > 1 {
		for _, usual := range usualRoots {
			if root, ok := doc.Root(usual); ok {
				return root, nil
			}
		}
		return nil, problem(http.StatusUnprocessableEntity, "root", "Say which shared type is meant by the parameter root: "+
			strings.Join(names[:min(len(names), 20)], ", ")+".")
	}
	root, _ := doc.Root(names[0])
	return root, nil
}

// load makes a document of its state.
func load(updates ...[]byte) (*crdt.Doc, error) {
	doc := crdt.NewDoc(crdt.Options{})
	for _, update := range updates {
		if len(update) == 0 {
			continue
		}
		if err := doc.ApplyUpdate(update, nil); err != nil {
			return nil, fmt.Errorf("the stored document: %w", err)
		}
	}
	return doc, nil
}

// state is the document as its owner has it.
func (a *API) state(ctx context.Context, name string) ([]byte, error) {
	session, err := a.opts.Clients.Open(name, "rest", user(ctx))
	if err != nil {
		return nil, fmt.Errorf("open the document: %w", err)
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	state, err := session.State(ctx)
	if errors.Is(err, edge.ErrDeleted) || err == nil && protocol.IsEmptyUpdate(state) {
		// To read what nobody has written or created, or what was purged, is a mistake.
		if _, missing := a.opts.Catalog.Get(ctx, name); missing != nil {
			return nil, missing
		}
	}
	return state, err
}

// apply changes the document, and returns when that is durable.
func (a *API) apply(ctx context.Context, name string, update []byte) error {
	session, err := a.opts.Clients.Open(name, "rest", user(ctx))
	if err != nil {
		return fmt.Errorf("open the document: %w", err)
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	err = session.Apply(ctx, update)
	if errors.Is(err, edge.ErrDeleted) {
		if _, missing := a.opts.Catalog.Get(ctx, name); errors.Is(missing, storage.ErrNotFound) {
			return problem(http.StatusGone, "purged", "The document was deleted for good; create it to use its name again.")
		}
	}
	return err
}

type readInput struct {
	DocumentPath
	Representation
}

type replaceInput struct {
	DocumentPath
	Root    string `query:"root" maxLength:"256" doc:"the shared text; by default the only one, that with a usual name, or a new one named default"`
	IfMatch string `header:"If-Match" doc:"the ETag of the text, as it was read with format=text: fail with 412 if others have changed it since, rather than undo that"`
	RawBody []byte `contentType:"text/plain"`
}

type updateInput struct {
	DocumentPath
	Encoding string `query:"encoding" enum:"v1,v2" default:"v1" doc:"the update's format"`
	RawBody  []byte `contentType:"application/octet-stream"`
}

func (a *API) registerContent() {
	tags, one := []string{"Content"}, Prefix+"/documents/{organization}/{document}"
	body := &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-content", Method: http.MethodGet, Path: one + "/content", Tags: tags,
		Summary: "Read a document", Responses: contentResponses(), Errors: []int{401, 403, 404, 410, 429, 503},
	}, a.read)
	huma.Register(a.huma, huma.Operation{
		OperationID: "replace-text", Method: http.MethodPut, Path: one + "/content/text", Tags: tags,
		Summary: "Replace a document's text", DefaultStatus: http.StatusNoContent,
		Description: "What differs is changed, as if somebody had typed it: clients keep their cursors, and what does not " +
			"change keeps its formatting. Send the ETag that came with the text as If-Match, and read again after a 412: " +
			"otherwise what others wrote since the text was read is undone. The body is UTF-8.",
		RequestBody:  body,
		MaxBodyBytes: int64(a.opts.MaxDocumentBytes), BodyReadTimeout: bodyTimeout, SkipValidateBody: true,
		Middlewares: huma.Middlewares{a.beforeBody},
		Errors:      []int{401, 403, 410, 412, 413, 429, 503},
	}, a.replace)
	body.Required = false // A text may become empty.
	huma.Register(a.huma, huma.Operation{
		OperationID: "apply-update", Method: http.MethodPost, Path: one + "/updates", Tags: tags,
		Summary: "Apply a Yjs update", DefaultStatus: http.StatusNoContent,
		Description:  "When this is answered the update is durable. To apply it again changes nothing.",
		MaxBodyBytes: int64(a.opts.MaxDocumentBytes), BodyReadTimeout: bodyTimeout, SkipValidateBody: true,
		Middlewares: huma.Middlewares{a.beforeBody},
		Errors:      []int{401, 403, 410, 413, 429, 503},
	}, a.update)
}

// contentResponses describes the formats.
func contentResponses() map[string]*huma.Response {
	text := func() *huma.MediaType { return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}} }
	return map[string]*huma.Response{"200": {Description: "the content", Content: map[string]*huma.MediaType{
		"application/json": {Schema: &huma.Schema{}}, "text/plain": text(), "text/html": text(), "text/markdown": text(),
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}}
}

func (a *API) read(ctx context.Context, in *readInput) (*contentOutput, error) {
	if err := a.allow(ctx, in.name(), auth.Read); err != nil {
		return nil, err
	}
	done, err := a.work(ctx)
	if err != nil {
		return nil, a.fail(ctx, "read a document", err)
	}
	defer done()
	var out *contentOutput
	state, err := a.state(ctx, in.name())
	if err == nil {
		var doc *crdt.Doc
		if doc, err = load(state); err == nil {
			out, err = in.show(doc)
		}
	}
	if err != nil {
		return nil, a.fail(ctx, "read a document", err)
	}
	return out, nil
}

func (a *API) replace(ctx context.Context, in *replaceInput) (*struct{}, error) {
	if !utf8.Valid(in.RawBody) {
		return nil, problem(http.StatusUnprocessableEntity, "text", "The text must be UTF-8.")
	}
	return a.edit(ctx, in.DocumentPath, len(in.RawBody), func() ([]byte, error) {
		state, err := a.state(ctx, in.name())
		if errors.Is(err, storage.ErrNotFound) {
			err = nil // As for clients, it begins now.
		}
		if err != nil {
			return nil, err
		}
		return replacement(state, in.Root, in.IfMatch, string(in.RawBody))
	})
}

// replacement is the update that makes a shared text of a document say something else, if it has the tag.
func replacement(state []byte, name, tag, text string) ([]byte, error) {
	doc, err := load(state)
	if err != nil {
		return nil, err
	}
	root, err := pick(doc, name)
	if err != nil {
		return nil, err
	}
	if root == nil {
		if name == "" {
			name = usualRoots[0]
		}
		root = doc.Text(name)
	}
	to, ok := root.(*crdt.Text)
	if !ok {
		return nil, problem(http.StatusUnprocessableEntity, "root", fmt.Sprintf(
			"The shared type is a %s and no text: apply an update instead.", root.Kind()))
	}
	before := to.String()
	if tag != "" && tag != "*" && tag != tagOf([]byte(before)) {
		return nil, problem(http.StatusPreconditionFailed, "changed", "The text was changed meanwhile: read it again.")
	}
	if lib0.UTF16Len([]byte(before)) != to.Len() {
		return nil, problem(http.StatusUnprocessableEntity, "root",
			"The shared text has embedded values, such as images, which no text tells of: apply an update instead.")
	}
	return doc.Edit(nil, func() error {
		for _, e := range textdiff.Edits(before, text) {
			if e.Delete > 0 {
				err = to.Delete(e.At, e.Delete)
			}
			if err == nil && e.Insert != "" {
				err = to.Insert(e.At, e.Insert)
			}
			if err != nil {
				return fmt.Errorf("edit the text: %w", err)
			}
		}
		return nil
	})
}

func (a *API) update(ctx context.Context, in *updateInput) (*struct{}, error) {
	return a.edit(ctx, in.DocumentPath, len(in.RawBody), func() ([]byte, error) {
		// Who has the document open may get the update after the request has ended, when the body's memory is used again.
		update := bytes.Clone(in.RawBody)
		if in.Encoding == "v2" {
			converted, err := crdt.ConvertUpdateV2ToV1(update)
			if err != nil {
				return nil, problem(http.StatusUnprocessableEntity, "update", "The body is no Yjs update in format v2.")
			}
			update = converted
		}
		// Yjs ignores what follows an update, and takes one in format v2 for an empty one in format v1.
		if err := crdt.ValidateUpdate(update); err != nil || len(update) > 2 && update[0] == 0 && update[1] == 0 {
			return nil, problem(http.StatusUnprocessableEntity, "update",
				"The body is no Yjs update in format v1; one in format v2 needs the parameter encoding=v2.")
		}
		return update, nil
	})
}

// edit applies to a document what change returns, if who asks may write it.
func (a *API) edit(ctx context.Context, in DocumentPath, size int, change func() ([]byte, error)) (*struct{}, error) {
	if err := a.allow(ctx, in.name(), auth.Write); err != nil {
		return nil, err
	}
	if err := take(ctx, 0, size); err != nil {
		return nil, a.fail(ctx, "change a document", err)
	}
	done, err := a.work(ctx)
	if err != nil {
		return nil, a.fail(ctx, "change a document", err)
	}
	defer done()
	update, err := change()
	if err == nil {
		err = a.apply(ctx, in.name(), update)
	}
	if err != nil {
		return nil, a.fail(ctx, "change a document", err)
	}
	return nil, nil //nolint:nilnil // There is nothing to say.
}

// number writes an operation's number.
func number(seq int64) string { return strconv.FormatInt(seq, 10) }
