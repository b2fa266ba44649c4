package durable

import (
	"context"
)

// tidy is the janitor.
func (s *Store) tidy(ctx context.Context) { <-ctx.Done() }
