package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	document = "acme/plan"
	secret   = "0123456789abcdef0123456789abcdef"
	shards   = 8
	// patience is a generous bound for whatever a test awaits.
	patience = time.Minute
)

// application is the receiver. Its answers come from answer, which is called with the attempt, from 1.
type application struct {
	t      *testing.T
	answer func(attempt int, w http.ResponseWriter)

	mu       sync.Mutex
	attempts int
	got      []delivery
	busy     map[string]bool
	changed  chan struct{}
}

func newApplication(t *testing.T, answer func(attempt int, w http.ResponseWriter)) *application {
	if answer == nil {
		answer = func(int, http.ResponseWriter) {}
	}
	return &application{t: t, answer: answer, busy: map[string]bool{}, changed: make(chan struct{}, 1)}
}

// ServeHTTP checks a delivery as docs/webhooks.md says.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		a.t.Errorf("%s %v, %v", r.Method, r.Header, err)
	}
	if !auth.VerifySignature([]byte(secret), r.Header.Get(auth.SignatureHeader), body, time.Now(), time.Minute) {
		a.t.Errorf("the signature %q is wrong", r.Header.Get(auth.SignatureHeader))
	}
	var d delivery
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil || d.Type != "document.changed" || d.Organization != "acme" ||
		d.ID == "" || d.ID != r.Header.Get("Idempotency-Key") {
		a.t.Errorf("got %s, %v", body, err)
	}
	a.mu.Lock()
	if a.busy[d.Document] {
		a.t.Errorf("two deliveries of %s at a time", d.Document)
	}
	a.busy[d.Document] = true
	a.attempts++
	attempt := a.attempts
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.busy[d.Document] = false
		a.got = append(a.got, d)
		select {
		case a.changed <- struct{}{}:
		default:
		}
	}()
	a.answer(attempt, w)
}

// deliveries are all so far, also those that were not answered well.
func (a *application) deliveries() []delivery {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

// until waits for a number of deliveries.
func (a *application) until(n int) []delivery {
	a.t.Helper()
	deadline := time.After(patience)
	for len(a.deliveries()) < n {
		select {
		case <-a.changed:
		case <-deadline:
			a.t.Fatalf("%d deliveries came, not %d", len(a.deliveries()), n)
		}
	}
	return a.deliveries()
}

// RoundTrip serves a request without a network, for tests whose time is not real.
func (a *application) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() { defer close(done); a.ServeHTTP(w, r) }()
	select {
	case <-done:
		return w.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// notices are a store's memory that a test looks into.
type notices struct {
	mu      sync.Mutex
	last    map[string]storage.Notice
	told    map[string]int64
	failing bool
	calls   int
}

func newNotices() *notices {
	return &notices{last: map[string]storage.Notice{}, told: map[string]int64{}}
}

func (n *notices) Pending(_ context.Context, shard int32, after string, limit int) ([]storage.Notice, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if n.failing {
		return nil, errors.New("the store is down")
	}
	var found []storage.Notice
	for _, document := range slices.Sorted(maps.Keys(n.last)) {
		last := n.last[document]
		if storage.ShardOf(document, shards) == shard && document > after && n.told[document] < last.Seq &&
			len(found) < limit {
			found = append(found, last)
		}
	}
	return found, nil
}

func (n *notices) Delivered(_ context.Context, told map[string]int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if n.failing {
		return errors.New("the store is down")
	}
	for document, seq := range told {
		n.told[document] = max(n.told[document], seq)
	}
	return nil
}

func (n *notices) set(document string, seq int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last[document] = storage.Notice{Document: document, Seq: seq, User: "ann", Time: epoch}
}

func (n *notices) fail(failing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failing = failing
}

func (n *notices) toldOf(document string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told[document]
}

func secretFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "webhook-secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts a Notifier. What the options do not say is as short as a test needs it, or as it is in production if the
// time is not real. The returned function closes it.
func start(t *testing.T, o Options) (*Notifier, func()) {
	t.Helper()
	if o.URL == "" {
		o.URL = "http://application.example/hooks"
	}
	if o.SecretFile == "" {
		o.SecretFile = secretFile(t)
	}
	if o.Notices == nil {
		o.Notices = newNotices()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Shards = shards
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return n, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		n.Close(ctx)
	}
}

// kept is how many documents are in memory.
func (n *Notifier) kept() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.schedule.documents)
}

// serve starts a real server for the application, and a Notifier that hardly waits.
func serve(t *testing.T, app *application, o Options) (*Notifier, func()) {
	t.Helper()
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	o.URL, o.Debounce, o.MaxWait = server.URL, 5*time.Millisecond, 50*time.Millisecond
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	o.Transport = transport
	return start(t, o)
}

