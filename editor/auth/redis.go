package auth

import (
	"context"
	_ "embed" // For the scripts.
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Keys have one hash tag, so that each script has all of its keys on one node of a Redis Cluster.
const (
	sessionPrefix     = "collab:{auth}:session:"  // + family: a hash
	userPrefix        = "collab:{auth}:sessions:" // + user: its families by beginning
	cutPrefix         = "collab:{auth}:cut:"      // + user: until when what it began is revoked, in milliseconds
	revocationsKey    = "collab:{auth}:revocations"
	revocationChannel = "collab:auth:revocations"
)

const (
	redisTimeout = 2 * time.Second
	redisPoll    = time.Second
	redisBackoff = 500 * time.Millisecond
	// redisOverlap is how far a poll looks back behind the newest revocation that it knows: the clock of a new primary may
	// be behind that of the old one.
	redisOverlap = 10 * time.Second
	// repairDelay spreads the pods that give a primary back what it lost: who finds it repaired writes nothing.
	repairDelay = time.Second
)

var (
	//go:embed scripts/create.lua
	createScript string
	//go:embed scripts/rotate.lua
	rotateScript string
	//go:embed scripts/revoke.lua
	revokeScript string
	//go:embed scripts/repair.lua
	repairScript string
)

// RedisOptions configure RedisSessions.
type RedisOptions struct {
	Client redis.UniversalClient
	// Retention is how long revocations are kept: as Options.Retention says.
	Retention time.Duration
	Logger    *slog.Logger
}

// RedisSessions keeps sessions in Redis, where every pod finds them. Times are Redis's: pods' clocks do not matter.
type RedisSessions struct {
	client                         redis.UniversalClient
	retention                      time.Duration
	log                            *slog.Logger
	create, rotate, revoke, repair *redis.Script
}

var _ Sessions = (*RedisSessions)(nil)

// NewRedisSessions returns sessions in Redis. It does not talk to Redis yet, and does not close the client.
func NewRedisSessions(o RedisOptions) *RedisSessions {
	return &RedisSessions{
		client: o.Client, retention: o.Retention, log: o.Logger,
		create: redis.NewScript(createScript), rotate: redis.NewScript(rotateScript),
		revoke: redis.NewScript(revokeScript), repair: redis.NewScript(repairScript),
	}
}

// run runs a script that answers an outcome first.
func (r *RedisSessions) run(
	ctx context.Context, script *redis.Script, keys []string, args ...any,
) (string, []string, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	answer, err := script.Run(ctx, r.client, keys, args...).StringSlice()
	if err != nil {
		return "", nil, fmt.Errorf("sessions in redis: %w", err)
	}
	if len(answer) == 0 {
		return "", nil, errors.New("sessions in redis: the script answers nothing")
	}
	return answer[0], answer[1:], nil
}

// Create implements Sessions.
func (r *RedisSessions) Create(
	ctx context.Context, s Session, secret Secret, lifetime time.Duration,
) (Session, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return s, err
	}
	issued := int64(0)
	if !s.Issued.IsZero() {
		issued = s.Issued.Unix()
	}
	outcome, rest, err := r.run(ctx, r.create,
		[]string{sessionPrefix + s.Family, userPrefix + s.User, cutPrefix + s.User},
		s.Family, secret[:], data, s.User, issued, lifetime.Milliseconds(), maxUserSessions, sessionPrefix)
	switch {
	case err != nil:
		return s, err
	case outcome == "revoked":
		return s, ErrRevoked
	}
	return s.dated(rest)
}

// dated fills in the times, in milliseconds, that the scripts answer.
func (s Session) dated(answer []string) (Session, error) {
	if len(answer) < 2 {
		return s, errors.New("sessions in redis: the script answers no times")
	}
	began, errBegan := strconv.ParseInt(answer[0], 10, 64)
	expires, errExpires := strconv.ParseInt(answer[1], 10, 64)
	if err := errors.Join(errBegan, errExpires); err != nil {
		return s, fmt.Errorf("sessions in redis: %w", err)
	}
	s.Began, s.Expires = time.UnixMilli(began), time.UnixMilli(expires)
	return s, nil
}

