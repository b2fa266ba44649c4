package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"collab.dev/operator/editor/ratelimit"
)

// config is the process's configuration, from flags with environment variables as their defaults.
type config struct {
	cluster, namespace, podName, podUID, podIP string

	listen, internal, peerListen string

	redisSentinels, redisMaster, redisAddress, redisPasswordFile string
	postgresURL, postgresPasswordFile                            string
	peerTLSDir, shardMapFile, durability, logLevel               string

	// data is the directory of the single-process mode, empty in a cluster.
	data string

	shards, snapshotEvery            int
	fanOut                           int
	maxDocumentBytes, documentMemory int

	authSecretDir, authSessionKeyFile, authJWKSURL  string
	authIssuer, authAudience, authPermissionURL     string
	insecureCookies                                 bool
	webhookURL, webhookSecretFile                   string
	allowedOrigins                                  string
	operationsPerSecond, operationBurst             int
	userConnections, orgConnections, podConnections int

	drainTimeout, drainOver, historyRetention, webhookDebounce time.Duration
	accessLifetime, sessionLifetime, permissionTimeout         time.Duration
	permissionTTL                                              time.Duration
}

// maxDocumentBytes is what the links between pods carry.
const maxDocumentBytes = 200 << 20

var durabilities = []string{"Redis", "RedisReplicated", "Postgres"}

