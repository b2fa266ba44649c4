package durable

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
)

// Hasty makes a store of the options wait as shortly as it can, for tests of many failures.
func Hasty(options Options) Options {
	options.pauses = &pauses{
		drain: 3 * time.Millisecond, redis: 3 * time.Millisecond, database: 3 * time.Millisecond,
		trim: 10 * time.Millisecond,
	}
	return options
}

// MigrateTo takes the schema back to a version.
func MigrateTo(ctx context.Context, pool *pgxpool.Pool, version int64) error {
	return migrate(pool, func(provider *goose.Provider) error {
		_, err := provider.DownTo(ctx, version)
		return err
	})
}
