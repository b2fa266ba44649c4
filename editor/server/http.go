package server

import (
	"net/http"
	"time"
)

const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = time.Minute
	answerTimeout = time.Minute
	idleTimeout   = 2 * time.Minute
)

// HTTP returns a server none of whose answers may be kept by anybody, and none of whose clients keeps a connection busy by
// sending or reading slowly. Handlers that take their time set deadlines of their own; hijacked connections have none.
func HTTP(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			// Also for bodies that nobody wants: the server reads them before it answers.
			if r.ContentLength != 0 {
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
			}
			handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
	}
}
