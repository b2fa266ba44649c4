//go:build !race

package crdt

const poolsForget = false
