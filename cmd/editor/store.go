package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"collab.dev/operator/editor/auth"
	"collab.dev/operator/editor/storage"
	"collab.dev/operator/editor/storage/durable"
	"collab.dev/operator/editor/storage/embedded"
)

const (
	// postgresConnections bounds the connections to PostgreSQL, which serves many editors: enough for one drain, three
	// documents that are loaded, two snapshots, and the catalogue. They are closed when they are idle.
	postgresConnections = 8
	postgresIdle        = time.Minute
	connectTimeout      = 3 * time.Second
	migrateTimeout      = time.Minute
	maxBackoff          = 5 * time.Second
)

// stores keep documents, and know which there are and of which changes the application was told.
type stores interface {
	storage.Store
	storage.Notices
	Catalog() storage.Catalog
}

// backends are where everything is kept.
type backends struct {
	store stores
	// feed tells of the changes of hot documents; nil if nothing does.
	feed storage.Feed
	// sessions opens where the sessions of users are kept; close ends that.
	sessions func(retention time.Duration) (sessions auth.Sessions, close func(), err error)
}

// openBackends returns the backends that the configuration asks for.
func openBackends(
	ctx context.Context, c config, registry prometheus.Registerer, log *slog.Logger, wait *sync.WaitGroup,
) (backends, error) {
	metrics, history := storage.NewMetrics(registry), storage.History{Retention: c.historyRetention}
	if c.data == "" {
		return openDurable(ctx, c, metrics, history, log, wait)
	}
	store, err := embedded.Open(embedded.Options{
		Directory: c.data, Shards: int32(c.shards), History: history, Metrics: metrics, Logger: log,
	})
	if err != nil {
		return backends{}, fmt.Errorf("--data %s: %w", c.data, err)
	}
	return backends{store: store, sessions: func(retention time.Duration) (auth.Sessions, func(), error) {
		sessions, err := auth.OpenFileSessions(filepath.Join(c.data, "sessions.db"), retention, time.Now)
		if err != nil {
			return nil, nil, err
		}
		return sessions, func() { _ = sessions.Close() }, nil
	}}, nil
}

// openDurable returns the store in Redis and PostgreSQL. It does not wait for them: the schema is brought up to date in
// the background as soon as the database can be reached, and shards are opened again until they succeed.
func openDurable(
	ctx context.Context, c config, metrics *storage.Metrics, history storage.History, log *slog.Logger,
	wait *sync.WaitGroup,
) (backends, error) {
	pool, err := openPostgres(ctx, c)
	if err != nil {
		return backends{}, err
	}
	client, err := openRedis(c)
	if err != nil {
		pool.Close()
		return backends{}, err
	}
	store := durable.New(durable.Options{
		Redis: client, Postgres: pool, Durability: durable.Durability(c.durability), Shards: int32(c.shards),
		History: history, Metrics: metrics, Logger: log,
	})
	wait.Go(func() {
		defer pool.Close()
		defer func() { _ = client.Close() }()
		migrate(ctx, pool, log)
		<-ctx.Done()
	})
	return backends{
		store: store, feed: store,
		sessions: func(retention time.Duration) (auth.Sessions, func(), error) {
			return auth.NewRedisSessions(auth.RedisOptions{Client: client, Retention: retention, Logger: log}), func() {}, nil
		},
	}, nil
}

func openPostgres(ctx context.Context, c config) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(c.postgresURL)
	if err != nil {
		return nil, fmt.Errorf("--postgres-url: %w", err)
	}
	durable.Configure(config)
	config.ConnConfig.ConnectTimeout = connectTimeout
	if !strings.Contains(c.postgresURL, "pool_max_conns=") {
		config.MaxConns = postgresConnections
	}
	config.MaxConnIdleTime = postgresIdle
	if c.postgresPasswordFile != "" {
		// The file is read for every connection, so that a changed password needs no restart.
		config.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
			var err error
			conn.Password, err = password(c.postgresPasswordFile)
			return err
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("--postgres-url: %w", err)
	}
	return pool, nil
}

func openRedis(c config) (redis.UniversalClient, error) {
	secret, err := password(c.redisPasswordFile)
	if err != nil {
		return nil, err
	}
	logging.Disable() // Its errors are returned too, and logged once.
	options := &redis.UniversalOptions{
		Addrs: []string{c.redisAddress}, Password: secret,
		DialTimeout: connectTimeout, ReadTimeout: connectTimeout, WriteTimeout: connectTimeout,
		// The store bounds every call itself and knows what may be repeated.
		ContextTimeoutEnabled: true, MaxRetries: -1,
	}
	if c.redisSentinels != "" {
		options.Addrs = strings.Split(c.redisSentinels, ",")
		options.MasterName = c.redisMaster
		options.SentinelPassword = secret
	}
	return redis.NewUniversalClient(options), nil
}

// migrate brings the schema up to date, as often as it takes.
func migrate(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) {
	for backoff := 100 * time.Millisecond; ; backoff = min(2*backoff, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, migrateTimeout)
		err := durable.Migrate(attempt, pool)
		cancel()
		if err == nil {
			log.Info("The database's schema is up to date")
			return
		}
		if ctx.Err() != nil {
			return
		}
		log.Warn("The database's schema cannot be brought up to date yet; trying again", "in", backoff, "error", err)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return
		}
	}
}
