//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// The document as PostgreSQL has it: its newest snapshot and the operations after it.
const (
	selectSnapshot   = `SELECT seq, state FROM snapshots WHERE document = $1 ORDER BY seq DESC LIMIT 1`
	selectOperations = `SELECT update FROM operations WHERE document = $1 AND seq > $2 ORDER BY seq`
	selectLastSeq    = `SELECT coalesce(max(seq), 0) FROM operations WHERE document = $1`
)

// storedUpdates are the updates that PostgreSQL holds of the document.
func storedUpdates(t *testing.T, document string) ([][]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), answerTimeout)
	defer cancel()
	connection, err := database(ctx, t)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close(context.WithoutCancel(ctx)) }()

	// One transaction, so that a snapshot taken in between does not hide operations.
	transaction, err := connection.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = transaction.Rollback(context.WithoutCancel(ctx)) }()
	var (
		updates [][]byte
		seq     int64
		state   []byte
	)
	rows, err := transaction.Query(ctx, selectSnapshot, document)
	if err != nil {
		return nil, err
	}
	if rows.Next() {
		if err := rows.Scan(&seq, &state); err != nil {
			rows.Close()
			return nil, err
		}
		updates = append(updates, state)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	rows, err = transaction.Query(ctx, selectOperations, document, seq)
	if err != nil {
		return nil, err
	}
	tail, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, fmt.Errorf("read the operations: %w", err)
	}
	return append(updates, tail...), nil
}

// lastStored is the number of the document's last operation in PostgreSQL.
func lastStored(ctx context.Context, connection *pgx.Conn, document string) (int64, error) {
	var seq int64
	if err := connection.QueryRow(ctx, selectLastSeq, document).Scan(&seq); err != nil {
		return 0, fmt.Errorf("read the last operation of %s: %w", document, err)
	}
	return seq, nil
}