// Rotate implements Sessions.
func (r *RedisSessions) Rotate(
	ctx context.Context, family string, secret, next Secret, grace time.Duration,
) (Session, error) {
	s := Session{Family: family}
	get, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	// The user of a session never changes, so that it can be asked for before the script, which needs it for its keys.
	user, err := r.client.HGet(get, sessionPrefix+family, "user").Result()
	switch {
	case errors.Is(err, redis.Nil):
		return s, ErrNoSession
	case err != nil:
		return s, fmt.Errorf("sessions in redis: %w", err)
	}
	outcome, rest, err := r.run(ctx, r.rotate,
		[]string{sessionPrefix + family, userPrefix + user, cutPrefix + user, revocationsKey},
		family, secret[:], next[:], grace.Milliseconds(), r.retention.Milliseconds(), revocationChannel)
	if err != nil {
		return s, err
	}
	switch outcome {
	case "unknown":
		return s, ErrNoSession
	case "revoked":
		return s, ErrRevoked
	case "replaced":
		return s, ErrReplaced
	case "reused":
		return s, ErrReused
	}
	if len(rest) < 3 {
		return s, errors.New("sessions in redis: the script answers no session")
	}
	if err := json.Unmarshal([]byte(rest[2]), &s); err != nil {
		return s, fmt.Errorf("sessions in redis: %w", err)
	}
	return s.dated(rest)
}

// End implements Sessions.
func (r *RedisSessions) End(ctx context.Context, family string) error {
	_, _, err := r.run(ctx, r.revoke, []string{revocationsKey, sessionPrefix + family},
		"end", family, r.retention.Milliseconds(), 0, revocationChannel)
	return err
}

// Revoke implements Sessions.
func (r *RedisSessions) Revoke(ctx context.Context, family, user string) error {
	kind, name, key := "family", family, sessionPrefix+family
	if family == "" {
		kind, name, key = "user", user, cutPrefix+user
	}
	_, _, err := r.run(ctx, r.revoke, []string{revocationsKey, key},
		kind, name, r.retention.Milliseconds(), maxSessionLifetime.Milliseconds(), revocationChannel)
	return err
}

// member is how a revocation is written in Redis.
func (v Revocation) member() string {
	if v.Family != "" {
		return "f " + v.Family
	}
	return "u " + strconv.FormatInt(v.At.UnixMilli(), 10) + " " + v.User
}

// parseRevocation reads what member returns.
func parseRevocation(member string) (Revocation, bool) {
	if family, ok := strings.CutPrefix(member, "f "); ok {
		return Revocation{Family: family}, family != ""
	}
	rest, ok := strings.CutPrefix(member, "u ")
	at, user, dated := strings.Cut(rest, " ")
	ms, err := strconv.ParseInt(at, 10, 64)
	return Revocation{User: user, At: time.UnixMilli(ms)}, ok && dated && err == nil && user != ""
}

