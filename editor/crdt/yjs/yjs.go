// Package yjs runs the real Yjs and its relatives, from npm, in Node: the reference that the tests and the benchmarks
// hold the document engine against. Nothing but those imports it.
//
// The npm packages are pinned by package-lock.json. They are installed once, into the user's cache.
package yjs

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed" // For the list of npm packages and a script.
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"collab.dev/operator/editor/crdt/lib0"
)

//go:embed package.json
var packageJSON []byte

//go:embed package-lock.json
var packageLock []byte

//go:embed serve.mjs
var serve string

// ErrNoNode reports that Node.js or npm is not installed.
var ErrNoNode = errors.New("node and npm 18 or newer are needed, and are not installed")

const installTimeout = 5 * time.Minute

// Modules returns a folder in which Node finds the packages. It installs them if they are not there, which needs npm's
// registry. It may be called by several processes at once.
func Modules(ctx context.Context) (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", ErrNoNode
		}
	}
	cache := os.Getenv("COLLAB_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("where to install Yjs: %w", err)
		}
		cache = filepath.Join(user, "collab-operator")
	}
	dir := filepath.Join(cache, fmt.Sprintf("yjs-%x", sha256.Sum256(packageLock))[:20])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, install(ctx, cache, dir)
}

func install(ctx context.Context, cache, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("install Yjs: %w", err)
	}
	temporary, err := os.MkdirTemp(cache, "yjs-installing-")
	if err != nil {
		return fmt.Errorf("install Yjs: %w", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }() // It is a cache.
	for name, content := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock} {
		if err := os.WriteFile(filepath.Join(temporary, name), content, 0o600); err != nil {
			return fmt.Errorf("install Yjs: %w", err)
		}
	}
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = temporary
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("install Yjs: npm: %w\n%s", err, out)
	}
	if err := os.Rename(temporary, dir); err != nil {
		if _, there := os.Stat(dir); there == nil {
			return nil // Another process was faster.
		}
		return fmt.Errorf("install Yjs: %w", err)
	}
	return nil
}

// Process is a program that answers requests: Node with a script, mostly. A request and its answer are values in the
// any encoding of lib0 behind their length in four bytes, least significant first.
type Process struct {
	mu  sync.Mutex
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Start runs a script, which is a JavaScript module, with flags for Node in front of it. The script calls serve, which
// serve.mjs defines, with a function from requests to answers. The process ends with the context.
func Start(ctx context.Context, script string, flags ...string) (*Process, error) {
	dir, err := Modules(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "node", append(flags, "--input-type=module", "-e", serve+script)...)
	cmd.Dir = dir
	return StartCommand(cmd)
}

// StartCommand runs a program that answers requests as a script for Start does. Its standard error is ours.
func StartCommand(cmd *exec.Cmd) (*Process, error) {
	cmd.Stderr = os.Stderr
	p := &Process{cmd: cmd}
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p.out = bufio.NewReaderSize(out, 1<<16)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// Call sends a request and returns the answer. It is safe for concurrent use: one request is answered at a time.
func (p *Process) Call(request any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := WriteFrame(p.in, request); err != nil {
		return nil, fmt.Errorf("ask %s: %w", p.cmd.Path, err)
	}
	answer, err := ReadFrame(p.out)
	if err != nil {
		return nil, fmt.Errorf("wait for %s: %w", p.cmd.Path, err)
	}
	return answer, nil
}

// WriteFrame writes a request or an answer.
func WriteFrame(w io.Writer, v any) error {
	frame := lib0.AppendAny(make([]byte, 4, 512), v)
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-4))
	_, err := w.Write(frame)
	return err
}

// ReadFrame reads a request or an answer.
func ReadFrame(r io.Reader) (any, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.LittleEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	d := lib0.NewDecoder(body)
	v := d.Any()
	return v, d.Err()
}

// Close ends the process.
func (p *Process) Close() error {
	if err := p.in.Close(); err != nil {
		return fmt.Errorf("end %s: %w", p.cmd.Path, err)
	}
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("end %s: %w", p.cmd.Path, err)
	}
	return nil
}

// StartForTest is Start for a test, which it skips if Node is not installed, unless COLLAB_REQUIRE_NODE is set.
func StartForTest(t testing.TB, script string, flags ...string) *Process {
	t.Helper()
	p, err := Start(context.WithoutCancel(t.Context()), script, flags...)
	if errors.Is(err, ErrNoNode) && os.Getenv("COLLAB_REQUIRE_NODE") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}
