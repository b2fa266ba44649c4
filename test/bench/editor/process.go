package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat, which Linux shows in hundredths of a second on every architecture.
const clockTick = 10 * time.Millisecond

// process is a program that the benchmark runs, and that ends with stop.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	log    string
}

// command says what to run.
type command struct {
	path string
	args []string
	// env adds to the environment.
	env []string
	// cpus are those that the program may use, as taskset writes them; empty for all.
	cpus string
	// dir is the program's folder, account whom it runs as; both may be left out.
	dir     string
	account *syscall.SysProcAttr
	// log is the file that takes its output.
	log string
}

func start(c command) (*process, error) {
	path, args := c.path, c.args
	if c.cpus != "" {
		path, args = "taskset", append([]string{"--cpu-list", c.cpus, c.path}, c.args...)
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.path, err)
	}
	defer func() { _ = log.Close() }() // The program has a copy.
	// The program ends with stop, in order, even when the benchmark is interrupted.
	p := &process{cmd: exec.CommandContext(context.Background(), path, args...), exited: make(chan struct{}), log: c.log}
	p.cmd.Env = append(os.Environ(), c.env...)
	p.cmd.Dir, p.cmd.SysProcAttr = c.dir, c.account
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.path, err)
	}
	go func() {
		_ = p.cmd.Wait() // How it ended shows in its output.
		close(p.exited)
	}()
	return p, nil
}

// ended returns an error with the last of what the program told if it has ended.
func (p *process) ended() error {
	select {
	case <-p.exited:
		text, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s has ended: %s", p.cmd.Args, text[max(0, len(text)-2000):])
	default:
		return nil
	}
}

// stop asks the program to end, and kills it if it does not within the time.
func (p *process) stop(within time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(within):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// cpu is the processor time that the program and its children have used.
func (p *process) cpu() (time.Duration, error) {
	total := time.Duration(0)
	for _, pid := range family(p.cmd.Process.Pid) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) && pid != p.cmd.Process.Pid {
			continue // A child that has just ended.
		}
		if err != nil {
			return 0, fmt.Errorf("processor time: %w", err)
		}
		t, err := parseStat(stat)
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}

// parseStat returns the processor time of a process, user and system, from /proc/PID/stat.
func parseStat(stat []byte) (time.Duration, error) {
	// The second field is the program's name in parentheses, in which anything may be.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("processor time: %q", stat)
	}
	total := time.Duration(0)
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time: %w", err)
		}
		total += time.Duration(n) * clockTick
	}
	return total, nil
}

// busy is the time that all programs together have used a processor, from /proc/stat; false if it tells nothing of it.
func busy(processor string) (time.Duration, bool) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(stat)) {
		// User, nice, system, idle, wait, interrupts (two kinds), stolen by other machines.
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != "cpu"+processor {
			continue
		}
		total := time.Duration(0)
		for i, field := range fields[1:9] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, false
			}
			if i != 3 && i != 4 {
				total += time.Duration(n) * clockTick
			}
		}
		return total, true
	}
	return 0, false
}

// rss is the memory of the program, without its children, in bytes.
func (p *process) rss() (int, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("memory: %w", err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory: %q", statm)
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0, fmt.Errorf("memory: %w", err)
	}
	return pages * os.Getpagesize(), nil
}

// family is a process and all that it has started.
func family(pid int) []int {
	out := []int{pid}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // Gone with the process.
	for _, field := range strings.Fields(string(children)) {
		if child, err := strconv.Atoi(field); err == nil {
			out = append(out, family(child)...)
		}
	}
	return out
}

// freePort is a port on loopback that nobody listens on.
func freePort(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback+":0")
	if err != nil {
		return "", fmt.Errorf("a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), nil
}

// freePorts returns several at once.
func freePorts(ctx context.Context, n int) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		var err error
		if out[i], err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}
