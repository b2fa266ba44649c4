package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const testRetention = time.Hour

// openFile returns sessions in a file of its own.
func openFile(t *testing.T, clock func() time.Time) *FileSessions {
	t.Helper()
	f, err := OpenFileSessions(filepath.Join(t.TempDir(), "sessions.db"), testRetention, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestSessionsInAFile(t *testing.T) {
	testSessions(t, func(t *testing.T) Sessions { return openFile(t, time.Now) })
}

// begin begins a session of a user.
func begin(t *testing.T, s Sessions, user string) (refreshToken, Session) {
	t.Helper()
	token := newRefreshToken()
	session, err := s.Create(t.Context(), Session{
		Family: token.family(), User: user, Organization: "acme", Docs: map[string]Access{"*": Write},
		Issued: time.Now().Add(5 * time.Second),
	}, token.secret(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token, session
}

// another returns some token of the same family.
func (t refreshToken) another() refreshToken {
	_, _ = rand.Read(t[lookupBytes:])
	return t
}

// rotate replaces a token by another one.
func rotate(s Sessions, token refreshToken, grace time.Duration) (refreshToken, error) {
	next := token.another()
	_, err := s.Rotate(context.Background(), token.family(), token.secret(), next.secret(), grace)
	return next, err
}

// follower collects what Follow tells.
type follower struct {
	mu       sync.Mutex
	all      []Revocation
	complete atomic.Int64
}

func follow(t *testing.T, s Sessions) *follower {
	t.Helper()
	f := &follower{}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		s.Follow(ctx, func(batch []Revocation, complete bool) {
			f.mu.Lock()
			f.all = append(f.all, batch...)
			f.mu.Unlock()
			if complete {
				f.complete.Add(1)
			}
		}, f.known)
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
	})
	return f
}

func (f *follower) known() []Revocation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Revocation(nil), f.all...)
}

func (f *follower) has(family, user string) bool {
	for _, one := range f.known() {
		if one.Family == family && one.User == user {
			return true
		}
	}
	return false
}

