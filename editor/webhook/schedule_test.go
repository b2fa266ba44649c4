package webhook

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func newSchedule(limit int) *schedule {
	return &schedule{
		debounce: 2 * time.Second, maxWait: 10 * time.Second, limit: limit, random: func() float64 { return 0.5 },
		documents: map[string]*entry{},
	}
}

// at is a time as seconds since the epoch.
func at(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }

func TestChangesGatherUntilADocumentIsQuiet(t *testing.T) {
	every := func(pause, until float64) (times []float64) {
		for s := 0.0; s <= until; s += pause {
			times = append(times, s)
		}
		return times
	}
	for name, c := range map[string]struct {
		changes []float64
		want    string
	}{
		"one change":           {[]float64{0}, "1@2"},
		"a few changes":        {[]float64{0, 1, 2.5}, "3@4.5"},
		"two bursts":           {[]float64{0, 1, 5, 6}, "2@3 4@8"},
		"on the very moment":   {[]float64{0, 2, 3}, "1@2 3@5"},
		"somebody never stops": {every(1, 25), "10@10 20@20 26@27"},
	} {
		s := newSchedule(10)
		got := ""
		deliver := func(until time.Time) {
			for next, ok := s.next(); ok && !next.After(until); next, ok = s.next() {
				if c, ok := s.take(next); ok {
					got += fmt.Sprintf(" %d@%v", c.seq, next.Sub(epoch).Seconds())
					s.done(next, c.document, told, 0)
				}
			}
		}
		for i, seconds := range c.changes {
			deliver(at(seconds))
			s.changed(at(seconds), "acme/plan", int64(i+1), "u", at(seconds))
		}
		deliver(at(1000))
		if got != " "+c.want {
			t.Errorf("%s: told%s, not %s", name, got, c.want)
		}
	}
}

func TestAFailedDeliveryIsMergedWithWhatCameSince(t *testing.T) {
	s := newSchedule(10)
	s.changed(at(0), "acme/plan", 1, "ann", at(0))
	first, _ := s.take(at(2))
	s.changed(at(3), "acme/plan", 2, "bob", at(3))
	s.changed(at(3), "acme/plan", 3, "ann", at(3))
	if c, ok := s.take(at(100)); ok {
		t.Fatalf("%+v is delivered while %+v is", c, first)
	}
	if o := s.done(at(4), "acme/plan", failed, 0); o != failed {
		t.Errorf("the outcome is %v", o)
	}
	if c, ok := s.take(at(4.74)); ok {
		t.Fatalf("%+v is delivered at once", c)
	}
	second, ok := s.take(at(4.75))
	if !ok || second.seq != 3 || !second.at.Equal(at(3)) || !slices.Equal(second.users, []string{"ann", "bob"}) {
		t.Errorf("delivered %+v, %v", second, ok)
	}
	s.done(at(5), "acme/plan", failed, time.Minute)
	if c, ok := s.take(at(64.9)); ok {
		t.Fatalf("%+v is delivered before the application wants it", c)
	}
	if _, ok := s.take(at(65)); !ok {
		t.Fatal("nothing is delivered when the application wants it")
	}
	if s.done(at(66), "acme/plan", told, 0); len(s.documents) != 0 || len(s.queue) != 0 || s.retrying != 0 {
		t.Errorf("%d documents, %d in the queue and %d to retry are left", len(s.documents), len(s.queue), s.retrying)
	}
}

func TestADeliveryThatAlwaysFailsIsGivenUpAfterADay(t *testing.T) {
	s := newSchedule(10)
	s.changed(at(0), "acme/plan", 1, "u", at(0))
	attempts := 0
	for attempts < 1000 {
		now, ok := s.next()
		if !ok {
			t.Fatal("nothing is tried anymore")
		}
		c, ok := s.take(now)
		if !ok {
			continue
		}
		attempts++
		if s.done(now, c.document, failed, 0) == expired {
			if after := now.Sub(epoch); after > retryFor+retryUpTo || after < retryFor-retryUpTo {
				t.Errorf("given up after %v", after)
			}
			break
		}
	}
	if attempts < 200 || attempts > 500 {
		t.Errorf("%d attempts in a day", attempts)
	}
	if len(s.documents) != 0 || s.retrying != 0 {
		t.Errorf("%d documents are left, %d to retry", len(s.documents), s.retrying)
	}
}

func TestWhatIsKnownIsLeftAlone(t *testing.T) {
	s := newSchedule(10)
	s.changed(at(0), "acme/plan", 5, "u", at(0))
	s.changed(at(1), "acme/plan", 5, "u", at(0)) // As the store says.
	if _, ok := s.take(at(2)); !ok {
		t.Fatal("a known change has the others wait")
	}
	s.changed(at(2), "acme/plan", 4, "u", at(-1))
	if s.done(at(3), "acme/plan", told, 0); len(s.documents) != 0 {
		t.Error("an old change is told of after a newer one")
	}
	s.changed(at(4), "acme/plan", 6, "u", at(4))
	s.changed(at(5), "acme/plan", 1, "v", at(5)) // Purged and begun anew.
	if c, ok := s.take(at(7)); !ok || c.seq != 1 {
		t.Errorf("the document that began anew: %+v, %v", c, ok)
	}
}

