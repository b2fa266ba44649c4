package rest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/ratelimit"
)

// caller is who asks, and for what.
type caller struct {
	// name is the user or, where everybody is anonymous, an address, which no user's name can be.
	name string
	// document is what the request is about, as far as its path tells.
	document string
	// limit is what the request counts against; nil for nothing.
	limit *ratelimit.Connection
}

type callerKey struct{}

// callerOf is who asks; nobody for what everybody may ask.
func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// about says what a part of a request is about.
func about(ctx context.Context, document string) context.Context {
	who := callerOf(ctx)
	who.document = document
	return context.WithValue(ctx, callerKey{}, who)
}

// admit counts every request as an operation of who asks, whatever it asks for, and as a connection while it lasts.
func (a *API) admit(ctx huma.Context, next func(huma.Context)) {
	identity := auth.IdentityFrom(ctx.Context())
	if identity == nil { // Everybody may ask that.
		next(ctx)
		return
	}
	organization := ctx.Param("organization")
	who := caller{name: identity.User, document: organization + "/" + ctx.Param("document")}
	if who.name == "" {
		host, _, _ := net.SplitHostPort(ctx.RemoteAddr())
		who.name = "\x00" + host
	}
	if a.opts.Limiter != nil {
		var err error
		if who.limit, err = a.opts.Limiter.Connection(who.name, organization); err != nil {
			a.refuse(ctx, tooMany(1, err.Error()))
			return
		}
		defer who.limit.Close()
	}
	ctx = huma.WithValue(ctx, callerKey{}, who)
	if err := take(ctx.Context(), 1, 0); err != nil {
		a.refuse(ctx, err)
		return
	}
	next(ctx)
}

// take counts operations and bytes against the rates of who asks, which may have to wait.
func take(ctx context.Context, operations, bytes int) error {
	limit := callerOf(ctx).limit
	if limit == nil {
		return nil
	}
	wait, ok := limit.Take(time.Now(), operations, bytes)
	if !ok {
		return errFlood
	}
	return pause(ctx, wait)
}

// pace takes as much as there is of a stream, which is read no faster than its sender's rates allow.
func pace(ctx context.Context, operations, bytes int) error {
	for {
		err := take(ctx, operations, bytes)
		if !errors.Is(err, errFlood) {
			return err
		}
		if err := pause(ctx, pacePause); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the rate limit: %w", ctx.Err())
	}
}

// errFlood says that somebody asks for too much.
var errFlood = tooMany(10, "too many requests or changes: send fewer, or batch them")

func tooMany(seconds int, detail string) error {
	return huma.ErrorWithHeaders(problem(http.StatusTooManyRequests, "limit", detail),
		http.Header{"Retry-After": {fmt.Sprint(seconds)}})
}

// refuse answers a request whose body nobody has read.
func (a *API) refuse(ctx huma.Context, err error) {
	_, w := humago.Unwrap(ctx)
	err = a.fail(ctx.Context(), "read a request", err)
	var headers huma.HeadersError
	if errors.As(err, &headers) {
		maps.Copy(w.Header(), headers.GetHeaders())
	}
	var p *huma.ErrorModel
	if !errors.As(err, &p) {
		p = problem(http.StatusServiceUnavailable, "unavailable", "The request cannot be read now; try again.")
	}
	w.Header().Set("Content-Type", problemType)
	ctx.SetStatus(p.Status)
	encode(w, p)
}

// turns are places that requests wait for. Nobody has more than a quarter of them, so that nobody keeps others out.
type turns struct {
	all chan struct{}

	mu      sync.Mutex
	callers map[string]*share
}

// share is what a caller has of them. requests have it or wait for it.
type share struct {
	places   chan struct{}
	requests int
}

func newTurns(places int) *turns {
	return &turns{all: make(chan struct{}, places), callers: map[string]*share{}}
}

// take waits for a place, for a while. done has to be called when it is free again.
func (t *turns) take(ctx context.Context, who string) (done func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	mine := t.enter(who)
	if err := occupy(waiting, mine.places); err != nil {
		t.leave(who, mine)
		return nil, late(ctx, "You have too many requests of this kind at once; wait for their answers.")
	}
	free := func() {
		<-mine.places
		t.leave(who, mine)
	}
	if err := occupy(waiting, t.all); err != nil {
		free()
		return nil, late(ctx, "This server works on too many documents now; try again.")
	}
	return func() { <-t.all; free() }, nil
}

func occupy(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// late says why somebody has got no turn.
func late(ctx context.Context, detail string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("wait for other requests: %w", ctx.Err())
	}
	return later("busy", detail)
}

func (t *turns) enter(who string) *share {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.callers[who]
	if mine == nil {
		mine = &share{places: make(chan struct{}, max(cap(t.all)/4, 1))}
		t.callers[who] = mine
	}
	mine.requests++
	return mine
}

func (t *turns) leave(who string, mine *share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.requests--; mine.requests == 0 {
		delete(t.callers, who)
	}
}
