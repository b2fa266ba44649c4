// Package rest owns the REST API under /api/v1, for application servers and their operators: documents, their content in
// the formats of others, their history, and export and import of organizations. docs/rest.md tells how it is used,
// docs/openapi.json describes it, and so does the service itself.
//
// It asks the guard who may do what, the catalogue what there is, and takes part in documents as a client does, wherever
// their owners are. It knows nothing of shards, and of how anything is stored.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/document"
	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/ratelimit"
	"collab.dev/operator/editor/storage"
)

const (
	// Prefix is what all paths of the API begin with.
	Prefix = "/api/v1"

	// ownerTimeout bounds what a document's owner is asked for. A new owner is there in much less.
	ownerTimeout = 15 * time.Second
	// storeTimeout bounds what the stores are asked for.
	storeTimeout = 30 * time.Second
	// bodyTimeout bounds the reading of a request's body.
	bodyTimeout = time.Minute
	// turnTimeout is how long a request waits for others that have whole documents in memory.
	turnTimeout = 15 * time.Second
	// answerTimeout bounds a whole request, whose client may be slow to read; streams prolong it line by line.
	answerTimeout = 5 * time.Minute
	// parallel is how many requests may have whole documents in memory at the same time, imports how many imports may come
	// in, and asking how many documents of a list are asked for at a time.
	parallel, imports, asking = 16, 4, 16
	// pacePause is how long a stream is not read that is far beyond its sender's rates.
	pacePause = time.Second
	// maxJSON bounds bodies that describe something.
	maxJSON = 64 << 10
	// defaultMaxDocument bounds documents if the options do not.
	defaultMaxDocument = 32 << 20
)

// Options are what the API needs.
type Options struct {
	// Guard says who may do what; auth.Open if it is nil.
	Guard *auth.Guard
	// Catalog says which documents there are, and tells their history.
	Catalog storage.Catalog
	// Clients takes part in documents.
	Clients *edge.Edge
	// Limiter bounds what users do, as on WebSockets; nil bounds nothing.
	Limiter *ratelimit.Limiter
	// MaxDocumentBytes bounds updates and texts; 32 MiB if it is 0.
	MaxDocumentBytes int
	// Ready says whether this process can serve documents.
	Ready func() bool
	// Metrics takes what is measured. Optional.
	Metrics *Metrics
	// Logger takes what went wrong here.
	Logger *slog.Logger
}

// API serves the REST API. It is an http.Handler for Prefix, safe for concurrent use.
type API struct {
	opts    Options
	handler http.Handler
	huma    huma.API
	// busy are the places of requests that have a whole document in memory, bodies of those that read what may be as large,
	// and imports of those that read documents one after the other.
	busy, bodies, imports *turns
}

// New returns the API.
func New(opts Options) *API {
	if opts.Guard == nil {
		opts.Guard = auth.Open()
	}
	if opts.MaxDocumentBytes <= 0 {
		opts.MaxDocumentBytes = defaultMaxDocument
	}
	a := &API{opts: opts, busy: newTurns(parallel), bodies: newTurns(2 * parallel), imports: newTurns(imports)}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Documents", "1")
	config.Info.Description = "Documents of Yjs clients: what there is, its content, and its history."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = Prefix+"/openapi", "", ""
	config.CreateHooks = nil // Answers carry nothing but what is described.
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An access token; see docs/security.md."},
		"cookie": {Type: "apiKey", In: "cookie", Name: "__Host-collab-access",
			Description: "What /auth/login sets; see docs/security.md."},
	}
	config.Security = []map[string][]string{{"bearer": {}}, {"cookie": {}}}
	a.huma = humago.New(mux, config)
	a.huma.UseMiddleware(a.measure, a.admit)
	a.registerHealth()
	a.registerDocuments()
	a.registerContent()
	a.registerHistory()
	a.registerArchive()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { missing(mux, w, r) })
	guarded := opts.Guard.Middleware(mux)
	// Pages of other sites may not change anything, even where no token is wanted.
	a.handler = opts.Guard.Pages(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(open, r.URL.Path) {
			mux.ServeHTTP(w, r)
		} else {
			guarded.ServeHTTP(w, r)
		}
	}), methods...)
	return a
}

