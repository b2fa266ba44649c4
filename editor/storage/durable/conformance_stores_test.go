//go:build stores

package durable_test

import (
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"collab.dev/operator/editor/storage/durable"
	"collab.dev/operator/editor/storage/storagetest"
	"collab.dev/operator/test/stores"
)

func TestTheDurableStoreDoesWhatEveryStoreMust(t *testing.T) {
	_, client := stores.StartRedis(t)
	_, pool := stores.StartPostgres(t)
	for _, durability := range []durable.Durability{durable.Redis, durable.Postgres} {
		t.Run(string(durability), func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) storagetest.Open {
				clean(t, client, pool)
				return func(_ *testing.T, config storagetest.Config) storagetest.Store {
					return durable.New(durable.Options{
						Redis: client, Postgres: pool, Durability: durability, Shards: storagetest.Shards(),
						History: config.History, Now: config.Now, BufferBytes: config.BufferBytes,
						Logger: slog.New(slog.DiscardHandler),
					})
				}
			})
		})
	}
}

// clean empties the servers.
func clean(t *testing.T, client redis.UniversalClient, pool *pgxpool.Pool) {
	t.Helper()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `DROP SCHEMA public CASCADE; CREATE SCHEMA public`); err != nil {
		t.Fatal(err)
	}
	pool.Reset()
	if err := durable.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
}
