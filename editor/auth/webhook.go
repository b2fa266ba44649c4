package auth

import (
	"bytes"
	"container/list"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxWebhookAnswer  = 64 << 10
	maxWebhookCalls   = 64          // at once
	webhookFailureTTL = time.Second // for which a failure is remembered, so that a broken webhook is not hammered
)

// WebhookOptions tell how the application is asked what a user may do with a document.
type WebhookOptions struct {
	// URL takes a POST with a WebhookRequest and answers a WebhookResponse.
	URL string
	// SecretFile has the secret that requests are signed with, by the rules of Options.SecretFile. The first one signs.
	SecretFile string
	// Timeout bounds a call, 2 s by default. TTL is how long an answer is used again, 30 s by default, and CacheSize how
	// many are kept, 10,000 by default.
	Timeout, TTL time.Duration
	CacheSize    int
}

// WebhookRequest is what the application is asked.
type WebhookRequest struct {
	User         string `json:"user"`
	Organization string `json:"org,omitempty"`
	Document     string `json:"document"`
	// Granted is what the token's claims allow: the answer cannot be more. It is write where the claims say nothing.
	Granted Access `json:"granted"`
}

// WebhookResponse is its answer.
type WebhookResponse struct {
	Access Access `json:"access"`
}

// webhook asks, and remembers answers. It is safe for concurrent use.
type webhook struct {
	options WebhookOptions
	secret  *SecretFile
	client  *http.Client
	clock   func() time.Time
	metrics *Metrics
	calls   chan struct{}
	spawn   func(func(context.Context)) // runs a call, until the guard closes

	mu     sync.Mutex
	known  map[WebhookRequest]*answer
	recent *list.List // of *answer, the longest unused first
}

// answer is one that is known, or that is being asked for.
type answer struct {
	question WebhookRequest
	place    *list.Element
	done     chan struct{}
	// The rest is there when done is closed.
	access  Access
	err     error
	expires time.Time
}

// ask returns the webhook's answer. Its error wraps ErrUnavailable.
func (w *webhook) ask(ctx context.Context, question WebhookRequest) (Access, error) {
	a := w.lookup(question)
	select {
	case <-a.done:
		return a.access, a.err
	case <-ctx.Done():
		return None, fmt.Errorf("%w: the permission webhook has not answered: %w", ErrUnavailable, ctx.Err())
	}
}

// lookup returns an answer that is fresh, or on its way: whoever asks the same meanwhile waits for the same call.
func (w *webhook) lookup(question WebhookRequest) *answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.known[question]; a != nil {
		select {
		case <-a.done:
			if w.clock().Before(a.expires) {
				w.recent.MoveToBack(a.place)
				w.metrics.asked("cached")
				return a
			}
			w.drop(a)
		default:
			return a
		}
	}
	a := &answer{question: question, done: make(chan struct{})}
	a.place = w.recent.PushBack(a)
	w.known[question] = a
	for w.recent.Len() > w.options.CacheSize {
		w.drop(w.recent.Front().Value.(*answer))
	}
	w.spawn(func(ctx context.Context) { w.resolve(ctx, a) })
	return a
}

func (w *webhook) drop(a *answer) {
	w.recent.Remove(a.place)
	if w.known[a.question] == a {
		delete(w.known, a.question)
	}
}

// resolve calls the webhook for an answer that others wait for.
func (w *webhook) resolve(ctx context.Context, a *answer) {
	defer close(a.done)
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	access, err := w.call(ctx, a.question)
	if err != nil {
		a.err = fmt.Errorf("%w: the permission webhook: %w", ErrUnavailable, err)
		a.expires = w.clock().Add(min(webhookFailureTTL, w.options.TTL))
		w.metrics.asked("failed")
		return
	}
	a.access, a.expires = min(access, a.question.Granted), w.clock().Add(w.options.TTL)
	w.metrics.asked("answered")
}

func (w *webhook) call(ctx context.Context, question WebhookRequest) (Access, error) {
	select {
	case w.calls <- struct{}{}:
		defer func() { <-w.calls }()
	case <-ctx.Done():
		return None, fmt.Errorf("%d calls are under way: %w", maxWebhookCalls, ctx.Err())
	}
	body, err := json.Marshal(question)
	if err != nil {
		return None, err
	}
	request, err := w.secret.Request(ctx, w.options.URL, body)
	if err != nil {
		return None, err
	}
	defer w.metrics.called(time.Now())
	response, err := w.client.Do(request)
	if err != nil {
		return None, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return None, fmt.Errorf("it answers %s", response.Status)
	}
	var answer struct {
		Access *Access `json:"access"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxWebhookAnswer)).Decode(&answer)
	if err != nil || answer.Access == nil {
		return None, fmt.Errorf(`it must answer {"access": "none"}, "read", "comment" or "write"`)
	}
	return *answer.Access, nil
}

// SignatureHeader carries Sign's signature of a webhook's request.
const SignatureHeader = "Collab-Signature"

// Sign signs a webhook's body: "t=<Unix time>,v1=<HMAC-SHA256 of the time, a full stop and the body, in hexadecimal>".
func Sign(secret []byte, at time.Time, body []byte) string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	return "t=" + seconds + ",v1=" + hex.EncodeToString(signature(secret, seconds, body))
}

func signature(secret []byte, seconds string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(seconds + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// SecretFile is a file with secrets that sign webhooks, one a line and at least 32 bytes long, of which the first signs.
// It is read again when it changes. It is safe for concurrent use.
type SecretFile struct{ file *keyFile }

// OpenSecretFile reads the file for the first time.
func OpenSecretFile(path string, log *slog.Logger) (*SecretFile, error) {
	file, err := openSecretFile(path, time.Now, log)
	if err != nil {
		return nil, err
	}
	return &SecretFile{file}, nil
}

// Request makes the request of a webhook: it posts the body, which is JSON, to the URL, signed now.
func (f *SecretFile) Request(ctx context.Context, url string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "collab-editor")
	request.Header.Set(SignatureHeader, Sign(f.file.all()[0].sign.([]byte), f.file.clock(), body))
	return request, nil
}

// VerifySignature says, in constant time, whether Sign made a header for a body at most age ago: what a receiver written
// in Go needs.
func VerifySignature(secret []byte, header string, body []byte, now time.Time, age time.Duration) bool {
	t, v1, found := strings.Cut(header, ",v1=")
	seconds, dated := strings.CutPrefix(t, "t=")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	sum, bad := hex.DecodeString(v1)
	if !found || !dated || err != nil || bad != nil || now.Sub(time.Unix(unix, 0)).Abs() > age {
		return false
	}
	return hmac.Equal(sum, signature(secret, seconds, body))
}
