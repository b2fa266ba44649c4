// Package socket owns how few goroutines read and write many sockets: it takes them over from package net, reads and
// writes without waiting, and says which of them are ready.
//
// It knows bytes only, and nothing of connections, of WebSockets or of documents.
package socket

// Event says what a socket is ready for.
type Event struct {
	// ID is the socket's, as Poller.Add was told it.
	ID uint64
	// Readable says that there is something to read, Writable that there is room for writing. Hung says that the other end
	// has ended the stream, perhaps behind data.
	Readable, Writable, Hung bool
}
