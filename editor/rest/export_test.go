package rest

import "context"

// ParseArchived is for the fuzzer.
func ParseArchived(line []byte) (Archived, error) {
	return parseArchived(line, func(string) error { return nil })
}

// Parallel is how many requests may have whole documents in memory at the same time, Imports how many imports may come in.
const (
	Parallel = parallel
	Imports  = imports
)

// Work waits for somebody's turn to have a whole document in memory.
func (a *API) Work(ctx context.Context, who string) (done func(), err error) {
	return a.busy.take(ctx, who)
}
