package durable

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/internal/record"
)

// feedBuffer is how many messages of Redis may wait for being told.
const feedBuffer = 4096

// missedMessage is published instead of operations that never reached the log, because PostgreSQL had them first.
const missedMessage = ""

// feed implements storage.Feed on Redis Pub/Sub, with one connection for all subscriptions of the process.
type feed struct {
	// wake tells the subscriber that wanted has changed.
	wake chan struct{}
	run  sync.Once

	mu     sync.Mutex
	wanted map[string]map[*subscription]struct{} // by channel
}

// subscription is one call of Subscribe.
type subscription struct {
	mu      sync.Mutex
	stopped bool
	take    func(storage.Entry)
	lost    func()
}

// tell calls back, unless the subscription was stopped.
func (s *subscription) tell(call func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		call()
	}
}

var _ storage.Feed = (*Store)(nil)

// Subscribe implements storage.Feed. stop must not be called by take or lost. While the owner of the document cannot
// reach Redis, its operations are not published; lost is called when it can again.
func (s *Store) Subscribe(document string, take func(storage.Entry), lost func()) (stop func()) {
	added := &subscription{take: take, lost: lost}
	name := channel(document)
	s.feed.mu.Lock()
	if s.feed.wanted[name] == nil {
		s.feed.wanted[name] = map[*subscription]struct{}{}
	}
	s.feed.wanted[name][added] = struct{}{}
	s.feed.mu.Unlock()
	s.mu.Lock()
	if !s.closed {
		s.feed.run.Do(func() { s.wait.Go(func() { s.follow(s.running) }) })
	}
	s.mu.Unlock()
	wake(s.feed.wake)
	return func() {
		s.feed.mu.Lock()
		delete(s.feed.wanted[name], added)
		if len(s.feed.wanted[name]) == 0 {
			delete(s.feed.wanted, name)
		}
		s.feed.mu.Unlock()
		added.mu.Lock()
		added.stopped = true
		added.mu.Unlock()
		wake(s.feed.wake)
	}
}

// subscriptions are those of a channel.
func (f *feed) subscriptions(name string) []*subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.wanted[name]))
}

// follow tells the subscriptions of what is published, until ctx ends.
func (s *Store) follow(ctx context.Context) {
	pubsub := s.log.client.Subscribe(ctx)
	defer func() { _ = pubsub.Close() }()
	var subscriber sync.WaitGroup
	defer subscriber.Wait()
	subscriber.Go(func() { s.subscribe(ctx, pubsub) })
	// The client connects again by itself, and says for each channel that it is subscribed to it again.
	messages := pubsub.ChannelWithSubscriptions(
		redis.WithChannelSize(feedBuffer), redis.WithChannelHealthCheckInterval(time.Second))
	for {
		select {
		case message, ok := <-messages:
			if !ok {
				return
			}
			s.feed.tell(message)
		case <-ctx.Done():
			return
		}
	}
}

// tell tells the subscriptions of a message of Redis.
func (f *feed) tell(message any) {
	switch message := message.(type) {
	case *redis.Subscription:
		if message.Kind == "subscribe" {
			for _, to := range f.subscriptions(message.Channel) {
				to.tell(to.lost)
			}
		}
	case *redis.Message:
		entry, err := record.Decode([]byte(message.Payload))
		for _, to := range f.subscriptions(message.Channel) {
			if err != nil { // That is missedMessage, or of a newer version.
				to.tell(to.lost)
				continue
			}
			to.tell(func() { to.take(entry) })
		}
	}
}

// subscribe keeps the connection subscribed to what is wanted.
func (s *Store) subscribe(ctx context.Context, pubsub *redis.PubSub) {
	subscribed := map[string]map[*subscription]struct{}{}
	for {
		s.feed.mu.Lock()
		var add, remove []string
		for name, wanted := range s.feed.wanted {
			// Whoever is new on a channel is told by subscribing again.
			for one := range wanted {
				if _, ok := subscribed[name][one]; !ok {
					add = append(add, name)
					break
				}
			}
		}
		for name := range subscribed {
			if _, ok := s.feed.wanted[name]; !ok {
				remove = append(remove, name)
				delete(subscribed, name)
			}
		}
		for _, name := range add {
			subscribed[name] = maps.Clone(s.feed.wanted[name])
		}
		s.feed.mu.Unlock()
		// What fails is made up for when the client has connected again.
		calling, cancel := context.WithTimeout(ctx, redisTimeout)
		if len(remove) > 0 {
			_ = pubsub.Unsubscribe(calling, remove...)
		}
		if len(add) > 0 {
			_ = pubsub.Subscribe(calling, add...)
		}
		cancel()
		select {
		case <-s.feed.wake:
		case <-ctx.Done():
			return
		}
	}
}

// publishMissed tells the subscribers of documents that they have missed operations.
func (l redisLog) publishMissed(ctx context.Context, documents []string) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	_, err := l.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, document := range documents {
			p.Publish(ctx, channel(document), missedMessage)
		}
		return nil
	})
	return err
}
