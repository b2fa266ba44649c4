//go:build stores

package auth

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"collab.dev/operator/test/stores"
)

func redisSessions(t *testing.T) (*stores.Server, *redis.Client, *RedisSessions) {
	t.Helper()
	server, client := stores.StartRedis(t)
	return server, client, NewRedisSessions(RedisOptions{
		Client: client, Retention: testRetention, Logger: slog.New(slog.DiscardHandler),
	})
}

func TestSessionsInRedis(t *testing.T) {
	_, client, s := redisSessions(t)
	testSessions(t, func(t *testing.T) Sessions {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestRedisHasHashesOnly(t *testing.T) {
	_, client, s := redisSessions(t)
	token, _ := begin(t, s, "ada")
	next, err := rotate(s, token, 0)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		dump, err := client.Dump(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{token.encode(), next.encode(), string(token[:lookupBytes]),
			string(token[lookupBytes:]), string(next[lookupBytes:])} {
			if strings.Contains(key+dump, secret) {
				t.Errorf("%s holds a part of a refresh token", key)
			}
		}
		if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 && key != revocationsKey {
			t.Errorf("%s never expires", key)
		}
	}
}

// A revocation reaches the open sockets of another pod within 2 s, by Pub/Sub or, where its message is lost, by the poll.
func TestRevocationsReachOtherPods(t *testing.T) {
	_, client, s := redisSessions(t)
	here, there := newGuard(t, Options{Sessions: s}), newGuard(t, Options{Sessions: s})
	_ = here
	for name, revoke := range map[string]func(t *testing.T, family, user string) error{
		"message": func(t *testing.T, _, user string) error { return s.Revoke(t.Context(), "", user) },
		"lost message": func(t *testing.T, family, _ string) error {
			score := float64(client.Time(t.Context()).Val().UnixMilli())
			return client.ZAdd(t.Context(), revocationsKey, redis.Z{Score: score, Member: "f " + family}).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			user := strings.ReplaceAll(name, " ", "-")
			identity, err := there.Authenticate(t.Context(), hs256(t, object{"sub": user, "sid": "family of " + user}))
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan time.Time, 2)
			defer there.Watch(identity, func() { ended <- time.Now() })()
			begin := time.Now()
			if err := revoke(t, identity.Family, user); err != nil {
				t.Fatal(err)
			}
			select {
			case at := <-ended:
				t.Logf("after %v", at.Sub(begin))
				if at.Sub(begin) > 2*time.Second {
					t.Error("too late")
				}
			case <-time.After(10 * time.Second):
				t.Fatal("never")
			}
			if _, err := there.Authenticate(t.Context(), hs256(t, object{"sub": user, "sid": identity.Family,
				"iat": begin.Add(-time.Second).Unix()})); !errors.Is(err, ErrRevoked) {
				t.Error(err)
			}
		})
	}
}

// A primary that lost a revocation, as an asynchronous replica may, gets it back from the pods that know it.
func TestRevocationsSurviveALostPrimary(t *testing.T) {
	server, client, s := redisSessions(t)
	g := newGuard(t, Options{Sessions: s})
	token, _ := begin(t, s, "ada")
	if err := errors.Join(s.End(t.Context(), token.family()), s.Revoke(t.Context(), "", "bob")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod knows them", func() bool { return g.revocations.size() == 2 })
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if _, err := g.Authenticate(t.Context(), hs256(t, object{"sub": "carol"})); err != nil {
		t.Errorf("without Redis valid tokens are refused: %v", err)
	}
	if _, err := rotate(s, token, 0); err == nil || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("without Redis a refresh must be tried again: %v", err)
	}
	server.Start()
	eventually(t, "Redis knows them again", func() bool {
		members := client.ZRange(t.Context(), revocationsKey, 0, -1).Val()
		return len(members) == 2 && client.Exists(t.Context(), cutPrefix+"bob").Val() == 1
	})
	late := newGuard(t, Options{Sessions: s})
	eventually(t, "a new pod knows them", func() bool { return late.revocations.size() == 2 })
}

// While Redis is silent nothing hangs: tokens go on after a bounded wait.
func TestASilentRedisHoldsNobodyUp(t *testing.T) {
	server, _, s := redisSessions(t)
	server.Freeze()
	defer server.Thaw()
	g := newGuard(t, Options{Sessions: s})
	begin := time.Now()
	if _, err := g.Authenticate(t.Context(), hs256(t, nil)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 4*firstFollow {
		t.Errorf("it took %v", took)
	}
}