// methods are those by which anything is asked for.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// open are the paths that anybody may read.
var open = []string{Prefix + "/health", Prefix + "/ready", Prefix + "/openapi.json", Prefix + "/openapi.yaml"}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// Who does not read must not keep answers in memory for ever. Where this is not supported the server bounds it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	answer := &answer{ResponseWriter: w}
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(fault)
		}
		a.opts.Logger.Error("A request failed by a fault of the program", "method", r.Method, "path", r.URL.Path,
			"fault", fault, "stack", string(debug.Stack()))
		if answer.begun {
			panic(http.ErrAbortHandler) // The client sees that it ends too early.
		}
		write(w, problem(http.StatusInternalServerError, "internal", "The server failed; the log tells why."))
	}()
	a.handler.ServeHTTP(answer, r)
}

// answer knows whether the client was told something already.
type answer struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// OpenAPI returns the description of the API as JSON.
func (a *API) OpenAPI() ([]byte, error) {
	description, err := a.huma.OpenAPI().MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	return description, nil
}

// missing answers requests for what is not there, or not by this method.
func missing(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range methods {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		write(w, problem(http.StatusNotFound, "not-found", "There is nothing here; see "+Prefix+"/openapi.json."))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	write(w, problem(http.StatusMethodNotAllowed, "method", "Use "+strings.Join(allowed, " or ")+"."))
}

// problem is an error as RFC 9457 writes it. kind names the sort of problem, for programs.
func problem(status int, kind, detail string) *huma.ErrorModel {
	return &huma.ErrorModel{
		Type: "urn:collab:problem:" + kind, Title: http.StatusText(status), Status: status, Detail: detail,
	}
}

// later is a problem that goes away by itself.
func later(kind, detail string) error {
	return huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, kind, detail), http.Header{"Retry-After": {"1"}})
}

// fail turns what went wrong into what the client is told. What the client is not to blame for is logged.
func (a *API) fail(ctx context.Context, what string, err error) error {
	var known huma.StatusError
	var refused *edge.RefusedError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, storage.ErrNotFound):
		return problem(http.StatusNotFound, "not-found",
			"There is no such document or version, or the history does not reach back to it.")
	case errors.Is(err, storage.ErrExists):
		return problem(http.StatusConflict, "exists", "There is such a document already; it may be a deleted one.")
	case errors.Is(err, storage.ErrConflict):
		return problem(http.StatusPreconditionFailed, "changed", "The document was changed meanwhile: read it again.")
	case errors.Is(err, storage.ErrDeleted), errors.Is(err, edge.ErrDeleted):
		return problem(http.StatusGone, "deleted", "The document is deleted; it can be restored.")
	case errors.Is(err, storage.ErrRecord):
		return problem(http.StatusUnprocessableEntity, "invalid", err.Error())
	case errors.Is(err, edge.ErrDraining):
		return later("draining", "This server is about to stop; ask again to reach another one.")
	case errors.As(err, &refused) && refused.Reason == document.TooLarge:
		return problem(http.StatusRequestEntityTooLarge, "too-large", "The document would become larger than it may be.")
	case errors.As(err, &refused):
		return problem(http.StatusUnprocessableEntity, "refused", "The change was refused: "+string(refused.Reason)+".")
	case errors.Is(ctx.Err(), context.Canceled): // The client has left, and will never know.
		return problem(http.StatusServiceUnavailable, "cancelled", "The request was cancelled.")
	case errors.Is(err, context.DeadlineExceeded):
		a.logger(ctx).Warn("A request took too long", "doing", what, "error", err)
		return later("unavailable", "The document's owner or the stores do not answer in time; try again.")
	default:
		a.logger(ctx).Error("A request failed", "doing", what, "error", err)
		return later("unavailable", "The stores cannot be used now; try again.")
	}
}

// logger names who asks, and for what.
func (a *API) logger(ctx context.Context) *slog.Logger {
	log := a.opts.Logger
	if name := strings.Trim(callerOf(ctx).document, "/"); name != "" {
		log = log.With("document", name)
	}
	if name := user(ctx); name != "" {
		log = log.With("user", name)
	}
	return log
}

