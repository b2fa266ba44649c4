//go:build !controlplane

package sharding

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain finds goroutines that outlive the tests. With the tests that need an API server, a manager runs beside them
// and comes and goes with goroutines of its own.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
