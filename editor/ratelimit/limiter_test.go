package ratelimit

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, l *Limiter, user, organization string) *Connection {
	t.Helper()
	c, err := l.Connection(user, organization)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTypingFastIsNeverSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, New(Defaults()), "ada", "acme")
		defer c.Close()
		for i := range 20 * 60 * 5 { // Five minutes of 20 changes a second.
			if wait, ok := c.Take(time.Now(), 1, 40); wait != 0 || !ok {
				t.Fatalf("change %d: wait %v, %v", i, wait, ok)
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

func TestASenderWithoutPauseIsSlowedFirstAndClosedThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry, limits := prometheus.NewRegistry(), Defaults()
		limits.Metrics = NewMetrics(registry)
		c := connect(t, New(limits), "ada", "acme")
		defer c.Close()
		begin, free, slowed := time.Now(), 0, time.Duration(0)
		for time.Since(begin) < time.Hour {
			wait, ok := c.Take(time.Now(), 1, 40)
			if !ok {
				break
			}
			if wait == 0 && slowed == 0 {
				free++
			}
			slowed += wait
			time.Sleep(max(wait, time.Millisecond))
		}
		if free < limits.ConnectionOperations.Burst || free > 5*limits.ConnectionOperations.Burst {
			t.Errorf("%d messages passed freely", free)
		}
		if took := time.Since(begin); slowed == 0 || took < limits.Patience || took > limits.Patience+5*time.Second {
			t.Errorf("closed after %v, slowed by %v", took, slowed)
		}
		counted, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range counted {
			for _, name := range []string{"floods_total", "waits_total", "wait_seconds_total", "connections"} {
				if family.GetName() == "collab_editor_ratelimit_"+name &&
					family.Metric[0].GetCounter().GetValue()+family.Metric[0].GetGauge().GetValue() == 0 {
					t.Errorf("%s is not counted", name)
				}
			}
		}
	})
}

func TestAPauseEndsTheImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, New(Limits{ConnectionOperations: Rate{1, 1}, Patience: 3 * time.Second}), "", "")
		defer c.Close()
		for range 20 {
			for range 2 { // The second one waits for a second.
				wait, ok := c.Take(time.Now(), 1, 0)
				if !ok {
					t.Fatal("closed in spite of its pauses")
				}
				time.Sleep(wait)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

func TestAWaitBeyondTheBoundIsAFloodAndCostsNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	c := connect(t, New(Limits{ConnectionBytes: Rate{100, 100}, MaxWait: time.Second}), "", "")
	defer c.Close()
	if wait, ok := c.Take(now, 1, 100); wait != 0 || !ok {
		t.Fatal(wait, ok)
	}
	if wait, ok := c.Take(now, 1, 100); wait != time.Second || !ok {
		t.Fatal(wait, ok)
	}
	if _, ok := c.Take(now, 1, 50); ok {
		t.Fatal("a wait of more than the bound was asked")
	}
	if wait, ok := c.Take(now.Add(time.Second), 1, 100); wait != time.Second || !ok {
		t.Fatalf("the refused message was charged: wait %v, %v", wait, ok)
	}
}

func TestAMessageGreaterThanABucketEmptiesIt(t *testing.T) {
	c := connect(t, New(Limits{ConnectionBytes: Rate{100, 100}}), "", "")
	defer c.Close()
	if wait, ok := c.Take(time.Unix(1000, 0), 1, 1000); wait != 0 || !ok {
		t.Fatal(wait, ok)
	}
	if wait, _ := c.Take(time.Unix(1000, 0), 1, 1); wait == 0 {
		t.Fatal("the bucket is not empty")
	}
}

func TestAUsersConnectionsShareABucketThatReconnectingDoesNotFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Limits{UserOperations: Rate{1, 10}})
		a, b, other := connect(t, l, "ada", ""), connect(t, l, "ada", ""), connect(t, l, "bob", "")
		a.Take(time.Now(), 5, 0)
		b.Take(time.Now(), 5, 0)
		if wait, _ := a.Take(time.Now(), 1, 0); wait == 0 {
			t.Error("two connections together took more than the user's burst")
		}
		if wait, _ := other.Take(time.Now(), 10, 0); wait != 0 {
			t.Error("one user is slowed by another")
		}
		a.Close()
		b.Close()
		time.Sleep(2 * time.Second)
		c := connect(t, l, "ada", "")
		if wait, _ := c.Take(time.Now(), 5, 0); wait == 0 {
			t.Error("reconnecting filled the bucket")
		}
		c.Close()
		other.Close()
		time.Sleep(time.Minute)
		connect(t, l, "carol", "").Close()
		if len(l.users) != 1 || l.idle.Len() != 1 {
			t.Errorf("%d users are remembered, of which %d idle", len(l.users), l.idle.Len())
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		limits        Limits
		user, another [2]string
		want          error
	}{
		"user": {Limits{UserConnections: 2}, [2]string{"ada", "acme"}, [2]string{"bob", "acme"}, ErrUserConnections},
		"organization": {Limits{OrganizationConnections: 2}, [2]string{"ada", "acme"}, [2]string{"ada", "other"},
			ErrOrganizationConnections},
	} {
		t.Run(name, func(t *testing.T) {
			l := New(c.limits)
			first := connect(t, l, c.user[0], c.user[1])
			connect(t, l, c.user[0], c.user[1])
			_, err := l.Connection(c.user[0], c.user[1])
			if !errors.Is(err, c.want) || !errors.Is(err, ErrTooManyConnections) {
				t.Errorf("%v", err)
			}
			connect(t, l, c.another[0], c.another[1])
			first.Close()
			first.Close()
			connect(t, l, c.user[0], c.user[1])
			if _, err := l.Connection(c.user[0], c.user[1]); err == nil {
				t.Error("closing twice gave two places back")
			}
		})
	}
	l := New(Limits{PodConnections: 1, UserConnections: 1})
	connect(t, l, "", "")
	if _, err := l.Connection("bob", "other"); !errors.Is(err, ErrPodConnections) {
		t.Errorf("%v", err)
	}
}

func TestAConnectionCountsOnceForWhoeverHasDocumentsOnIt(t *testing.T) {
	l := New(Limits{UserConnections: 1, OrganizationConnections: 1})
	enter := func(c *Connection, user, organization string, want error) {
		t.Helper()
		if err := c.Enter(user, organization); !errors.Is(err, want) {
			t.Fatalf("%s at %s: %v, want %v", user, organization, err, want)
		}
	}
	first, second := connect(t, l, "ada", "acme"), connect(t, l, "", "")
	enter(first, "ada", "acme", nil)
	enter(second, "bob", "acme", ErrOrganizationConnections)
	enter(second, "ada", "other", ErrUserConnections)
	enter(second, "bob", "other", nil)
	first.Leave("ada", "acme")
	enter(second, "bob", "acme", ErrOrganizationConnections) // One of the two documents is still open.
	first.Leave("ada", "acme")
	first.Leave("ada", "acme")
	second.Leave("bob", "other")
	enter(second, "bob", "acme", nil)
	first.Close()
	second.Close()
	if len(l.organizations) != 0 || l.connections != 0 || l.idle.Len() != len(l.users) {
		t.Fatalf("%d organizations, %d connections, %d of %d users are left", len(l.organizations), l.connections,
			len(l.users)-l.idle.Len(), len(l.users))
	}
}

func TestARestingConnectionKeepsNothingAndForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := Defaults()
		c := connect(t, New(limits), "", "")
		defer c.Close()
		drain := func() (taken int) {
			for {
				if wait, _ := c.Take(time.Now(), limits.Batch, 1); wait > 0 {
					return taken
				}
				taken++
			}
		}
		full := drain()
		time.Sleep(2 * time.Second)
		c.Rest(time.Now())
		if again := drain(); again >= full {
			t.Fatalf("resting filled the bucket: %d operations, then %d", full, again)
		}
		time.Sleep(time.Minute)
		c.Rest(time.Now())
		if c.haste != nil {
			t.Fatal("something is kept of what was sent a minute ago")
		}
		if again := drain(); again != full {
			t.Fatalf("%d operations after a minute, %d before", again, full)
		}
	})
}

func TestManyIdleUsersAreForgotten(t *testing.T) {
	l := New(Limits{UserOperations: Rate{0.001, 1000}})
	for i := range maxIdle + 10 {
		connect(t, l, fmt.Sprint(i), "").Close()
	}
	if len(l.users) > maxIdle || l.idle.Len() != len(l.users) {
		t.Fatalf("%d users, %d idle", len(l.users), l.idle.Len())
	}
}

// However messages arrive, what passes without a wait is never more than burst + rate·time operations of Batch messages,
// and counting in batches never charges more than counting each message.
func TestWhatPassesIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			ConnectionOperations: Rate{float64(rapid.IntRange(1, 20).Draw(t, "rate")), rapid.IntRange(1, 50).Draw(t, "burst")},
			Batch:                rapid.IntRange(0, 5).Draw(t, "batch"), BatchWindow: 100 * time.Millisecond,
		}
		c, err := New(limits).Connection("", "")
		if err != nil {
			t.Fatal(err)
		}
		plain := limits
		plain.Batch = 0
		each, err := New(plain).Connection("", "")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Unix(1000, 0)
		now, passed := begin, 0
		for _, gap := range rapid.SliceOfN(rapid.IntRange(0, 300), 1, 200).Draw(t, "gaps") {
			now = now.Add(time.Duration(gap) * time.Millisecond)
			wait, ok := c.Take(now, 1, 0)
			if !ok {
				t.Fatal("a flood without a bound")
			}
			if plainWait, _ := each.Take(now, 1, 0); wait > plainWait+time.Microsecond {
				t.Fatalf("batched messages wait %v, single ones %v", wait, plainWait)
			}
			now = now.Add(wait)
			passed++
			allowed := (float64(limits.ConnectionOperations.Burst) +
				limits.ConnectionOperations.PerSecond*now.Sub(begin).Seconds() + 1) * float64(max(limits.Batch, 1))
			if float64(passed) > allowed {
				t.Fatalf("%d messages in %v, allowed are %.1f", passed, now.Sub(begin), allowed)
			}
		}
	})
}

// Any order of connecting and closing leaves the counts right.
func TestTheCountsFollowConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := New(Limits{UserConnections: 3, OrganizationConnections: 5, PodConnections: 8})
		type key struct{ user, organization string }
		var open []*Connection
		var keys []key
		count := func(match func(key) bool) (n int) {
			for _, k := range keys {
				if match(k) {
					n++
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"connect": func(t *rapid.T) {
				k := key{rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "user"),
					rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "organization")}
				c, err := l.Connection(k.user, k.organization)
				full := len(keys) >= 8 ||
					k.user != "" && count(func(o key) bool { return o.user == k.user }) >= 3 ||
					k.organization != "" && count(func(o key) bool { return o.organization == k.organization }) >= 5
				if full != (err != nil) {
					t.Fatalf("full %v, %v", full, err)
				}
				if err == nil {
					open, keys = append(open, c), append(keys, k)
				}
			},
			"close": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("nothing is open")
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				open[i].Close()
				open, keys = append(open[:i], open[i+1:]...), append(keys[:i], keys[i+1:]...)
			},
			"": func(t *rapid.T) {
				if l.connections != len(keys) {
					t.Fatalf("%d connections, %d are open", l.connections, len(keys))
				}
			},
		})
	})
}
