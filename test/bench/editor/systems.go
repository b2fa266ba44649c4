package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"collab.dev/operator/editor/protocol"
)

const (
	loopback     = "127.0.0.1"
	startTimeout = time.Minute
	// stopTimeout is how long a server may take to store what it has.
	stopTimeout = 20 * time.Second
)

// system is a server that is measured.
type system struct {
	key, name string
	dialect   protocol.Dialect
	// stores starts what the server keeps documents in, if that is a process of its own, and returns the environment and
	// arguments by which the server finds it.
	stores func(ctx context.Context, o options, dir string) ([]*process, storage, error)
	// server says how to run the server on two free ports and a folder of its own.
	server func(o options, dir, port, internal string, s storage) command
	// floor says that it is none that anybody could use, and has the figures of typing only.
	floor bool
	// durability tells what has become of a change when others see it.
	durability string
}

// storage is how a server finds its stores.
type storage struct{ redisPort, postgresURL string }

// systems are those that are measured. Every one keeps what is typed.
func systems() []system {
	return []system{
		{
			key: "collab", name: "this service", dialect: protocol.YWebsocket, server: editor,
			durability: "every change, fsync, acknowledged within milliseconds",
		},
		{
			key: "collab-stores", name: "this service, Redis and PostgreSQL", dialect: protocol.YWebsocket, server: editor,
			stores:     redisAndPostgres,
			durability: "every change, in Redis with fsync, then in PostgreSQL",
		},
		{
			key: "hocuspocus", name: "Hocuspocus 4.7, SQLite, Redis", dialect: protocol.Hocuspocus, server: hocuspocus,
			stores: func(ctx context.Context, o options, dir string) ([]*process, storage, error) {
				return redisOnly(ctx, o, dir, "no")
			},
			durability: "the whole document every 2 to 10 s",
		},
		{
			key: "y-websocket", name: "y-websocket 2.1, LevelDB", dialect: protocol.YWebsocket, server: yWebsocket,
			durability: "every change, without fsync",
		},
		floorSystem(),
	}
}

// floorSystem does what all of the others have to do, and no more.
func floorSystem() system {
	return system{
		key: "floor", name: "the calls of the system alone", dialect: protocol.YWebsocket, durability: "nothing", floor: true,
		server: func(o options, _, port, _ string, _ storage) command {
			return command{path: o.floor, args: []string{"-listen", loopback + ":" + port, "-turn", o.floorTurn.String()}}
		},
	}
}

// editor runs this service, in one process if it has no stores.
func editor(o options, dir, port, internal string, s storage) command {
	c := command{path: o.editor, args: []string{
		"--listen", loopback + ":" + port, "--internal-listen", loopback + ":" + internal, "--log-level", "warn",
		"--drain-over", "10ms", "--drain-timeout", "10ms", "--connections-per-organization", "20000",
	}}
	// As Go does in a container that is limited to one processor: with one, a call of the system that waits for the disk
	// holds everything up until the runtime notices.
	c.env = []string{"GOMAXPROCS=2"}
	if s.redisPort == "" {
		c.args = append(c.args, "--data", filepath.Join(dir, "data"))
		return c
	}
	c.args = append(c.args, "--pod-name", podName, "--shardmap-file", filepath.Join(dir, "shardmap.json"),
		"--redis-address", loopback+":"+s.redisPort, "--postgres-url", s.postgresURL,
		"--peer-listen", loopback+":0")
	return c
}

func hocuspocus(o options, dir, port, _ string, s storage) command {
	return command{path: "node", args: []string{"hocuspocus.mjs"}, dir: o.servers, env: []string{
		"NODE_ENV=production", "HOST=" + loopback, "PORT=" + port, "REDIS_PORT=" + s.redisPort,
		"DATABASE=" + filepath.Join(dir, "documents.sqlite"),
	}}
}

func yWebsocket(o options, dir, port, _ string, _ storage) command {
	return command{path: "node", args: []string{"node_modules/y-websocket/bin/server.cjs"}, dir: o.servers, env: []string{
		"NODE_ENV=production", "HOST=" + loopback, "PORT=" + port, "YPERSISTENCE=" + filepath.Join(dir, "leveldb"),
	}}
}

// redisOnly starts a Redis, with an append-only file or without.
func redisOnly(ctx context.Context, o options, dir, appendOnly string) ([]*process, storage, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, storage{}, err
	}
	redis, err := start(command{
		path: "redis-server", cpus: o.loadCPUs, log: filepath.Join(dir, "redis.log"),
		args: []string{
			"--port", port, "--bind", loopback, "--dir", dir, "--save", "", "--appendonly", appendOnly,
			"--appendfsync", "always",
		},
	})
	if err != nil {
		return nil, storage{}, err
	}
	return []*process{redis}, storage{redisPort: port}, nil
}