// OrganizationPath is the path of what a request is about.
type OrganizationPath struct {
	Organization string `path:"organization" pattern:"^[A-Za-z0-9][A-Za-z0-9._~-]{0,62}$" doc:"the organization"`
}

// DocumentPath is the path of what a request is about.
type DocumentPath struct {
	OrganizationPath
	Document string `path:"document" pattern:"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$" doc:"the document's name within the organization"`
}

func (p DocumentPath) name() string { return p.Organization + "/" + p.Document }

// user is who asks.
func user(ctx context.Context) string {
	if identity := auth.IdentityFrom(ctx); identity != nil {
		return identity.User
	}
	return ""
}

// access is what who asks may do with a document.
func (a *API) access(ctx context.Context, name string) (auth.Access, error) {
	access, err := a.opts.Guard.Authorize(ctx, auth.IdentityFrom(ctx), name)
	if err != nil {
		a.opts.Logger.Warn("Nobody could say who may use a document", "document", name, "user", user(ctx), "error", err)
		return auth.None, later("permissions", "Permissions cannot be checked now; try again.")
	}
	return access, nil
}

// accesses are what who asks may do with each of several documents. Not too many are asked for at a time.
func (a *API) accesses(ctx context.Context, records []storage.Record) ([]auth.Access, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out, places := make([]auth.Access, len(records)), make(chan struct{}, asking)
	var wait sync.WaitGroup
	for i, r := range records {
		if occupy(ctx, places) != nil {
			break // One could not be asked for.
		}
		wait.Go(func() {
			defer func() { <-places }()
			access, err := a.access(ctx, r.Document)
			if out[i] = access; err != nil {
				cancel(err)
			}
		})
	}
	wait.Wait()
	return out, context.Cause(ctx)
}

// living fails unless there is such a document, which is not deleted.
func (a *API) living(ctx context.Context, name string) (storage.Record, error) {
	record, err := a.opts.Catalog.Get(ctx, name)
	if err == nil && record.Deleted != nil {
		err = storage.ErrDeleted
	}
	return record, err
}

// allow fails unless who asks may do that much with the document.
func (a *API) allow(ctx context.Context, name string, want auth.Access) error {
	access, err := a.access(ctx, name)
	if err == nil && access < want {
		err = problem(http.StatusForbidden, "forbidden", fmt.Sprintf("This needs the permission to %s %s.", want, name))
	}
	return err
}

// work waits for its turn to have a whole document in memory. done has to be called afterwards.
func (a *API) work(ctx context.Context) (done func(), err error) {
	return a.busy.take(ctx, callerOf(ctx).name)
}

// beforeBody lets requests with large bodies begin: what who asks may not do, or what is too much at once, is refused
// before it is read.
func (a *API) beforeBody(ctx huma.Context, next func(huma.Context)) {
	err := a.allow(ctx.Context(), ctx.Param("organization")+"/"+ctx.Param("document"), auth.Write)
	var done func()
	if err == nil {
		done, err = a.bodies.take(ctx.Context(), callerOf(ctx.Context()).name)
	}
	if err != nil {
		a.refuse(ctx, err)
		return
	}
	defer done()
	next(ctx)
}

// store is the context for asking the stores.
func store(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}

type statusOutput struct {
	Body struct {
		Status string `json:"status" enum:"ok" doc:"that all is well"`
	}
}

func (a *API) registerHealth() {
	answer := func() *statusOutput {
		out := &statusOutput{}
		out.Body.Status = "ok"
		return out
	}
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-health", Method: http.MethodGet, Path: Prefix + "/health", Tags: []string{"Service"},
		Summary: "Whether the process runs", Security: []map[string][]string{},
	}, func(context.Context, *struct{}) (*statusOutput, error) { return answer(), nil })
	huma.Register(a.huma, huma.Operation{
		OperationID: "get-ready", Method: http.MethodGet, Path: Prefix + "/ready", Tags: []string{"Service"},
		Summary: "Whether the process serves documents", Security: []map[string][]string{}, Errors: []int{503},
	}, func(context.Context, *struct{}) (*statusOutput, error) {
		if a.opts.Clients.Draining() || a.opts.Ready != nil && !a.opts.Ready() {
			return nil, later("not-ready", "This server serves no documents now.")
		}
		return answer(), nil
	})
}
