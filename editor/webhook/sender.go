package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"collab.dev/operator/editor/auth"
)

const (
	// sendTimeout bounds a delivery, from the connection to the end of the answer.
	sendTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read, so that its connection can be used again; nobody looks at it.
	maxAnswer = 64 << 10
	// maxPause bounds the pause that the application may ask for.
	maxPause = time.Hour
)

// sender delivers. It is safe for concurrent use.
type sender struct {
	url    string
	secret *auth.SecretFile
	client *http.Client
}

func newSender(address, secretFile string, o Options) (*sender, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("the webhook's URL must begin with https:// or http://")
	}
	secret, err := auth.OpenSecretFile(secretFile, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("the webhook's secret: %w", err)
	}
	transport := o.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost, own.MaxResponseHeaderBytes = concurrency, maxAnswer
		transport = own
	}
	return &sender{url: address, secret: secret, client: &http.Client{
		Transport: transport, Timeout: sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// send delivers a change once. It returns the outcome, the pause before a retry that the application asked for, if it
// did, and what went wrong.
func (s *sender) send(ctx context.Context, c change) (outcome, time.Duration, error) {
	body, id := c.body()
	request, err := s.secret.Request(ctx, s.url, body)
	if err != nil {
		return refused, 0, err
	}
	request.Header.Set("Idempotency-Key", id)
	response, err := s.client.Do(request)
	if err != nil {
		return failed, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	// The status has said it all; what cannot be read of the rest costs no more than the connection.
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	o := judge(response.StatusCode)
	if o == told {
		return told, 0, nil
	}
	return o, retryAfter(response.Header.Get("Retry-After"), time.Now()), fmt.Errorf("it answers %s", response.Status)
}

// judge says what a status means.
func judge(status int) outcome {
	switch {
	case status >= 200 && status < 300:
		return told
	case status == http.StatusGone:
		return gone
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status >= 500:
		return failed
	}
	return refused // Redirects too: whoever gets the deliveries is the operator's to say.
}

// retryAfter is the pause that a Retry-After header asks for, within bounds; 0 if it asks for none.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxPause/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxPause)
	}
	return 0
}
