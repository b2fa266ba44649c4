//go:build e2e

package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// answerTimeout bounds every request to the clients but those that wait for typing to end.
const (
	answerTimeout = 20 * time.Second
	typingTimeout = 3 * time.Minute
)

var errClientsGone = errors.New("the process of the clients has ended (its output is above)")

// clients is a Node process that runs unmodified Yjs clients.
type clients struct {
	process *exec.Cmd
	input   io.WriteCloser

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	ended   bool
}

type answer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
}

// startClients starts the process, which ends with the test.
func startClients(t *testing.T) *clients {
	t.Helper()
	process := exec.Command("node", "clients/client.mjs")
	process.Stderr = os.Stderr
	input, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatalf("start the clients (hack/test/e2e.sh installs what they need): %v", err)
	}
	c := &clients{process: process, input: input, waiting: map[int]chan answer{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(output)
	}()
	t.Cleanup(func() {
		_ = input.Close()
		select {
		case <-read:
		case <-time.After(answerTimeout):
			_ = process.Process.Kill()
			<-read
		}
		_ = process.Wait()
	})
	return c
}

// read hands each answer to the request that waits for it, until the process ends.
func (c *clients) read(output io.Reader) {
	decoder := json.NewDecoder(bufio.NewReader(output))
	for {
		var a answer
		err := decoder.Decode(&a)
		c.mu.Lock()
		if err != nil {
			c.ended = true
			for _, waiting := range c.waiting {
				close(waiting)
			}
			c.waiting = nil
			c.mu.Unlock()
			return
		}
		waiting := c.waiting[a.ID]
		delete(c.waiting, a.ID)
		c.mu.Unlock()
		if waiting != nil {
			waiting <- a
		}
	}
}

type request map[string]any

// call sends the request and decodes the answer's result.
func (c *clients) call(timeout time.Duration, r request, result any) error {
	waiting, err := c.send(r)
	if err != nil {
		return err
	}
	select {
	case a, ok := <-waiting:
		switch {
		case !ok:
			return errClientsGone
		case a.Error != "":
			return fmt.Errorf("%v of client %v: %s", r["op"], r["client"], a.Error)
		case result == nil:
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-time.After(timeout):
		return fmt.Errorf("%v of client %v: no answer in %s", r["op"], r["client"], timeout)
	}
}

func (c *clients) send(r request) (<-chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, errClientsGone
	}
	c.last++
	r["id"] = c.last
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	waiting := make(chan answer, 1)
	c.waiting[c.last] = waiting
	if _, err := c.input.Write(append(line, '\n')); err != nil {
		delete(c.waiting, c.last)
		return nil, errors.Join(errClientsGone, err)
	}
	return waiting, nil
}

// must is call for requests that fail only when the test is broken.
func (c *clients) must(t *testing.T, r request, result any) {
	t.Helper()
	if err := c.call(answerTimeout, r, result); err != nil {
		t.Fatal(err)
	}
}

// connect opens a document on the server at host:port and waits until the client has what the server has.
func (c *clients) connect(t *testing.T, client, host, document string) {
	t.Helper()
	c.begin(t, client, host, document)
	c.awaitSynced(t, client)
}

// awaitSynced waits until the client has what the server has.
func (c *clients) awaitSynced(t *testing.T, client string) {
	t.Helper()
	await(t, time.Minute, func() error {
		var state struct{ Synced bool }
		if err := c.call(answerTimeout, request{"op": "state", "client": client}, &state); err != nil {
			return err
		}
		if !state.Synced {
			return fmt.Errorf("the client %s is not in sync", client)
		}
		return nil
	})
}

// begin is connect without waiting.
func (c *clients) begin(t *testing.T, client, host, document string) {
	t.Helper()
	c.beginAt(t, client, "ws://"+host+"/collab", document, "")
}

// beginAt begins to connect to an address with a token.
func (c *clients) beginAt(t *testing.T, client, url, document, token string) {
	t.Helper()
	c.must(t, request{"op": "connect", "client": client, "url": url, "room": document, "token": token}, nil)
	t.Cleanup(func() { _ = c.call(answerTimeout, request{"op": "disconnect", "client": client}, nil) })
}

// disconnect takes the client and its document away.
func (c *clients) disconnect(t *testing.T, client string) {
	t.Helper()
	c.must(t, request{"op": "disconnect", "client": client}, nil)
}

// typeTokens lets the client begin to type count tokens "tag-0;" to "tag-<count-1>;".
func (c *clients) typeTokens(t *testing.T, client, tag string, count int, interval time.Duration) {
	t.Helper()
	c.must(t, request{
		"op": "type", "client": client, "tag": tag, "count": count, "interval": interval.Milliseconds(),
	}, nil)
}

// typed waits until the client has typed everything and returns how many tokens those were since it connected.
func (c *clients) typed(t *testing.T, client string) int {
	t.Helper()
	return c.endTyping(t, client, "typed")
}

// stop ends the client's typing and returns how many tokens it has typed since it connected.
func (c *clients) stop(t *testing.T, client string) int {
	t.Helper()
	return c.endTyping(t, client, "stop")
}

func (c *clients) endTyping(t *testing.T, client, op string) int {
	t.Helper()
	var result struct{ Typed int }
	if err := c.call(typingTimeout, request{"op": op, "client": client}, &result); err != nil {
		t.Fatal(err)
	}
	return result.Typed
}

// text is the document as the client has it.
func (c *clients) text(client string) (string, error) {
	var result struct{ Text string }
	err := c.call(answerTimeout, request{"op": "text", "client": client}, &result)
	return result.Text, err
}

// replay is the text of the document that consists of these updates.
func (c *clients) replay(updates [][]byte) (string, error) {
	var result struct{ Text string }
	err := c.call(answerTimeout, request{"op": "replay", "updates": updates}, &result)
	return result.Text, err
}
