package sharding

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// EpochSource tells the highest epoch that a cluster's stores have seen, 0 if they have seen none. A new shard map
// must start above it, or its owners would be fenced out.
type EpochSource interface {
	HighestEpoch(ctx context.Context, cluster *v1alpha1.CollabCluster) (int64, error)
}

// PostgresEpochs asks the cluster's PostgreSQL, which is the authority on epochs.
type PostgresEpochs struct {
	// Reader reads the Secret with the password.
	Reader client.Reader
}

// epochsTimeout bounds asking PostgreSQL, connecting included.
const epochsTimeout = 3 * time.Second

// undefinedTable is PostgreSQL's error code for a table that does not exist: no editor has run its migrations yet.
const undefinedTable = "42P01"

// HighestEpoch implements EpochSource. It fails while PostgreSQL cannot be reached.
func (p *PostgresEpochs) HighestEpoch(ctx context.Context, cluster *v1alpha1.CollabCluster) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, epochsTimeout)
	defer cancel()
	var secret corev1.Secret
	name := client.ObjectKey{Namespace: cluster.Namespace, Name: child.CredentialsSecret(cluster.Name, child.Postgres)}
	if err := p.Reader.Get(ctx, name, &secret); err != nil {
		return 0, fmt.Errorf("reading the password of PostgreSQL: %w", err)
	}
	dsn := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("collab", string(secret.Data["collab-password"])),
		Host:     fmt.Sprintf("%s.%s.svc:5432", child.ObjectName(cluster.Name, child.HAProxy), cluster.Namespace),
		Path:     "/collab",
		RawQuery: "sslmode=disable&application_name=" + child.ManagedBy,
	}
	return highestEpoch(ctx, dsn.String())
}

func highestEpoch(ctx context.Context, dsn string) (int64, error) {
	connection, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer func() { _ = connection.Close(ctx) }()
	var epoch int64
	err = connection.QueryRow(ctx, "SELECT coalesce(max(epoch), 0) FROM shards").Scan(&epoch)
	var refusal *pgconn.PgError
	switch {
	case errors.As(err, &refusal) && refusal.Code == undefinedTable:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("reading the highest epoch: %w", err)
	}
	return epoch, nil
}
