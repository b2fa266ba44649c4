package durable

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errUnreplicated says that a transaction was committed, but that the wait for the synchronous standby was cut short: a
// fail-over may lose it. Its outcome is unknown, and it is to be repeated.
var errUnreplicated = errors.New("postgres has committed without waiting for its standby")

// warned is the key of a connection's custom data under which a warning is kept.
const warned = "collab.dev/warned"

// Configure makes the connections of a pool tell when a transaction was committed without waiting for the synchronous
// standby, which PostgreSQL says by a warning only. The pools that are given to New should be made with it.
func Configure(config *pgxpool.Config) {
	next := config.ConnConfig.OnNotice
	config.ConnConfig.OnNotice = func(conn *pgconn.PgConn, notice *pgconn.Notice) {
		if notice.SeverityUnlocalized == "WARNING" {
			conn.CustomData()[warned] = notice.Message
		}
		if next != nil {
			next(conn, notice)
		}
	}
}

// expectNotices begins a transaction without warnings.
func expectNotices(conn *pgconn.PgConn) { delete(conn.CustomData(), warned) }

// replicated fails if the transaction that ended was warned of. Ours give no cause for any other warning.
func replicated(conn *pgconn.PgConn) error {
	if _, ok := conn.CustomData()[warned]; ok {
		return errUnreplicated
	}
	return nil
}