// Follow implements Sessions by Pub/Sub, and a poll each second for messages that were lost.
func (r *RedisSessions) Follow(ctx context.Context, apply func([]Revocation, bool), known func() []Revocation) {
	lost := false
	for ctx.Err() == nil {
		err := r.follow(ctx, func(batch []Revocation, complete bool) {
			if lost {
				lost = false
				r.log.Info("Revocations can be read again")
			}
			apply(batch, complete)
		}, known)
		if ctx.Err() == nil && !lost {
			lost = true
			r.log.Warn("Revocations cannot be read; sessions that are revoked elsewhere go on meanwhile", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(redisBackoff/2 + rand.N(redisBackoff)):
		}
	}
}

// follow follows as long as nothing goes wrong.
func (r *RedisSessions) follow(ctx context.Context, apply func([]Revocation, bool), known func() []Revocation) error {
	ctx, cancel := context.WithCancel(ctx)
	subscription := r.client.Subscribe(ctx, revocationChannel)
	messages, failed := make(chan Revocation, 64), make(chan error, 1)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer func() {
		cancel()
		_ = subscription.Close()
	}()
	confirm, confirmed := context.WithTimeout(ctx, redisTimeout)
	defer confirmed()
	if _, err := subscription.ReceiveTimeout(confirm, redisTimeout); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	reader.Go(func() { failed <- receive(ctx, subscription, messages) })

	last, err := r.reload(ctx, apply, known)
	if err != nil {
		return err
	}
	poll := time.NewTicker(redisPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case one := <-messages:
			apply([]Revocation{one}, false)
		case <-poll.C:
			batch, newest, err := r.read(ctx, last-redisOverlap.Milliseconds())
			if err != nil {
				return err
			}
			last = max(last, newest)
			apply(batch, false)
		}
	}
}

// receive passes messages on. Those that find the channel full are found by the poll.
func receive(ctx context.Context, subscription *redis.PubSub, messages chan<- Revocation) error {
	for {
		message, err := subscription.ReceiveMessage(ctx)
		if err != nil {
			return fmt.Errorf("subscription: %w", err)
		}
		if one, ok := parseRevocation(message.Payload); ok {
			select {
			case messages <- one:
			default:
			}
		}
	}
}

// reload reads all revocations, and gives those back that Redis has lost, as a fail-over may.
func (r *RedisSessions) reload(
	ctx context.Context, apply func([]Revocation, bool), known func() []Revocation,
) (last int64, err error) {
	for attempt := range 2 {
		batch, newest, err := r.read(ctx, 0)
		if err != nil {
			return 0, err
		}
		before := known()
		apply(batch, true)
		last = newest
		lost := missing(before, batch)
		if len(lost) == 0 {
			return last, nil
		}
		if attempt == 0 { // Perhaps another pod is quicker.
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(rand.N(repairDelay)):
			}
			continue
		}
		if err := r.giveBack(ctx, lost); err != nil {
			return 0, err
		}
		r.log.Warn("Redis had lost revocations, as a fail-over may; they are written again", "count", len(lost))
	}
	return last, nil
}

// missing returns what is known and not in a batch.
func missing(known, batch []Revocation) []Revocation {
	there := make(map[string]struct{}, len(batch))
	for _, one := range batch {
		there[one.member()] = struct{}{}
	}
	var lost []Revocation
	for _, one := range known {
		if _, found := there[one.member()]; !found {
			lost = append(lost, one)
		}
	}
	return lost
}

func (r *RedisSessions) giveBack(ctx context.Context, lost []Revocation) error {
	for _, one := range lost {
		key, at := sessionPrefix+one.Family, int64(0)
		if one.Family == "" {
			key, at = cutPrefix+one.User, one.At.UnixMilli()
		}
		_, _, err := r.run(ctx, r.repair, []string{revocationsKey, key},
			one.member(), at, maxSessionLifetime.Milliseconds())
		if err != nil {
			return err
		}
	}
	return nil
}

// read returns the revocations that were written since a time, in milliseconds, and the time of the newest.
func (r *RedisSessions) read(ctx context.Context, since int64) (batch []Revocation, newest int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	found, err := r.client.ZRangeByScoreWithScores(ctx, revocationsKey, &redis.ZRangeBy{
		Min: strconv.FormatInt(max(since, 0), 10), Max: "+inf",
	}).Result()
	if err != nil {
		return nil, 0, fmt.Errorf("read revocations: %w", err)
	}
	for _, z := range found {
		member, _ := z.Member.(string)
		if one, ok := parseRevocation(member); ok {
			one.Recorded = time.UnixMilli(int64(z.Score))
			batch = append(batch, one)
		}
		newest = max(newest, int64(z.Score))
	}
	return batch, newest, nil
}
