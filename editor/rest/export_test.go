package rest

import "context"

// ParseArchived is for the fuzzer.
var ParseArchived = parseArchived

// Parallel is how many requests may have whole documents in memory at the same time.
const Parallel = parallel

// Work waits for a turn to have a whole document in memory.
func (a *API) Work(ctx context.Context) (done func(), err error) { return a.work(ctx) }