// redisAndPostgres starts what the service uses in a cluster. The folder must be one that PostgreSQL's user may enter.
func redisAndPostgres(ctx context.Context, o options, dir string) ([]*process, storage, error) {
	if err := os.WriteFile(filepath.Join(dir, "shardmap.json"), shardMap(), 0o600); err != nil {
		return nil, storage{}, fmt.Errorf("shard map: %w", err)
	}
	processes, s, err := redisOnly(ctx, o, dir, "yes")
	if err != nil {
		return nil, s, err
	}
	postgres, url, err := postgres(ctx, o, filepath.Join(dir, "postgres"))
	if err != nil {
		return processes, s, err
	}
	s.postgresURL = url
	return append(processes, postgres), s, nil
}

// postgres starts a PostgreSQL, which does not run as root: there it runs as the user of Debian's package.
func postgres(ctx context.Context, o options, dir string) (*process, string, error) {
	binaries, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(binaries) == 0 {
		return nil, "", errors.New("there is no PostgreSQL server; hack/test/stores.sh installs it")
	}
	bin := binaries[len(binaries)-1]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("start PostgreSQL: %w", err)
	}
	var account *syscall.SysProcAttr
	if os.Getuid() == 0 {
		if account, err = asPostgres(dir); err != nil {
			return nil, "", fmt.Errorf("start PostgreSQL: %w", err)
		}
	}
	data := filepath.Join(dir, "data")
	initialize := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", data, "--auth", "trust",
		"--username", "collab", "--encoding", "UTF8", "--no-sync")
	initialize.Dir, initialize.SysProcAttr = dir, account
	if _, err := os.Stat(data); err != nil {
		if out, err := initialize.CombinedOutput(); err != nil {
			return nil, "", fmt.Errorf("initdb: %w\n%s", err, out)
		}
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, "", err
	}
	p, err := start(command{
		path: filepath.Join(bin, "postgres"), cpus: o.loadCPUs, dir: dir, account: account,
		log: filepath.Join(filepath.Dir(dir), "postgres.log"),
		args: []string{
			"-D", data, "-p", port, "-c", "listen_addresses=" + loopback, "-c", "unix_socket_directories=" + dir,
			"-c", "logging_collector=off", "-c", "max_connections=50",
		},
	})
	url := fmt.Sprintf("postgres://collab@%s:%s/postgres?sslmode=disable&connect_timeout=2", loopback, port)
	return p, url, err
}

// asPostgres gives a folder to the user postgres and lets a command run as that user.
func asPostgres(dir string) (*syscall.SysProcAttr, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, fmt.Errorf("the folder of PostgreSQL: %w", err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// running is a system that runs.
type running struct {
	system   system
	options  options
	dir      string
	port     string
	internal string
	server   *process
	stores   []*process
	storage  storage
}

// run starts a system on an empty folder and waits until it serves.
func (s system) run(ctx context.Context, o options) (*running, error) {
	dir, err := os.MkdirTemp(o.scratch, "collab-bench-")
	if err != nil {
		return nil, fmt.Errorf("a folder for %s: %w", s.name, err)
	}
	r := &running{system: s, options: o, dir: dir}
	// PostgreSQL's user enters it.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, errors.Join(err, r.close())
	}
	if s.stores != nil {
		if r.stores, r.storage, err = s.stores(ctx, o, dir); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// start starts the server, the first time or after stop, and waits until it serves.
func (r *running) start(ctx context.Context) error {
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return err
	}
	r.port, r.internal = ports[0], ports[1]
	c := r.system.server(r.options, r.dir, r.port, r.internal, r.storage)
	c.cpus, c.log = r.options.serverCPUs, filepath.Join(r.dir, "server.log")
	if r.server, err = start(c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		_, err := r.join(attempt, "ready")
		done()
		if err == nil {
			return nil
		}
		if ended := r.server.ended(); ended != nil {
			return ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w", r.system.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the server in order; its stores stay.
func (r *running) stop() {
	if r.server != nil {
		r.server.stop(stopTimeout)
		r.server = nil
	}
}

// close ends everything and removes it.
func (r *running) close() error {
	r.stop()
	for _, p := range r.stores {
		p.stop(stopTimeout)
	}
	return os.RemoveAll(r.dir)
}

// usage is processor time: of the server, of its stores, of this program, and of all programs on the server's processor.
type usage struct{ server, stores, load, all time.Duration }

func (r *running) usage() (usage, error) {
	u := usage{}
	var err error
	if u.server, err = r.server.cpu(); err != nil {
		return u, err
	}
	for _, p := range r.stores {
		t, err := p.cpu()
		if err != nil {
			return u, err
		}
		u.stores += t
	}
	self := syscall.Rusage{}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return u, fmt.Errorf("processor time: %w", err)
	}
	u.load = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	var known bool
	if u.all, known = busy(r.options.serverCPUs); !known {
		u.all = u.server
	}
	return u, nil
}
