package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// application is one that is asked for permissions.
type application struct {
	t     *testing.T
	guard *Guard

	mu        sync.Mutex
	now       time.Time
	questions []string
	answer    func(w http.ResponseWriter, r *http.Request)
}

// newApplication starts an application, and a guard that asks it.
func newApplication(t *testing.T, o WebhookOptions, answer func(w http.ResponseWriter, r *http.Request)) *application {
	t.Helper()
	a := &application{t: t, now: time.Now(), answer: answer}
	server := httptest.NewServer(a)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		server.Close()
		client.CloseIdleConnections()
	})
	o.URL, o.SecretFile = server.URL+"/permissions", write(t, "webhook", secretB)
	a.guard = newGuard(t, Options{Webhook: &o, HTTPClient: client, Clock: func() time.Time {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.now
	}})
	return a
}

// says answers with an access.
func says(access string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"access":"`+access+`"}`) }
}

// ServeHTTP is asked.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.mu.Lock()
	a.questions = append(a.questions, string(body))
	if r.Method != http.MethodPost || r.URL.Path != "/permissions" || r.Header.Get("Content-Type") != "application/json" ||
		!VerifySignature([]byte(secretB), r.Header.Get(SignatureHeader), body, a.now, time.Second) {
		a.t.Errorf("asked by %s %s with %v", r.Method, r.URL, r.Header)
	}
	answer := a.answer
	a.mu.Unlock()
	answer(w, r)
}

func (a *application) change(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *application) pass(d time.Duration) { a.change(func() { a.now = a.now.Add(d) }) }

// asked fails unless the application was asked so often.
func (a *application) asked(want int) {
	a.t.Helper()
	a.change(func() {
		if len(a.questions) != want {
			a.t.Errorf("asked %d times instead of %d: %v", len(a.questions), want, a.questions)
		}
	})
}

// may asks what somebody with such a token may do with a document.
func (a *application) may(document string, claims object) (Access, error) {
	a.t.Helper()
	identity, err := a.guard.Authenticate(a.t.Context(), hs256(a.t, claims))
	if err != nil {
		a.t.Fatal(err)
	}
	return a.guard.Authorize(a.t.Context(), identity, document)
}

// want fails unless ada may do that much with acme/plan; an error means that nobody knows.
func (a *application) want(want Access, unknown error) {
	a.t.Helper()
	if got, err := a.may("acme/plan", nil); got != want || !errors.Is(err, unknown) {
		a.t.Errorf("%v, %v instead of %v, %v", got, err, want, unknown)
	}
}

func TestTheApplicationSaysWhatIsAllowedWithinTheClaims(t *testing.T) {
	for name, c := range map[string]struct {
		claims   object
		document string
		answer   string
		want     Access
		question string
	}{
		"less":     {nil, "acme/plan", "read", Read, `{"user":"ada","org":"acme","document":"acme/plan","granted":"write"}`},
		"nothing":  {nil, "acme/plan", "none", None, `{"user":"ada","org":"acme","document":"acme/plan","granted":"write"}`},
		"the same": {nil, "acme/plan", "write", Write, `{"user":"ada","org":"acme","document":"acme/plan","granted":"write"}`},
		"more than is granted": {object{"docs": object{"*": "read"}}, "acme/plan", "write", Read,
			`{"user":"ada","org":"acme","document":"acme/plan","granted":"read"}`},
		"it decides alone": {object{"docs": nil}, "acme/plan", "comment", Comment,
			`{"user":"ada","org":"acme","document":"acme/plan","granted":"write"}`},
		"not about others":      {object{"docs": nil}, "other/plan", "write", None, ""},
		"not about what is not": {object{"docs": object{"a-*": "write"}}, "acme/plan", "write", None, ""},
		"without an organization about all": {object{"docs": nil, "org": nil}, "other/plan", "write", Write,
			`{"user":"ada","document":"other/plan","granted":"write"}`},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApplication(t, WebhookOptions{}, says(c.answer))
			if got, err := a.may(c.document, c.claims); got != c.want || err != nil {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
			if got := strings.Join(a.questions, "\n"); got != c.question {
				t.Errorf("asked %s\nwant  %s", got, c.question)
			}
		})
	}
}

func TestAnAnswerIsUsedForAWhile(t *testing.T) {
	a := newApplication(t, WebhookOptions{}, says("read"))
	a.want(Read, nil)
	a.change(func() { a.answer = says("write") })
	a.pass(29 * time.Second)
	a.want(Read, nil)
	a.asked(1)
	if got, err := a.may("acme/other", nil); got != Write || err != nil {
		t.Errorf("another document: %v, %v", got, err)
	}
	if got, err := a.may("acme/plan", object{"sub": "bob"}); got != Write || err != nil {
		t.Errorf("another user: %v, %v", got, err)
	}
	if got, err := a.may("acme/plan", object{"docs": object{"*": "comment"}}); got != Comment || err != nil {
		t.Errorf("another token: %v, %v", got, err)
	}
	a.asked(4)
	a.pass(2 * time.Second)
	a.want(Write, nil)
	a.asked(5)
}

func TestAFailureIsRememberedForASecond(t *testing.T) {
	a := newApplication(t, WebhookOptions{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	a.want(None, ErrUnavailable)
	a.change(func() { a.answer = says("write") })
	a.pass(900 * time.Millisecond)
	a.want(None, ErrUnavailable)
	a.asked(1)
	a.pass(200 * time.Millisecond)
	a.want(Write, nil)
	a.asked(2)
}

func TestWhatIsNoAnswerIsANo(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": "", "no JSON": "write", "no access": "{}", "null": `{"access":null}`, "another word": `{"access":"admin"}`,
		"a number": `{"access":3}`, "too long": `{"more":"` + strings.Repeat("x", maxWebhookAnswer) + `","access":"write"}`,
	} {
		t.Run(name, func(t *testing.T) {
			newApplication(t, WebhookOptions{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }).
				want(None, ErrUnavailable)
		})
	}
	for _, status := range []int{http.StatusCreated, http.StatusNoContent, http.StatusForbidden, http.StatusNotFound} {
		newApplication(t, WebhookOptions{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }).
			want(None, ErrUnavailable)
	}
}

func TestQuestionsGoNowhereElse(t *testing.T) {
	var reached atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Store(true)
		says("write")(w, r)
	}))
	defer elsewhere.Close()
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		a := newApplication(t, WebhookOptions{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, status)
		})
		a.want(None, ErrUnavailable)
		a.asked(1)
	}
	if reached.Load() {
		t.Error("a redirection was followed")
	}
}

func TestWhoAsksTheSameSharesACall(t *testing.T) {
	release := make(chan struct{})
	a := newApplication(t, WebhookOptions{Timeout: time.Minute}, func(w http.ResponseWriter, r *http.Request) {
		<-release
		says("read")(w, r)
	})
	var asking atomic.Int32
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			asking.Add(1)
			a.want(Read, nil)
		})
	}
	eventually(t, "all ask", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return asking.Load() == 20 && len(a.questions) > 0
	})
	close(release)
	wait.Wait()
	a.asked(1)
}

func TestNoAnswerInTimeIsANo(t *testing.T) {
	release := make(chan struct{})
	hang := func(http.ResponseWriter, *http.Request) { <-release }
	a := newApplication(t, WebhookOptions{}, hang)
	if o := a.guard.webhook.options; o.Timeout != 2*time.Second || o.TTL != 30*time.Second {
		t.Errorf("by default a call may take %v, and an answer is used for %v", o.Timeout, o.TTL)
	}
	defer close(release) // Before the servers wait for their handlers.
	newApplication(t, WebhookOptions{Timeout: 50 * time.Millisecond}, hang).want(None, ErrUnavailable)
	// Who leaves does not take the call along.
	identity, err := a.guard.Authenticate(t.Context(), hs256(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if access, err := a.guard.Authorize(ctx, identity, "acme/plan"); access != None || !errors.Is(err, ErrUnavailable) ||
		!errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", access, err)
	}
	eventually(t, "the application is asked", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.questions) == 1
	})
}

func TestCallsAndAnswersAreBounded(t *testing.T) {
	release := make(chan struct{})
	var calls, most atomic.Int32
	a := newApplication(t, WebhookOptions{Timeout: time.Minute, CacheSize: 10}, func(w http.ResponseWriter, r *http.Request) {
		for n := calls.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-release
		calls.Add(-1)
		says("read")(w, r)
	})
	const documents = maxWebhookCalls + 20
	var wait sync.WaitGroup
	for i := range documents {
		wait.Go(func() {
			if got, err := a.may(fmt.Sprintf("acme/d%d", i), nil); got != Read || err != nil {
				t.Errorf("document %d: %v, %v", i, got, err)
			}
		})
	}
	eventually(t, "as many calls as may be", func() bool { return calls.Load() == maxWebhookCalls })
	close(release)
	wait.Wait()
	if most.Load() != maxWebhookCalls {
		t.Errorf("%d calls at once", most.Load())
	}
	a.asked(documents)
	w := a.guard.webhook
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) > 10 || w.recent.Len() > 10 {
		t.Errorf("%d answers are kept", len(w.known))
	}
}

func TestAClosedGuardWaitsForNoAnswer(t *testing.T) {
	release := make(chan struct{})
	a := newApplication(t, WebhookOptions{Timeout: time.Minute}, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	done := make(chan struct{})
	go func() { defer close(done); a.want(None, ErrUnavailable) }()
	eventually(t, "the application is asked", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.questions) == 1
	})
	a.guard.Close()
	<-done
}