// parse reads the configuration. Its error names everything that is wrong, one sentence a line.
func parse(args []string, getenv func(string) string) (config, error) {
	c := config{}
	f := flag.NewFlagSet("editor", flag.ContinueOnError)
	text := func(to *string, name, env, standard, usage string) {
		if env != "" {
			usage += " ($" + env + ")"
			if v := getenv(env); v != "" {
				standard = v
			}
		}
		f.StringVar(to, name, standard, usage)
	}
	text(&c.cluster, "cluster", "COLLAB_CLUSTER", "", "name of the CollabCluster and of its ShardMap")
	text(&c.namespace, "namespace", "POD_NAMESPACE", "", "namespace of the CollabCluster")
	text(&c.podName, "pod-name", "POD_NAME", "", "name of this pod")
	text(&c.podUID, "pod-uid", "POD_UID", "", "uid of this pod")
	text(&c.podIP, "pod-ip", "POD_IP", "", "address of this pod, for logs")
	text(&c.data, "data", "COLLAB_DATA", "",
		"directory to keep everything in: one process, without Kubernetes, Redis and PostgreSQL")
	text(&c.listen, "listen", "", ":8080", "address for clients")
	text(&c.internal, "internal-listen", "", "",
		"address for health, load, metrics and profiles (default :8081, with --data 127.0.0.1:8081)")
	text(&c.peerListen, "peer-listen", "", ":8082", "address for other editor pods")
	text(&c.redisSentinels, "redis-sentinels", "COLLAB_REDIS_SENTINELS", "", "host:port of each Sentinel, separated by commas")
	text(&c.redisMaster, "redis-master", "COLLAB_REDIS_MASTER", "collab", "name of the primary at the Sentinels")
	text(&c.redisAddress, "redis-address", "COLLAB_REDIS_ADDRESS", "", "host:port of a Redis without Sentinels")
	text(&c.redisPasswordFile, "redis-password-file", "COLLAB_REDIS_PASSWORD_FILE", "", "file with the password of Redis")
	text(&c.postgresURL, "postgres-url", "COLLAB_POSTGRES_URL", "", "URL of the database, without a password")
	text(&c.postgresPasswordFile, "postgres-password-file", "COLLAB_POSTGRES_PASSWORD_FILE", "",
		"file with the password of the database")
	text(&c.peerTLSDir, "peer-tls-dir", "COLLAB_PEER_TLS_DIR", "",
		"directory with tls.crt, tls.key and ca.crt; without it pods talk in plain text")
	text(&c.shardMapFile, "shardmap-file", "COLLAB_SHARDMAP_FILE", "",
		"ShardMap in JSON, read again when it changes, instead of the API server's")
	text(&c.durability, "durability", "COLLAB_DURABILITY", "Redis",
		"what an acknowledgement waits for: "+strings.Join(durabilities, ", "))
	text(&c.logLevel, "log-level", "COLLAB_LOG_LEVEL", "info", "debug, info, warn or error")
	text(&c.authSecretDir, "auth-secret-dir", "COLLAB_AUTH_SECRET_DIR", "",
		"directory with jwt-secret, the secrets of access tokens (HS256), and webhook-secret")
	text(&c.authJWKSURL, "auth-jwks-url", "COLLAB_AUTH_JWKS_URL", "", "where the public keys of access tokens are published")
	text(&c.authIssuer, "auth-issuer", "COLLAB_AUTH_ISSUER", "", "iss that access tokens must have")
	text(&c.authAudience, "auth-audience", "COLLAB_AUTH_AUDIENCE", "", "aud that access tokens must have")
	text(&c.authSessionKeyFile, "auth-session-key-file", "COLLAB_AUTH_SESSION_KEY_FILE", "",
		"file with the secret that signs the access tokens of sessions")
	text(&c.authPermissionURL, "auth-permission-url", "COLLAB_AUTH_PERMISSION_URL", "",
		"URL that is asked what a user may do with a document")
	f.DurationVar(&c.accessLifetime, "auth-access-lifetime", 15*time.Minute, "how long an access token of a session lives")
	f.DurationVar(&c.sessionLifetime, "auth-session-lifetime", 7*24*time.Hour, "how long a session lives")
	f.DurationVar(&c.permissionTimeout, "auth-permission-timeout", 2*time.Second,
		"how long --auth-permission-url may take to answer")
	f.DurationVar(&c.permissionTTL, "auth-permission-ttl", 30*time.Second,
		"how long an answer of --auth-permission-url is used")
	text(&c.allowedOrigins, "allowed-origins", "COLLAB_ALLOWED_ORIGINS", "",
		"origins of web pages that may connect, separated by commas, besides those of this host")
	text(&c.webhookURL, "webhook-url", "COLLAB_WEBHOOK_URL", "", "URL that is told which documents have changed")
	text(&c.webhookSecretFile, "webhook-secret-file", "COLLAB_WEBHOOK_SECRET_FILE", "",
		"file with the secret that signs what --webhook-url is told")
	f.DurationVar(&c.webhookDebounce, "webhook-debounce", 2*time.Second,
		"how long a document must not have changed before --webhook-url is told, which is told after five times that anyway")
	limits := ratelimit.Defaults()
	f.BoolVar(&c.insecureCookies, "insecure-cookies", false,
		"let browsers send the cookies of sessions over plain HTTP, for trying out")
	f.IntVar(&c.operationsPerSecond, "operations-per-second", int(limits.UserOperations.PerSecond),
		"operations that a user and a connection may send a second")
	f.IntVar(&c.operationBurst, "operation-burst", limits.UserOperations.Burst, "operations that may come at once")
	f.IntVar(&c.userConnections, "connections-per-user", limits.UserConnections, "connections of a user to this process")
	f.IntVar(&c.orgConnections, "connections-per-organization", limits.OrganizationConnections,
		"connections of an organization to this process")
	f.IntVar(&c.podConnections, "connections-per-pod", limits.PodConnections, "connections to this process")
	f.IntVar(&c.shards, "shards", 256, "number of shards, as in spec.sharding.shards")
	f.IntVar(&c.snapshotEvery, "snapshot-every", 100, "operations of a document between two snapshots")
	f.IntVar(&c.fanOut, "fan-out", 16,
		"with how many pods with readers of a document its changes go through Redis instead of from its owner; 0 for never")
	f.IntVar(&c.maxDocumentBytes, "max-document-bytes", 64<<20, "bound of a document, encoded")
	f.IntVar(&c.documentMemory, "document-memory", 0,
		"bytes that open documents may take before unattended ones are closed; 0 takes half of GOMEMLIMIT")
	f.DurationVar(&c.historyRetention, "history-retention", 90*24*time.Hour, "how long operations are kept for the history")
	f.DurationVar(&c.drainTimeout, "drain-timeout", 15*time.Second, "how long to wait for other pods to take the shards")
	f.DurationVar(&c.drainOver, "drain-over", 5*time.Second, "time over which clients are let go")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	var wrong []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	check(f.NArg() == 0, "Unexpected argument %q: everything is a flag.", f.Arg(0))
	if c.alone() {
		c.podName, c.internal = cmp.Or(c.podName, "editor"), cmp.Or(c.internal, "127.0.0.1:8081")
		check(c.cluster+c.shardMapFile+c.redisSentinels+c.redisAddress+c.postgresURL == "",
			"With --data everything is in one directory: leave out --cluster, --shardmap-file, --redis-… and --postgres-url.")
	} else {
		c.internal = cmp.Or(c.internal, ":8081") // The operator and Prometheus come from elsewhere.
		c.checkCluster(check)
	}
	check(c.shards >= 16 && c.shards <= 1024 && c.shards&(c.shards-1) == 0,
		"--shards must be a power of two from 16 to 1024, not %d.", c.shards)
	check(c.snapshotEvery > 0, "--snapshot-every must be above 0, not %d.", c.snapshotEvery)
	check(c.documentMemory >= 0 && c.fanOut >= 0, "--fan-out and --document-memory must not be below 0.")
	check(c.maxDocumentBytes > 0 && c.maxDocumentBytes <= maxDocumentBytes,
		"--max-document-bytes must be above 0 and at most %d, not %d.", maxDocumentBytes, c.maxDocumentBytes)
	check(min(c.operationsPerSecond, c.operationBurst, c.userConnections, c.orgConnections, c.podConnections) > 0,
		"--operations-per-second, --operation-burst and --connections-per-… must be above 0.")
	check(c.authenticates() || c.authIssuer+c.authAudience+c.authPermissionURL+c.authSessionKeyFile == "",
		"Set --auth-secret-dir or --auth-jwks-url: without keys no token can be verified.")
	check(c.authPermissionURL == "" || c.authSecretDir != "",
		"Set --auth-secret-dir: webhook-secret in it signs the questions to --auth-permission-url.")
	check(min(c.accessLifetime, c.sessionLifetime, c.permissionTimeout, c.permissionTTL) > 0,
		"--auth-access-lifetime, --auth-session-lifetime and --auth-permission-… must be above 0.")
	check((c.webhookURL == "") == (c.webhookSecretFile == ""),
		"Set both --webhook-url and --webhook-secret-file: what the application is told must be signed.")
	check(c.webhookDebounce > 0 && c.webhookDebounce <= time.Minute,
		"--webhook-debounce must be above 0 and at most 1m, not %v.", c.webhookDebounce)
	check(c.drainTimeout > 0 && c.drainOver > 0 && c.historyRetention > 0,
		"--drain-timeout, --drain-over and --history-retention must be above 0.")
	return c, errors.Join(wrong...)
}