// testSessions is what every store of sessions must do.
func testSessions(t *testing.T, open func(t *testing.T) Sessions) {
	t.Run("a token is used once", func(t *testing.T) {
		s := open(t)
		token, session := begin(t, s, "ada")
		if session.Began.IsZero() || session.Expires.Sub(session.Began) != time.Hour {
			t.Fatalf("%+v", session)
		}
		next := token.another()
		got, err := s.Rotate(t.Context(), token.family(), token.secret(), next.secret(), time.Minute)
		if err != nil || got.User != "ada" || got.Organization != "acme" || got.Docs["*"] != Write ||
			!got.Began.Equal(session.Began) || !got.Expires.Equal(session.Expires) || got.Family != session.Family {
			t.Fatalf("%+v, %v; it began as %+v", got, err, session)
		}
		if _, err := rotate(s, token, time.Minute); !errors.Is(err, ErrReplaced) {
			t.Fatalf("within the grace: %v", err)
		}
		if _, err := rotate(s, next, time.Minute); err != nil {
			t.Fatalf("the grace changed something: %v", err)
		}
	})
	t.Run("a lost answer is given again for a while", func(t *testing.T) {
		s := open(t)
		token, session := begin(t, s, "ada")
		next := token.another()
		replace := func(grace time.Duration) error {
			again, err := s.Rotate(t.Context(), token.family(), token.secret(), next.secret(), grace)
			if err == nil && (again.User != "ada" || !again.Expires.Equal(session.Expires)) {
				t.Errorf("%+v, it began as %+v", again, session)
			}
			return err
		}
		if err := errors.Join(replace(time.Minute), replace(time.Minute)); err != nil {
			t.Fatal(err)
		}
		last, err := rotate(s, next, time.Minute)
		if err != nil {
			t.Fatalf("the new token does not work: %v", err)
		}
		if err := replace(time.Minute); !errors.Is(err, ErrReused) {
			t.Fatalf("when the new one was used: %v", err)
		}
		if _, err := rotate(s, last, time.Minute); !errors.Is(err, ErrNoSession) {
			t.Fatalf("the family lives on: %v", err)
		}
	})
	t.Run("a token that comes back later is no lost answer", func(t *testing.T) {
		s := open(t)
		token, _ := begin(t, s, "ada")
		next := token.another()
		for _, want := range []error{nil, ErrReused} {
			_, err := s.Rotate(t.Context(), token.family(), token.secret(), next.secret(), 0)
			if !errors.Is(err, want) {
				t.Fatalf("%v, want %v", err, want)
			}
		}
	})
	t.Run("a replaced token revokes the family", func(t *testing.T) {
		s := open(t)
		f := follow(t, s)
		eventually(t, "follows", func() bool { return f.complete.Load() > 0 })
		token, _ := begin(t, s, "ada")
		other, _ := begin(t, s, "ada")
		current, err := rotate(s, token, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rotate(s, token, 0); !errors.Is(err, ErrReused) || !errors.Is(err, ErrRevoked) {
			t.Fatal(err)
		}
		if _, err := rotate(s, current, 0); !errors.Is(err, ErrNoSession) {
			t.Fatalf("the family lives on: %v", err)
		}
		if _, err := rotate(s, other, 0); err != nil {
			t.Fatalf("another family of the user ended too: %v", err)
		}
		eventually(t, "the revocation is told", func() bool { return f.has(token.family(), "") })
	})
	t.Run("a token of long ago revokes in spite of the grace", func(t *testing.T) {
		s := open(t)
		token, _ := begin(t, s, "ada")
		second, _ := rotate(s, token, time.Hour)
		if _, err := rotate(s, second, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := rotate(s, token, time.Hour); !errors.Is(err, ErrReused) {
			t.Fatal(err)
		}
	})
	t.Run("who knows only the family can do nothing", func(t *testing.T) {
		s := open(t)
		token, _ := begin(t, s, "ada")
		stranger := newRefreshToken()
		if _, err := rotate(s, stranger, 0); !errors.Is(err, ErrNoSession) {
			t.Fatal(err)
		}
		if err := s.End(t.Context(), stranger.family()); err != nil {
			t.Fatal(err)
		}
		if _, err := rotate(s, token, 0); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("of many at once one wins", func(t *testing.T) {
		s := open(t)
		token, _ := begin(t, s, "ada")
		var won, replaced atomic.Int64
		var wait sync.WaitGroup
		for range 20 {
			wait.Go(func() {
				switch _, err := rotate(s, token, time.Minute); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, ErrReplaced):
					replaced.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if won.Load() != 1 || replaced.Load() != 19 {
			t.Fatalf("%d won, %d were told to use the new one", won.Load(), replaced.Load())
		}
	})
	t.Run("an ended session is over", func(t *testing.T) {
		s := open(t)
		f := follow(t, s)
		eventually(t, "follows", func() bool { return f.complete.Load() > 0 })
		token, _ := begin(t, s, "ada")
		if err := s.End(t.Context(), token.family()); err != nil {
			t.Fatal(err)
		}
		if _, err := rotate(s, token, 0); !errors.Is(err, ErrNoSession) {
			t.Fatal(err)
		}
		eventually(t, "the end is told", func() bool { return f.has(token.family(), "") })
	})
	t.Run("a user's revocation ends what began before", func(t *testing.T) {
		s := open(t)
		f := follow(t, s)
		eventually(t, "follows", func() bool { return f.complete.Load() > 0 })
		ada, _ := begin(t, s, "ada")
		bob, _ := begin(t, s, "bob")
		if err := s.Revoke(t.Context(), "", "ada"); err != nil {
			t.Fatal(err)
		}
		if _, err := rotate(s, ada, 0); !errors.Is(err, ErrRevoked) {
			t.Fatal(err)
		}
		if _, err := rotate(s, bob, 0); err != nil {
			t.Fatal(err)
		}
		old := newRefreshToken()
		if _, err := s.Create(t.Context(), Session{
			Family: old.family(), User: "ada", Issued: time.Now().Add(-time.Second).Truncate(time.Second),
		}, old.secret(), time.Hour); !errors.Is(err, ErrRevoked) {
			t.Fatalf("a token from before began a session: %v", err)
		}
		if _, err := s.Create(t.Context(), Session{Family: old.family(), User: "ada"}, old.secret(),
			time.Hour); !errors.Is(err, ErrRevoked) {
			t.Fatalf("a token of an unknown time began a session: %v", err)
		}
		again, _ := begin(t, s, "ada")
		if _, err := rotate(s, again, 0); err != nil {
			t.Fatalf("ada cannot come back: %v", err)
		}
		eventually(t, "the revocation is told", func() bool { return f.has("", "ada") })
		late := follow(t, s)
		eventually(t, "who comes late is told as well", func() bool { return late.has("", "ada") })
	})
	t.Run("a session expires", func(t *testing.T) {
		s := open(t)
		token := newRefreshToken()
		if _, err := s.Create(t.Context(), Session{Family: token.family(), User: "ada"}, token.secret(),
			50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		// Using it does not prolong it.
		eventually(t, "it has expired", func() bool {
			var err error
			token, err = rotate(s, token, 0)
			return errors.Is(err, ErrNoSession)
		})
	})
	t.Run("a user has so many sessions", func(t *testing.T) {
		s := open(t)
		first, _ := begin(t, s, "ada")
		time.Sleep(2 * time.Millisecond) // So that it is the oldest.
		var last refreshToken
		for range maxUserSessions {
			last, _ = begin(t, s, "ada")
		}
		if _, err := rotate(s, first, 0); !errors.Is(err, ErrNoSession) {
			t.Fatalf("the oldest session: %v", err)
		}
		if _, err := rotate(s, last, 0); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("it is what the model says", func(t *testing.T) {
		s := open(t)
		rapid.Check(t, func(t *rapid.T) { modelSessions(t, s) })
	})
}

// modelSessions uses sessions in any order: only the newest token of a living family ever works, and an older one ends
// the family.
func modelSessions(t *rapid.T, s Sessions) {
	type model struct {
		tokens []refreshToken // the newest last
		dead   bool
	}
	var families []*model
	user := rapid.StringMatching(`user [a-z]{12}`).Draw(t, "user")
	pick := func(t *rapid.T) *model {
		if len(families) == 0 {
			t.Skip("there is none")
		}
		return families[rapid.IntRange(0, len(families)-1).Draw(t, "family")]
	}
	t.Repeat(map[string]func(*rapid.T){
		"begin": func(t *rapid.T) {
			token := newRefreshToken()
			if len(families) == 8 {
				t.Skip("enough")
			}
			if _, err := s.Create(context.Background(), Session{
				Family: token.family(), User: user, Issued: time.Now().Add(time.Minute),
			}, token.secret(), time.Hour); err != nil {
				t.Fatal(err)
			}
			families = append(families, &model{tokens: []refreshToken{token}})
		},
		"rotate": func(t *rapid.T) {
			m := pick(t)
			i := rapid.IntRange(0, len(m.tokens)-1).Draw(t, "token")
			next, err := rotate(s, m.tokens[i], 0)
			switch newest := i == len(m.tokens)-1; {
			case m.dead:
				if !errors.Is(err, ErrUnauthenticated) {
					t.Fatalf("a dead family: %v", err)
				}
			case newest && err != nil:
				t.Fatalf("the newest token: %v", err)
			case newest:
				m.tokens = append(m.tokens, next)
			case !errors.Is(err, ErrReused):
				t.Fatalf("an older token: %v", err)
			default:
				m.dead = true
			}
		},
		"end": func(t *rapid.T) {
			m := pick(t)
			if err := s.End(context.Background(), m.tokens[0].family()); err != nil {
				t.Fatal(err)
			}
			m.dead = true
		},
		"revoke the user": func(t *rapid.T) {
			if err := s.Revoke(context.Background(), "", user); err != nil {
				t.Fatal(err)
			}
			for _, m := range families {
				m.dead = true
			}
			time.Sleep(2 * time.Millisecond) // Revocations are dated to the millisecond.
		},
	})
}

func TestAFileKeepsSessionsAndRevocations(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "sessions.db"), time.Now()
	clock := func() time.Time { return now }
	open := func() *FileSessions {
		t.Helper()
		f, err := OpenFileSessions(path, testRetention, clock)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open()
	token, _ := begin(t, f, "ada")
	gone, _ := begin(t, f, "bob")
	if err := errors.Join(f.End(t.Context(), gone.family()), f.Revoke(t.Context(), "", "carol"), f.Close()); err != nil {
		t.Fatal(err)
	}
	f = open()
	if _, err := rotate(f, token, 0); err != nil {
		t.Error(err)
	}
	batch, err := f.sweep()
	if err != nil || len(batch) != 2 {
		t.Errorf("%v, %v", batch, err)
	}
	now = now.Add(testRetention + time.Second)
	if batch, err := f.sweep(); err != nil || len(batch) != 0 {
		t.Errorf("after the retention: %v, %v", batch, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
