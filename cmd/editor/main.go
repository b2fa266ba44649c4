// Command editor is one editor pod: it serves clients, owns the shards that the ShardMap gives it, and hands them over
// when it is told to stop.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/credentials"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"collab.dev/operator/editor/edge"
	"collab.dev/operator/editor/peer"
	"collab.dev/operator/editor/ratelimit"
	"collab.dev/operator/editor/reclaim"
	documents "collab.dev/operator/editor/rest"
	"collab.dev/operator/editor/server"
	"collab.dev/operator/editor/shard"
)

const (
	// ackTimeout bounds the wait for the owners' last acknowledgements, closeTimeout that for the stores. The operator
	// leaves time for them in the pod's grace period.
	ackTimeout   = 5 * time.Second
	closeTimeout = 10 * time.Second
)

func main() {
	c, err := parse(os.Args[1:], os.Getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		fmt.Fprintf(os.Stderr, "--log-level must be debug, info, warn or error, not %q.\n", c.logLevel)
		os.Exit(2)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("pod", c.podName)
	// A second signal ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, c, log); err != nil {
		log.Error("The editor ends", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, then drains.
func run(ctx context.Context, c config, log *slog.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	// What runs in the background ends after the drain, not with the signal.
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()

	wait.Go(func() { reclaim.Run(background) })
	kept, err := openBackends(background, c, registry, log, &wait)
	if err != nil {
		return err
	}
	guard, closeGuard, err := openGuard(c, kept, registry, log)
	if err != nil {
		return err
	}
	defer closeGuard()
	notifier, err := openNotifier(c, kept, registry, log)
	if err != nil {
		return err
	}
	maps := &shard.Maps{}
	if err := watch(background, c, maps, log, &wait); err != nil {
		return err
	}
	dialer := peer.Dialer{}
	var serverCredentials credentials.TransportCredentials
	if c.peerTLSDir != "" {
		name := fmt.Sprintf("peer.%s.%s.collab.dev", c.cluster, c.namespace)
		serverCredentials, dialer.Credentials, err = peer.Credentials(c.peerTLSDir, name)
		if err != nil {
			return err
		}
	}
	limiter := ratelimit.New(c.limits(registry))
	var clients *edge.Edge
	manager := shard.NewManager(shard.Options{
		Name: c.podName, UID: c.podUID, Maps: maps, Store: kept.store, Release: dialer.Release, Logger: log,
		SnapshotEvery: c.snapshotEvery, MaxDocumentBytes: c.maxDocumentBytes, MemoryBudget: c.memoryBudget(),
		FanOut: c.fanOut, Changed: notifier.Changed, Opened: notifier.Opened, Metrics: shard.NewMetrics(registry),
		// The new owner is found as for a client.
		Forward: func(ctx context.Context, document, user string, update []byte) error {
			return forward(ctx, clients, document, user, update)
		},
	})
	clients, err = edge.New(edge.Options{
		Maps: maps, Self: c.podName, Local: manager, Dial: dialer.Open, Guard: guard,
		Limiter: limiter, Feed: kept.feed, Metrics: edge.NewMetrics(registry), Logger: log,
	})
	if err != nil {
		return err
	}
	defer clients.Close()
	ready := func() bool { current, _ := maps.Current(); return current != nil }
	internal := server.New(server.Options{
		Pod: c.podName, UID: c.podUID, Registry: registry, Draining: clients.Draining, Ready: ready,
		Connections: clients.Connections, Documents: manager.Documents, Shards: manager.Owned, Updates: manager.Updates,
	})

	failed := make(chan error, 3)
	serve := func(address string, serve func(net.Listener) error) error {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		wait.Go(func() {
			if err := serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
		return nil
	}
	peers := peer.NewServer(manager, serverCredentials)
	defer peers.Stop()
	mux := http.NewServeMux()
	mux.Handle("/auth/", guard.Handler())
	mux.Handle("/api/", documents.New(documents.Options{
		Guard: guard, Catalog: kept.store.Catalog(), Clients: clients, Limiter: limiter,
		MaxDocumentBytes: c.maxDocumentBytes, Ready: ready, Metrics: documents.NewMetrics(registry), Logger: log,
	}))
	mux.Handle("/", clients)
	front := server.HTTP(mux)
	defer func() { _ = front.Close() }()
	back := server.HTTP(internal)
	defer func() { _ = back.Close() }()
	listening := errors.Join(serve(c.listen, front.Serve), serve(c.internal, back.Serve))
	if !c.alone() {
		listening = errors.Join(listening, serve(c.peerListen, peers.Serve))
	}
	if listening != nil {
		return listening
	}
	owning, disown := context.WithCancel(background)
	defer disown()
	closed := make(chan struct{})
	wait.Go(func() { defer close(closed); manager.Run(owning) })
	log.Info("Serving", "ip", c.podIP, "clients", c.listen, "peers", c.peerListen, "internal", c.internal)

	select {
	case <-ctx.Done():
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	}
	drain(c, clients, manager, log)
	disown()
	<-closed
	telling, told := context.WithTimeout(background, tellTimeout)
	defer told()
	notifier.Close(telling)
	closing, done := context.WithTimeout(background, closeTimeout)
	defer done()
	if err := kept.store.Close(closing); err != nil {
		log.Warn("The stores were not flushed in time; the next owners read the rest from the log", "error", err)
	}
	log.Info("Stopped")
	return nil
}

// forward brings an operation to the document's owner through a session.
func forward(ctx context.Context, clients *edge.Edge, document, user string, update []byte) error {
	session, err := clients.Open(document, "hand-over", user)
	if err != nil {
		return err
	}
	defer session.Close()
	return session.Apply(ctx, update)
}

// drain hands everything over: first the shards, while the clients go on typing, then the clients.
func drain(c config, clients *edge.Edge, manager *shard.Manager, log *slog.Logger) {
	clients.StopAccepting()
	log.Info("Draining", "connections", clients.Connections(), "shards", manager.Owned())
	if !c.alone() {
		deadline := time.Now().Add(c.drainTimeout)
		for manager.Owned() > 0 && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		if n := manager.Owned(); n > 0 {
			log.Warn("Nobody has taken these shards yet; closing them", "shards", n)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.drainOver+ackTimeout)
	defer cancel()
	if err := clients.Drain(ctx, c.drainOver); err != nil {
		log.Warn("Not all clients were let go in order", "error", err)
	}
}

// watch follows the ShardMap in the background.
func watch(ctx context.Context, c config, maps *shard.Maps, log *slog.Logger, wait *sync.WaitGroup) error {
	if c.alone() {
		maps.Set(shard.Alone(c.podName, int32(c.shards)))
		return nil
	}
	if c.shardMapFile != "" {
		wait.Go(func() { shard.WatchFile(ctx, c.shardMapFile, maps, log) })
		return nil
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("the API server: %w", err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("the API server: %w", err)
	}
	wait.Go(func() {
		if err := shard.Watch(ctx, client, c.namespace, c.cluster, maps, log); err != nil {
			log.Error("The ShardMap is not watched", "error", err)
		}
	})
	return nil
}
