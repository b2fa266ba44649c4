package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without a network, for clocks that are not the world's.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// talk lets a client talk to a server, in time that passes at once.
func talk(t *testing.T, handler http.HandlerFunc, client func(t *testing.T, conn net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener, server := make(pipes), HTTP(handler)
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(listener)
		}()
		near, far := net.Pipe()
		listener <- far
		client(t, near)
		_ = near.Close()
		_ = server.Close()
		<-served
		time.Sleep(time.Minute) // Until all that goes on by itself has ended.
	})
}

// ended returns how long it takes until the other side closes the connection, at most an hour.
func ended(conn net.Conn) time.Duration {
	begin := time.Now()
	_ = conn.SetReadDeadline(begin.Add(time.Hour))
	_, _ = io.Copy(io.Discard, conn)
	return time.Since(begin)
}

// drip sends a text, and then something every second.
func drip(conn net.Conn, text string) {
	_, err := io.WriteString(conn, text)
	for ; err == nil; time.Sleep(time.Second) {
		_, err = io.WriteString(conn, "x")
	}
}

func TestWhoSendsSlowlyIsLeft(t *testing.T) {
	reads := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	ignores := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		sends   string
		most    time.Duration
	}{
		"a header":                 {ignores, "GET / HTTP/1.1\r\nHost: a\r\nX: ", headerTimeout},
		"a body":                   {reads, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", bodyTimeout},
		"a body that nobody wants": {ignores, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", bodyTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			talk(t, c.handler, func(t *testing.T, conn net.Conn) {
				go drip(conn, c.sends)
				// net/http lingers for a moment.
				if took := ended(conn); took < c.most/2 || took > c.most+5*time.Second {
					t.Errorf("left after %v", took)
				}
			})
		})
	}
}

func TestWhoSaysNothingMoreIsLeft(t *testing.T) {
	talk(t, func(http.ResponseWriter, *http.Request) {}, func(t *testing.T, conn net.Conn) {
		go func() { _, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
		if took := ended(conn); took < idleTimeout/2 || took > idleTimeout+5*time.Second {
			t.Errorf("left after %v", took)
		}
	})
}

func TestWhoDoesNotReadIsLeft(t *testing.T) {
	gone := make(chan time.Duration, 1)
	talk(t, func(w http.ResponseWriter, _ *http.Request) {
		begin := time.Now()
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil {
				gone <- time.Since(begin)
				return
			}
		}
	}, func(t *testing.T, conn net.Conn) {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		time.Sleep(answerTimeout + 5*time.Second)
		synctest.Wait()
		select {
		case took := <-gone:
			if took > answerTimeout+5*time.Second {
				t.Errorf("left after %v", took)
			}
		default:
			t.Error("it waits for ever")
		}
	})
}

func TestARequestMayTakeItsTime(t *testing.T) {
	talk(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))
		select {
		case <-r.Context().Done():
		case <-time.After(30 * time.Minute):
			_, _ = io.WriteString(w, "done")
		}
	}, func(t *testing.T, conn net.Conn) {
		go func() { _, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx") }()
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(answer), "done") {
			t.Errorf("%v: %s", err, answer)
		}
	})
}

func TestAHijackedConnectionHasNoDeadline(t *testing.T) {
	talk(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { // As the edge serves WebSockets.
			defer func() { _ = conn.Close() }()
			line, err := buffered.ReadString('\n')
			if err == nil {
				_, err = io.WriteString(conn, line)
			}
			if err != nil {
				t.Errorf("after its request the connection ends: %v", err)
			}
		}()
	}, func(t *testing.T, conn net.Conn) {
		// Even one that announces a body.
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
		time.Sleep(time.Hour)
		go func() { _, _ = io.WriteString(conn, "hello\n") }()
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\n" {
			t.Errorf("%q, %v", line, err)
		}
	})
}
