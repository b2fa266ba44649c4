// Package lib0 is the binary vocabulary that Yjs speaks: variable-length integers, length-prefixed strings, the
// self-describing "any" encoding, JavaScript's JSON, and the run-length coders of update format v2.
//
// Writers append to a byte slice and cannot fail. Readers never trust a length: whatever a decoder allocates is bounded
// by the bytes that it was given, nesting is bounded by [MaxDepth], and the first violation sticks to the decoder.
//
// JavaScript values map to Go as
//
//	null        nil
//	undefined   Undefined{}
//	boolean     bool
//	number      float64 (the only number type of JavaScript)
//	bigint      BigInt
//	string      string, UTF-8; a lone surrogate is U+FFFD
//	Uint8Array  []byte
//	array       []any
//	object      Object, an ordered list of members
//
// The package knows nothing of documents, structs or updates.
package lib0