func TestTheApplicationIsTold(t *testing.T) {
	app, memory := newApplication(t, nil), newNotices()
	registry := prometheus.NewRegistry()
	n, stop := serve(t, app, Options{Notices: memory, Metrics: NewMetrics(registry)})
	defer stop()
	now := epoch.Add(123456789 * time.Nanosecond)
	n.Changed(document, 1, "ann", now.Add(-time.Second))
	n.Changed(document, 2, "", now.Add(-time.Second))
	n.Changed(document, 3, "bob", now)
	got := app.until(1)[0]
	if got.Document != document || got.Seq != 3 || !slices.Equal(got.Users, []string{"ann", "bob"}) ||
		!got.ChangedAt.Equal(now.Truncate(time.Microsecond)) {
		t.Errorf("got %+v", got)
	}
	n.Changed("acme/other", 1, "", now)
	if got := app.until(2)[1]; got.Document != "acme/other" || got.Users == nil || len(got.Users) != 0 {
		t.Errorf("got %+v", got)
	}
	stop()
	if memory.toldOf(document) != 3 || memory.toldOf("acme/other") != 1 {
		t.Errorf("the store knows of %v", memory.told)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	measured := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "collab_editor_webhook_")
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			measured[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]float64{
		"deliveries_total told": 2, "deliveries_total gone": 0, "deliveries_total refused": 0, "deliveries_total failed": 0,
		"deliveries_total expired": 0, "duration_seconds": 2, "waiting_documents": 0,
	}
	if !maps.Equal(measured, want) {
		t.Errorf("the metrics are %v, not %v", measured, want)
	}
}

// TestFailuresAreTriedAgain has a real server fail once in every way that trying again may help with.
func TestFailuresAreTriedAgain(t *testing.T) {
	status := func(code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code) }
	}
	for name, fail := range map[string]func(http.ResponseWriter){
		"500": status(500), "503": status(503), "408": status(408), "425": status(425), "429": status(429),
		"429 for a second": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"a connection that is reset": func(w http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a huge answer": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadGateway)
			for range 1000 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return // The sender has had enough, and tries again before long.
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failed, answered time.Time
			app := newApplication(t, func(attempt int, w http.ResponseWriter) {
				if attempt == 1 {
					failed = time.Now()
					fail(w)
				}
				answered = time.Now()
			})
			memory := newNotices()
			n, stop := serve(t, app, Options{Notices: memory})
			defer stop()
			n.Changed(document, 7, "ann", epoch)
			got := app.until(2)
			if !slices.EqualFunc(got[:1], got[1:], func(a, b delivery) bool { return a.ID == b.ID && b.Seq == 7 }) {
				t.Errorf("the second attempt is %+v, after %+v", got[1], got[0])
			}
			least := retryFrom / 2
			if strings.HasSuffix(name, "second") {
				least = time.Second
			}
			if pause := answered.Sub(failed); pause < least {
				t.Errorf("tried again after %v", pause)
			}
			stop()
			if memory.toldOf(document) != 7 {
				t.Error("the store does not know that the application was told")
			}
		})
	}
}

func TestRefusalsAreGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		told   int64
		log    string
	}{
		"400": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) }, 0, "refuses"},
		"401": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }, 0, "refuses"},
		"410": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusGone) }, 7, ""},
		"a redirect": {func(w http.ResponseWriter) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, 0, "refuses"},
	} {
		t.Run(name, func(t *testing.T) {
			app := newApplication(t, func(attempt int, w http.ResponseWriter) {
				if attempt == 1 {
					c.answer(w)
				}
			})
			memory := newNotices()
			var log bytes.Buffer
			n, stop := serve(t, app, Options{Notices: memory, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			n.Changed(document, 7, "ann", epoch)
			app.until(1)
			n.Changed("acme/other", 1, "ann", epoch)
			app.until(2)
			stop()
			if got := app.deliveries(); len(got) != 2 || got[1].Document != "acme/other" {
				t.Errorf("got %+v", got)
			}
			if memory.toldOf(document) != c.told || memory.toldOf("acme/other") != 1 {
				t.Errorf("the store knows of %v", memory.told)
			}
			if lines := strings.Count(log.String(), "\n"); !strings.Contains(log.String(), c.log) || lines > 1 {
				t.Errorf("logged %d lines: %s", lines, &log)
			}
		})
	}
}

// TestASlowApplicationHoldsUpNobodyForLong does not answer some deliveries at all.
func TestASlowApplicationHoldsUpNobodyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		app := newApplication(t, func(attempt int, _ http.ResponseWriter) {
			if attempt <= concurrency {
				<-hang
			}
		})
		n, stop := start(t, Options{Transport: app})
		for i := range 3 * concurrency {
			n.Changed(fmt.Sprintf("acme/%d", i), 1, "ann", epoch)
		}
		began := time.Now()
		app.until(2 * concurrency)
		if took := time.Since(began); took != defaultDebounce+sendTimeout {
			t.Errorf("the others were told of after %v", took)
		}
		close(hang)
		synctest.Wait()
		app.mu.Lock()
		app.busy = map[string]bool{}
		app.mu.Unlock()
		app.until(4 * concurrency) // Those that hung, and all of them.
		stop()
		if app.attempts != 4*concurrency {
			t.Errorf("%d attempts", app.attempts)
		}
	})
}

