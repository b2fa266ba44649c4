// Package difftest compares the document engine with the real Yjs while both are at work: its tests make peers in Go
// and in JavaScript edit and exchange at random, and check after every step that both hold the same bytes.
package difftest