func TestUsersAndDocumentsAreBounded(t *testing.T) {
	s := newSchedule(2)
	for n := range int64(1000) {
		s.changed(at(0), "acme/plan", n+1, fmt.Sprint(n%100), at(float64(n)))
	}
	s.changed(at(0), "acme/b", 1, "", at(0))
	if s.changed(at(0), "acme/c", 1, "u", at(0)) {
		t.Error("a third document was taken")
	}
	if !s.changed(at(0), "acme/plan", 1001, "u", at(2000)) {
		t.Error("a known document was not taken")
	}
	for c, ok := s.take(at(5)); ok; c, ok = s.take(at(5)) {
		if c.document == "acme/plan" && len(c.users) != maxUsers || c.document == "acme/b" && len(c.users) != 0 {
			t.Errorf("%s: %d users", c.document, len(c.users))
		}
	}
}

func TestNothingWaitsWhenClosing(t *testing.T) {
	s := newSchedule(10)
	for _, document := range []string{"acme/failed", "acme/failing", "acme/sending"} {
		s.changed(at(0), document, 1, "u", at(0))
		s.take(at(2))
	}
	s.done(at(2), "acme/failed", failed, 0)
	s.changed(at(2), "acme/waiting", 1, "u", at(2))
	s.changed(at(2), "acme/sending", 2, "u", at(2))
	s.changed(at(2), "acme/failing", 2, "u", at(2))
	if forgotten := s.flush(); forgotten != 1 {
		t.Errorf("%d documents are forgotten", forgotten)
	}
	s.done(at(2), "acme/failing", failed, 0)
	s.done(at(2), "acme/sending", told, 0)
	var got []string
	for c, ok := s.take(at(2)); ok; c, ok = s.take(at(2)) {
		got = append(got, fmt.Sprint(c.document, c.seq))
		s.done(at(2), c.document, told, 0)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"acme/sending2", "acme/waiting1"}) || len(s.documents) != 0 || s.retrying != 0 {
		t.Errorf("delivered %q; %d documents are left, %d to retry", got, len(s.documents), s.retrying)
	}
}

// TestEveryLastChangeIsToldInTime lets documents change and deliveries end as they like, and checks what is promised:
// one delivery of a document at a time, none too early or too late, in order, and the last change told in the end.
func TestEveryLastChangeIsToldInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSchedule(3)
		s.random = func() float64 { return rapid.Float64Range(0, 0.999).Draw(t, "random") }
		now := epoch
		type model struct {
			seq, told, sent int64 // numbers of operations
			sending, failed bool
			first, last     time.Time // of the changes since the last delivery began
			retry           time.Time
		}
		documents := map[string]*model{"a/1": {}, "a/2": {}, "a/3": {}}
		names := []string{"a/1", "a/2", "a/3"}
		// run delivers what is due until a time.
		run := func(until time.Time) {
			for next, ok := s.next(); ok && !next.After(until); next, ok = s.next() {
				now = maxTime(now, next)
				c, ok := s.take(now)
				if !ok {
					continue
				}
				m := documents[c.document]
				due := minTime(m.last.Add(s.debounce), m.first.Add(s.maxWait))
				switch {
				case m.sending:
					t.Fatalf("two deliveries of %s are under way", c.document)
				case c.seq != m.seq:
					t.Fatalf("operation %d of %s is told of, and %d is the last", c.seq, c.document, m.seq)
				case m.failed && now.Before(m.retry):
					t.Fatalf("%s is told of too early after a failure", c.document)
				case !m.failed && now.Before(due):
					t.Fatalf("%s is told of at %v, before %v", c.document, now.Sub(epoch), due.Sub(epoch))
				case !m.failed && now.After(maxTime(due, m.retry)):
					t.Fatalf("%s is told of at %v, after %v", c.document, now.Sub(epoch), due.Sub(epoch))
				}
				m.sending, m.sent, m.first, m.last = true, c.seq, time.Time{}, time.Time{}
			}
			now = maxTime(now, until)
		}
		end := func(name string, o outcome, pause time.Duration) {
			m := documents[name]
			s.done(now, name, o, pause)
			m.sending, m.failed, m.retry = false, o == failed, now
			if o == failed {
				m.retry = now.Add(max(pause, retryFrom/2))
			} else {
				m.told = m.sent
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "document")
				m := documents[name]
				m.seq++
				if m.first.IsZero() {
					m.first = now
				}
				m.last = now
				if !s.changed(now, name, m.seq, "u", now) {
					t.Fatal("there is no room")
				}
			},
			"pass": func(t *rapid.T) {
				run(now.Add(time.Duration(rapid.Int64Range(1, int64(8*time.Second)).Draw(t, "pause"))))
			},
			"end": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "document")
				if documents[name].sending {
					end(name, rapid.SampledFrom([]outcome{told, failed}).Draw(t, "outcome"),
						time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "wanted pause")))
				}
			},
		})
		for len(s.documents) > 0 {
			run(now.Add(time.Hour))
			for _, name := range names {
				if documents[name].sending {
					end(name, told, 0)
				}
			}
		}
		for name, m := range documents {
			if m.told != m.seq {
				t.Fatalf("operation %d of %s was told of, and %d is the last", m.told, name, m.seq)
			}
		}
		if s.retrying != 0 || len(s.queue) != 0 {
			t.Fatalf("%d are to be retried, %d wait", s.retrying, len(s.queue))
		}
	})
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