func TestAnApplicationThatIsDownForADayIsGivenUpWithOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := newApplication(t, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })
		var log bytes.Buffer
		memory := newNotices()
		n, stop := start(t, Options{
			Transport: app, Notices: memory, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		n.Changed(document, 1, "ann", epoch)
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if n.kept() != 0 {
			t.Error("the change is still to be told")
		}
		stop()
		if app.attempts < 200 || memory.toldOf(document) != 0 {
			t.Errorf("%d attempts; the store knows of %v", app.attempts, memory.told)
		}
		for _, line := range []string{"trying again", "for too long", "No change waits"} {
			if strings.Count(log.String(), line) != 1 {
				t.Errorf("%q is not logged once:\n%s", line, &log)
			}
		}
	})
}

func TestWhatTheFormerOwnerDidNotTellIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, memory := newApplication(t, nil), newNotices()
		n, stop := start(t, Options{Transport: app, Notices: memory})
		defer stop()
		mine := storage.ShardOf(document, shards)
		memory.set(document, 5)
		memory.set("acme/other", 5) // Of another shard.
		if storage.ShardOf("acme/other", shards) == mine {
			t.Fatal("choose another name")
		}
		memory.fail(true)
		n.Opened(mine)
		time.Sleep(time.Minute)
		memory.fail(false)
		began := time.Now()
		if got := app.until(1)[0]; got.Document != document || got.Seq != 5 {
			t.Errorf("got %+v", got)
		}
		if took := time.Since(began); took > readRetry+defaultDebounce+interval {
			t.Errorf("told %v after the store was back", took)
		}
		time.Sleep(time.Minute)
		if memory.toldOf(document) != 5 || len(app.deliveries()) != 1 {
			t.Errorf("the store knows of %v, %d deliveries", memory.told, len(app.deliveries()))
		}
		// Known meanwhile by itself.
		memory.set(document, 6)
		n.Opened(mine)
		n.Changed(document, 6, "ann", epoch.Add(time.Second))
		time.Sleep(time.Hour)
		if got := app.deliveries(); len(got) != 2 || got[1].Seq != 6 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestMoreThanMemoryIsForIsReadFromTheStore lets more documents change than the Notifier keeps, of which the application
// refuses some for good.
func TestMoreThanMemoryIsForIsReadFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, memory := newApplication(t, nil), newNotices()
		app.answer = func(attempt int, w http.ResponseWriter) {
			if attempt%10 == 0 {
				w.WriteHeader(http.StatusNotFound)
			}
		}
		n, stop := start(t, Options{Transport: app, Notices: memory, Limit: 50})
		const documents = 3000
		for i := range documents {
			name := fmt.Sprintf("acme/%d", i)
			memory.set(name, 1)
			n.Changed(name, 1, "ann", epoch)
			if i == documents/2 {
				for shard := range int32(shards) {
					n.Opened(shard)
				}
			}
		}
		if kept := n.kept(); kept > 50 {
			t.Errorf("%d documents are kept", kept)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		told := map[string]bool{}
		for _, d := range app.deliveries() {
			told[d.Document] = true
		}
		if len(told) != documents {
			t.Errorf("%d documents were told of", len(told))
		}
		if app.attempts > 3*documents {
			t.Errorf("%d attempts for %d documents", app.attempts, documents)
		}
		calls := memory.calls
		time.Sleep(time.Hour)
		if memory.calls != calls {
			t.Error("the store is asked again and again")
		}
		stop()
	})
}

func TestTheStoreIsToldAgainWhenItWasDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, memory := newApplication(t, nil), newNotices()
		n, stop := start(t, Options{Transport: app, Notices: memory})
		memory.fail(true)
		n.Changed(document, 1, "ann", epoch)
		time.Sleep(time.Minute)
		n.Changed(document, 2, "ann", epoch.Add(time.Second))
		n.Changed("acme/other", 9, "ann", epoch)
		time.Sleep(time.Minute)
		memory.fail(false)
		time.Sleep(2 * interval)
		if memory.toldOf(document) != 2 || memory.toldOf("acme/other") != 9 || len(app.deliveries()) != 3 {
			t.Errorf("the store knows of %v after %d deliveries", memory.told, len(app.deliveries()))
		}
		stop()
	})
}

func TestClosingTellsWhatWaitsWithinItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		app, memory := newApplication(t, nil), newNotices()
		app.answer = func(attempt int, _ http.ResponseWriter) {
			if attempt == 3 {
				<-hang
			} else {
				time.Sleep(10 * time.Millisecond)
			}
		}
		n, stop := start(t, Options{Transport: app, Notices: memory})
		n.Changed("acme/a", 1, "ann", epoch)
		n.Changed("acme/b", 1, "ann", epoch)
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("closing took %v", took)
		}
		n.Changed("acme/late", 1, "ann", epoch)
		if memory.toldOf("acme/a") != 1 || memory.toldOf("acme/b") != 1 || app.attempts != 2 {
			t.Errorf("the store knows of %v after %d attempts", memory.told, app.attempts)
		}
		n, stop = start(t, Options{Transport: app, Notices: memory})
		n.Changed("acme/c", 1, "ann", epoch)
		began = time.Now()
		stop()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("closing took %v while the application hangs", took)
		}
		if memory.toldOf("acme/c") != 0 {
			t.Error("the store believes that the application was told")
		}
		close(hang)
		synctest.Wait()
	})
}

// TestAChangeOutlivesTheProcess ends the process before the application was told, with the store of the single-process
// mode.
func TestAChangeOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		open := func() (*embedded.Store, storage.Shard) {
			store, err := embedded.Open(embedded.Options{
				Directory: directory, Shards: shards, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			shard, err := store.Open(t.Context(), storage.ShardOf(document, shards), 1, "a")
			if err != nil {
				t.Fatal(err)
			}
			return store, shard
		}
		store, shard := open()
		app := newApplication(t, func(attempt int, w http.ResponseWriter) {
			if attempt == 1 {
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		n, _ := start(t, Options{Transport: app, Notices: store})
		changed := make(chan error)
		changedAt := time.Now()
		shard.Append(storage.Entry{Document: document, Seq: 1, Time: changedAt, User: "ann", Update: []byte("u")},
			func(err error) { changed <- err })
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		n.Changed(document, 1, "ann", changedAt)
		app.until(1)
		n.cancel() // As if it had died.
		n.wait.Wait()
		if err := store.Close(t.Context()); err != nil {
			t.Fatal(err)
		}

		store, _ = open()
		n, stop := start(t, Options{Transport: app, Notices: store})
		n.Opened(storage.ShardOf(document, shards))
		got := app.until(2)
		if got[1].ID != got[0].ID || got[1].Seq != 1 || !slices.Equal(got[1].Users, []string{"ann"}) {
			t.Errorf("got %+v after %+v", got[1], got[0])
		}
		stop()
		if left, err := store.Pending(t.Context(), storage.ShardOf(document, shards), "", 10); err != nil || len(left) != 0 {
			t.Errorf("%v is still to be told, %v", left, err)
		}
		if err := store.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWrongOptionsAreExplained(t *testing.T) {
	for _, address := range []string{"", "ftp://a.example", "hooks", "https://"} {
		if _, err := New(Options{URL: address, SecretFile: secretFile(t), Notices: newNotices()}); err == nil {
			t.Errorf("the URL %q was taken", address)
		}
	}
	if _, err := New(Options{URL: "https://a.example", SecretFile: "none", Notices: newNotices()}); err == nil {
		t.Error("no secret was taken")
	}
}

func TestRetryAfterIsUnderstoodWithinBounds(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "0": 0, "7": 7 * time.Second, "99999999": maxPause, "9223372036854775807": maxPause,
		"99999999999999999999":                             0,
		epoch.Add(9 * time.Second).Format(http.TimeFormat): 9 * time.Second,
		epoch.Add(-time.Hour).Format(http.TimeFormat):      0,
		epoch.Add(48 * time.Hour).Format(http.TimeFormat):  maxPause,
	} {
		if got := retryAfter(header, epoch); got != want {
			t.Errorf("Retry-After: %s means %v, not %v", header, got, want)
		}
	}
}

func BenchmarkChanged(b *testing.B) {
	n := &Notifier{schedule: *newSchedule(defaultLimit), wake: make(chan struct{}, 1), options: Options{Shards: shards}}
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("acme/%d", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.Changed(names[i%len(names)], int64(i), "ann", epoch)
	}
}
