//go:build race

package crdt

// The race detector makes pools forget what they are given, to find who relies on it.
const poolsForget = true
