package durable

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"collab.dev/operator/editor/storage"
)

// redisTimeout bounds every call to Redis. While it does not answer, operations go to PostgreSQL directly.
const redisTimeout = time.Second

// replicaTimeout is how long a replica may take to receive an append before PostgreSQL is waited for instead.
const replicaTimeout = 300 * time.Millisecond

// readPage is the number of records that are read from a log at once.
const readPage = 500

// errStale says that Redis knows a lower epoch than ours: it lost the raise in a fail-over, or all its data.
var errStale = errors.New("redis has lost the shard's epoch")

// gapError says that Redis lacks records before the ones that were to be appended: it lost them in a fail-over.
type gapError struct{ last int64 }

func (e gapError) Error() string {
	return fmt.Sprintf("redis has lost what follows record %d", e.last)
}

// A shard's keys in Redis: a hash with the epoch and the last record (its writer's epoch and counter), and a stream with
// the records, whose IDs are epoch-counter. Scripts change both at once. A stream's IDs only rise, and so a former
// owner cannot append after a newer one even where Redis lost the epoch that fences it.
func stateKey(shard int32) string { return fmt.Sprintf("collab:{%d}:state", shard) }
func logKey(shard int32) string   { return fmt.Sprintf("collab:{%d}:log", shard) }

// fence raises the epoch and returns the counter of the last record that this epoch has written.
var fence = redis.NewScript(`
local state = redis.call('HMGET', KEYS[1], 'epoch', 'writer', 'counter')
local mine = tonumber(ARGV[1])
if tonumber(state[1] or 0) > mine then return redis.error_reply('FENCED ' .. state[1]) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
if tonumber(state[2] or 0) == mine then return tonumber(state[3]) end
return 0
`)

// appendRecords appends the records from ARGV[4] on, which are numbered from ARGV[3]. Those that are there already are
// skipped, so that it can be repeated. All before ARGV[3] must be there or, up to ARGV[2], in PostgreSQL.
var appendRecords = redis.NewScript(`
local state = redis.call('HMGET', KEYS[1], 'epoch', 'writer', 'counter')
local mine, drained, first = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch = tonumber(state[1] or 0)
if epoch > mine then return redis.error_reply('FENCED ' .. state[1]) end
if epoch < mine then return redis.error_reply('STALE') end
local last = 0
if tonumber(state[2] or 0) == mine then last = tonumber(state[3]) end
last = math.max(last, drained)
if first > last + 1 then return redis.error_reply('GAP ' .. string.format('%.0f', last)) end
for i = 4, #ARGV do
	local counter = first + i - 4
	if counter > last then
		redis.call('XADD', KEYS[2], ARGV[1] .. '-' .. string.format('%.0f', counter), 'r', ARGV[i])
		last = counter
	end
end
redis.call('HSET', KEYS[1], 'writer', ARGV[1], 'counter', string.format('%.0f', last))
return last
`)

// trim drops the records before the ID ARGV[2]. It must not be called before all of them are in PostgreSQL.
var trim = redis.NewScript(`
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0)
local mine = tonumber(ARGV[1])
if epoch > mine then return redis.error_reply('FENCED') end
if epoch < mine then return redis.error_reply('STALE') end
return redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
`)

// redisLog is the log of all shards.
type redisLog struct {
	client redis.UniversalClient
	// replicated makes append wait for a replica.
	replicated bool
}

func (l redisLog) fence(ctx context.Context, shard int32, epoch int64) (counter int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	counter, err = fence.Run(ctx, l.client, []string{stateKey(shard)}, epoch).Int64()
	return counter, answer(err)
}

// append appends records, of which the first is number first, and says whether they are as durable as wanted.
func (l redisLog) append(
	ctx context.Context, shard int32, epoch, drained, first int64, records [][]byte,
) (durable bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	keys := []string{stateKey(shard), logKey(shard)}
	args := make([]any, 0, 3+len(records))
	args = append(args, epoch, drained, first)
	for _, record := range records {
		args = append(args, record)
	}
	if !l.replicated {
		return true, answer(appendRecords.Run(ctx, l.client, keys, args...).Err())
	}
	// WAIT speaks of the writes of its own connection: both go in one pipeline.
	var appended, received *redis.Cmd
	_, err = l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		appended = p.EvalSha(ctx, appendRecords.Hash(), keys, args...)
		received = p.Do(ctx, "WAIT", 1, replicaTimeout.Milliseconds())
		return nil
	})
	if redis.HasErrorPrefix(appended.Err(), "NOSCRIPT") {
		if err := appendRecords.Load(ctx, l.client).Err(); err != nil {
			return false, fmt.Errorf("load the script into redis: %w", err)
		}
		return l.append(ctx, shard, epoch, drained, first, records)
	}
	if appended.Err() != nil {
		return false, answer(appended.Err())
	}
	if err != nil {
		return false, fmt.Errorf("wait for a redis replica: %w", err)
	}
	replicas, err := received.Int64()
	return err == nil && replicas >= 1, nil
}

// trim drops what this epoch has written up to the counter, and everything of lower epochs.
func (l redisLog) trim(ctx context.Context, shard int32, epoch, counter int64) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	id := fmt.Sprintf("%d-%d", epoch, counter+1)
	return answer(trim.Run(ctx, l.client, []string{stateKey(shard), logKey(shard)}, epoch, id).Err())
}

// read returns the entries of the shard's log whose epoch is lower than below, in order. Records that cannot be
// understood are counted.
func (l redisLog) read(ctx context.Context, shard int32, below int64) (entries []storage.Entry, bad int, err error) {
	end := "+"
	if below > 0 {
		end = "(" + strconv.FormatInt(below, 10) + "-0"
	}
	for start := "-"; ; {
		page, err := l.page(ctx, shard, start, end)
		if err != nil {
			return nil, 0, err
		}
		for _, message := range page {
			text, _ := message.Values["r"].(string)
			entry, err := decodeRecord([]byte(text))
			if err != nil {
				bad++
				continue
			}
			entries = append(entries, entry)
		}
		if len(page) < readPage {
			return entries, bad, nil
		}
		start = "(" + page[len(page)-1].ID
	}
}

func (l redisLog) page(ctx context.Context, shard int32, start, end string) ([]redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	page, err := l.client.XRangeN(ctx, logKey(shard), start, end, readPage).Result()
	if err != nil {
		return nil, fmt.Errorf("read the shard's log in redis: %w", err)
	}
	return page, nil
}

// answer turns what the scripts answer into errors that callers decide on.
func answer(err error) error {
	if err == nil {
		return nil
	}
	switch text := strings.TrimPrefix(err.Error(), "ERR "); {
	case strings.HasPrefix(text, "FENCED"):
		return storage.ErrFenced
	case strings.HasPrefix(text, "STALE"):
		return errStale
	case strings.HasPrefix(text, "GAP "):
		// Redis appends the script's name to the error.
		number, _, _ := strings.Cut(strings.TrimPrefix(text, "GAP "), " ")
		if last, parseErr := strconv.ParseInt(number, 10, 64); parseErr == nil {
			return gapError{last}
		}
	}
	return fmt.Errorf("append to the log in redis: %w", err)
}
