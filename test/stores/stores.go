//go:build stores

// Package stores starts real PostgreSQL and Redis servers on loopback for tests, each in a folder of its own, and ends
// them with the test. It knows nothing of what the tests do with them.
package stores

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

// startTimeout bounds how long a server may take to answer.
const startTimeout = time.Minute

// Server is a server process that tests can stop and start again on the same address with the same data.
type Server struct {
	// Address is host and port of a Redis, and the URL of a PostgreSQL.
	Address string

	t       testing.TB
	command func() *exec.Cmd
	process *exec.Cmd
	answers func(context.Context) error
}

// Start starts the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.process = s.command()
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("start %s: %v; run make test-stores, which installs it", s.process.Path, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := s.answers(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("%s does not answer: %v", s.process.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the server as a crash would.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.Thaw() // A child that is frozen would not notice.
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
}

// Freeze makes the server silent: it keeps its connections and answers nothing until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

// signal sends a signal to the server and to its children: each connection of PostgreSQL has a process of its own.
func (s *Server) signal(signal syscall.Signal) {
	pid := s.process.Process.Pid
	_ = syscall.Kill(pid, signal)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		s.t.Fatalf("the server's children cannot be found: %v", err)
	}
	for child := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// freePort is a port that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// StartRedis starts a Redis and returns a client for it, which fails fast.
func StartRedis(t testing.TB) (*Server, *redis.Client) {
	t.Helper()
	port, folder := freePort(t), t.TempDir()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, MaxRetries: -1, DialTimeout: time.Second})
	s := &Server{
		Address: "127.0.0.1:" + port, t: t,
		command: func() *exec.Cmd {
			return exec.CommandContext(context.Background(), "redis-server",
				"--port", port, "--bind", "127.0.0.1", "--dir", folder,
				"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", "redis.log")
		},
		answers: func(ctx context.Context) error { return client.Ping(ctx).Err() },
	}
	s.Start()
	t.Cleanup(func() {
		_ = client.Close()
		s.Kill()
	})
	return s, client
}

// StartPostgres starts a PostgreSQL and returns a pool for it. The server does not run as root: where the tests do, it
// runs as the user postgres of Debian's package.
func StartPostgres(t testing.TB) (*Server, *pgxpool.Pool) {
	t.Helper()
	binaries, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(binaries) == 0 {
		t.Fatal("there is no PostgreSQL server; run make test-stores, which installs it")
	}
	bin := binaries[len(binaries)-1]
	folder, err := os.MkdirTemp("", "collab-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	var account *syscall.SysProcAttr
	if os.Getuid() == 0 {
		account = asPostgres(t, folder)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	data, port := filepath.Join(folder, "data"), freePort(t)
	run := func(name string, args ...string) *exec.Cmd {
		command := exec.CommandContext(context.Background(), filepath.Join(bin, name), args...)
		command.Dir, command.SysProcAttr = folder, account
		return command
	}
	if output, err := run("initdb", "--pgdata", data, "--auth", "trust", "--username", "collab", "--encoding", "UTF8",
		"--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}
	address := fmt.Sprintf("postgres://collab@127.0.0.1:%s/postgres?sslmode=disable&connect_timeout=2", port)
	pool, err := pgxpool.New(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Address: address, t: t,
		command: func() *exec.Cmd {
			// A killed server leaves its lock file behind, whose process number may be somebody else's by now.
			_ = os.Remove(filepath.Join(data, "postmaster.pid"))
			return run("postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1",
				"-c", "unix_socket_directories="+folder, "-c", "logging_collector=off", "-c", "max_connections=50")
		},
		answers: pool.Ping,
	}
	s.Start()
	t.Cleanup(func() {
		pool.Close()
		s.Kill()
	})
	return s, pool
}

// asPostgres gives the folder to the user postgres and lets a command run as that user.
func asPostgres(t testing.TB, folder string) *syscall.SysProcAttr {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("PostgreSQL does not run as root, and there is no user postgres: %v; install Debian's postgresql", err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	if err := os.Chown(folder, uid, gid); err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
