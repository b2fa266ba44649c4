package webhook

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTheReceiversOfTheDocumentationCheckSignatures runs the programs of docs/webhooks.md.
func TestTheReceiversOfTheDocumentationCheckSignatures(t *testing.T) {
	page, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for language, name := range map[string]string{"js": "receiver.mjs", "go": "receiver.go"} {
		t.Run(language, func(t *testing.T) {
			_, source, _ := strings.Cut(string(page), "\n```"+language+"\n")
			source, _, found := strings.Cut(source, "\n```\n")
			if !found {
				t.Fatal("the page has no such program")
			}
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
				t.Fatal(err)
			}
			command := []string{"node", file}
			if language == "go" {
				command = []string{filepath.Join(filepath.Dir(file), "receiver")}
				if out, err := exec.Command("go", "build", "-o", command[0], file).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skip(err)
			}
			address, lines := runReceiver(t, command)
			deliver := func(secret string) outcome {
				sender := newTestSender(t, "http://"+address, secret)
				defer sender.client.CloseIdleConnections()
				o, _, _ := sender.send(t.Context(), change{document: document, seq: 7, at: time.Now()})
				return o
			}
			for began := time.Now(); deliver(secret) == failed; {
				if time.Since(began) > patience {
					t.Fatal("it does not answer")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if line := <-lines; !strings.Contains(line, "acme/plan is at 7") {
				t.Errorf("it says %q", line)
			}
			if o := deliver(strings.Repeat("x", 32)); o != refused {
				t.Errorf("a delivery with another signature is %v", o)
			}
		})
	}
}

func newTestSender(t *testing.T, url, secret string) *sender {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newSender(url, file, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runReceiver starts a program until the test ends. It returns its address and the lines that it prints.
func runReceiver(t *testing.T, command []string) (address string, lines <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	ctx, cancel := context.WithCancel(context.Background())
	program := exec.CommandContext(ctx, command[0], command[1:]...)
	program.Env = append(os.Environ(), "PORT="+port, "WEBHOOK_SECRET="+secret)
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			said <- scanner.Text()
		}
		_ = program.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return address, said
}