// alone says that this process is a whole service by itself.
func (c config) alone() bool { return c.data != "" }

// authenticates says that clients need tokens.
func (c config) authenticates() bool { return c.authSecretDir != "" || c.authJWKSURL != "" }

// limits are what clients may ask of this process.
func (c config) limits(registry prometheus.Registerer) ratelimit.Limits {
	limits := ratelimit.Defaults()
	operations := ratelimit.Rate{PerSecond: float64(c.operationsPerSecond), Burst: c.operationBurst}
	limits.ConnectionOperations, limits.UserOperations = operations, operations
	limits.UserConnections, limits.OrganizationConnections = c.userConnections, c.orgConnections
	limits.PodConnections = c.podConnections
	limits.Metrics = ratelimit.NewMetrics(registry)
	return limits
}

// checkCluster checks what a pod of a cluster needs.
func (c config) checkCluster(check func(ok bool, format string, args ...any)) {
	check(c.podName != "", "Set --pod-name or POD_NAME to the pod's name, as the ShardMap's members have it.")
	check(c.shardMapFile != "" || c.cluster != "" && c.namespace != "",
		"Set --cluster and POD_NAMESPACE to find the ShardMap, or --shardmap-file.")
	check(c.peerTLSDir == "" || c.cluster != "" && c.namespace != "",
		"Set --cluster and POD_NAMESPACE: the peers' certificates are for peer.<cluster>.<namespace>.collab.dev.")
	check((c.redisSentinels == "") != (c.redisAddress == ""), "Set one of --redis-sentinels and --redis-address.")
	addresses := c.redisAddress
	if c.redisSentinels != "" {
		addresses = c.redisSentinels
	}
	for address := range strings.SplitSeq(addresses, ",") {
		_, _, err := net.SplitHostPort(address)
		check(addresses == "" || err == nil, "The Redis address %q must be host:port.", address)
	}
	check(c.postgresURL != "", "Set --postgres-url, for example postgres://collab@docs-haproxy:5432/collab?sslmode=disable.")
	check(slices.Contains(durabilities, c.durability), "--durability must be one of %s, not %q.",
		strings.Join(durabilities, ", "), c.durability)
}

// memoryBudget is how many bytes open documents may take; 0 is no bound.
func (c config) memoryBudget() int {
	if c.documentMemory > 0 {
		return c.documentMemory
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return int(limit / 2)
	}
	return 0
}

// password reads a password's file; without one there is no password.
func password(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}
