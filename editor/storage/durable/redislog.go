package durable

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/internal/record"
)

// redisTimeout bounds every call to Redis. While it does not answer, operations go to PostgreSQL directly.
const redisTimeout = time.Second

// replicaTimeout is how long a replica may take to receive an append before PostgreSQL is waited for instead.
const replicaTimeout = 300 * time.Millisecond

// readPage is the number of records that are read from a log at once.
const readPage = 500

// errStale says that Redis knows a lower term than ours: it lost the raise in a fail-over, or all its data.
var errStale = errors.New("redis has lost the shard's term")

// gapError says that Redis lacks records before the ones that were to be appended: it lost them in a fail-over.
type gapError struct{ last int64 }

func (e gapError) Error() string {
	return fmt.Sprintf("redis has lost what follows record %d", e.last)
}

// fencedError is ErrFenced with the term that Redis knows.
type fencedError struct{ term int64 }

func (e fencedError) Error() string { return fmt.Sprintf("redis knows term %d of the shard", e.term) }
func (e fencedError) Unwrap() error { return storage.ErrFenced }

// stateKey and logKey are a shard's keys, channel is what a document's operations are published to.
func stateKey(shard int32) string    { return fmt.Sprintf("collab:{%d}:state", shard) }
func logKey(shard int32) string      { return fmt.Sprintf("collab:{%d}:log", shard) }
func channel(document string) string { return "collab:changes:" + document }

// library is the source of our Redis Functions. A change that old and new processes cannot share needs a new name.
//
//go:embed library.lua
var library string

// redisLog is the log of all shards.
type redisLog struct {
	client redis.UniversalClient
	// replicated makes append wait for a replica.
	replicated bool
}

// call calls a function, which is loaded first where it is missing: in a new Redis, or one that lost its data.
func (l redisLog) call(ctx context.Context, call func() error) error {
	err := call()
	if err == nil || !strings.Contains(err.Error(), "Function not found") {
		return answer(err)
	}
	if err := l.client.FunctionLoadReplace(ctx, library).Err(); err != nil {
		return fmt.Errorf("load the functions into redis: %w", err)
	}
	return answer(call())
}

// fence makes Redis refuse all lower terms.
func (l redisLog) fence(ctx context.Context, lease lease) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return l.call(ctx, func() error {
		return l.client.FCall(ctx, "collab_v1_fence", []string{stateKey(lease.shard)}, lease.term).Err()
	})
}

// append appends the records of items whose counters follow each other, trims what PostgreSQL has up to the counter
// drained, and says whether the records are as durable as wanted.
func (l redisLog) append(ctx context.Context, lease lease, drained int64, items []*item) (durable bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	first := drained + 1
	if len(items) > 0 {
		first = items[0].counter
	}
	args := make([]any, 0, 3+2*len(items))
	args = append(args, lease.term, drained, first)
	for _, i := range items {
		to := ""
		if i.entry.Publish {
			to = channel(i.entry.Document)
		}
		args = append(args, i.record, to)
	}
	keys := []string{stateKey(lease.shard), logKey(lease.shard)}
	if !l.replicated || len(items) == 0 {
		return true, l.call(ctx, func() error { return l.client.FCall(ctx, "collab_v1_append", keys, args...).Err() })
	}
	// WAIT speaks of the writes of its own connection: both go in one pipeline.
	var received *redis.Cmd
	err = l.call(ctx, func() error {
		var appended *redis.Cmd
		_, err := l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			appended = p.FCall(ctx, "collab_v1_append", keys, args...)
			received = p.Do(ctx, "WAIT", 1, replicaTimeout.Milliseconds())
			return nil
		})
		if appended.Err() != nil {
			return appended.Err()
		}
		return err
	})
	if err != nil {
		return false, err
	}
	replicas, err := received.Int64()
	return err == nil && replicas >= 1, nil
}

// read returns a page of the records of lower terms than the lease's that follow the one with the ID after, or of the
// first ones if that is empty. The page is the last one if there are fewer than readPage.
func (l redisLog) read(ctx context.Context, lease lease, after string) ([]found, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	start, end := "-", "("+strconv.FormatInt(lease.term, 10)+"-0"
	if after != "" {
		start = "(" + after
	}
	page, err := l.client.XRangeN(ctx, logKey(lease.shard), start, end, readPage).Result()
	if err != nil {
		return nil, fmt.Errorf("read the shard's log in redis: %w", err)
	}
	records := make([]found, len(page))
	for i, message := range page {
		text, _ := message.Values["r"].(string)
		entry, err := record.Decode([]byte(text))
		records[i] = found{id: message.ID, record: []byte(text), entry: entry, bad: err != nil}
	}
	return records, nil
}

// answer turns what the functions answer into errors that callers decide on.
func answer(err error) error {
	if err == nil {
		return nil
	}
	// Redis may append the function's name to the error.
	word, rest, _ := strings.Cut(strings.TrimPrefix(err.Error(), "ERR "), " ")
	text, _, _ := strings.Cut(rest, " ")
	number, parseErr := strconv.ParseInt(text, 10, 64)
	if parseErr == nil {
		switch word {
		case "FENCED":
			return fencedError{number}
		case "STALE":
			return errStale
		case "GAP":
			return gapError{number}
		}
	}
	return fmt.Errorf("call redis: %w", err)
}
