// Command operator runs the controllers that make CollabClusters come true.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	redislogging "github.com/redis/go-redis/v9/logging"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/autoscaling"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/cluster"
	"collab.dev/operator/controllers/sharding"
)

const (
	// leaderElectionID is the name of the Lease; it must never change, or two versions would lead at once.
	leaderElectionID = "collab-operator"
	// A lease of controller-runtime's default length would leave the shards of a dead editor pod without an owner for
	// up to 17 seconds if the operator died with it. The operator's writes bear a second leader, see ShardMap.
	leaseDuration = 4 * time.Second
	renewDeadline = 3 * time.Second
	retryPeriod   = 500 * time.Millisecond
)

// version is set by the linker.
var version = "dev"

type options struct {
	images                        child.Images
	namespaces                    string
	leaderElect                   bool
	metricsAddress, healthAddress string
	version                       bool
}

func main() {
	options := parse()
	if options.version {
		_, _ = fmt.Fprintln(os.Stdout, describe())
		return
	}
	if err := run(options); err != nil {
		ctrl.Log.Error(err, "the operator ends")
		os.Exit(1)
	}
}

// parse reads the flags and sets the logger up.
func parse() options {
	var o options
	flag.StringVar(&o.images.Editor, "editor-image", "collab.dev/editor:dev", "image of editor pods")
	flag.StringVar(&o.images.Redis, "redis-image", "collab.dev/redis:8", "image of Redis pods")
	flag.StringVar(&o.images.Postgres, "postgres-image", "collab.dev/postgres:17", "image of PostgreSQL pods")
	flag.StringVar(&o.images.HAProxy, "haproxy-image", "collab.dev/haproxy:3", "image of HAProxy pods")
	flag.StringVar(&o.namespaces, "watch-namespaces", "",
		"namespaces whose CollabClusters are served, separated by commas; all if it is empty")
	flag.BoolVar(&o.leaderElect, "leader-elect", false, "elect a leader, so that several operators can run")
	flag.StringVar(&o.metricsAddress, "metrics-bind-address", ":8080", "host:port of the metrics; 0 for none")
	flag.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "host:port of /healthz and /readyz")
	flag.BoolVar(&o.version, "version", false, "print the version and exit")
	logging := zap.Options{}
	logging.BindFlags(flag.CommandLine)
	flag.Parse()
	// Its errors are returned too, and logged by who asked.
	redislogging.Disable()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))
	return o
}

// run serves until it is told to stop.
func run(o options) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("make the scheme: %w", err)
		}
	}
	configuration, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the Kubernetes API: %w", err)
	}
	// The API server shares its capacity fairly by itself; a limit here would only delay what is urgent.
	configuration.QPS = -1
	mgr, err := ctrl.NewManager(configuration, managerOptions(o, scheme))
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := register(mgr, o.images); err != nil {
		return err
	}
	mgr.GetLogger().Info("starting", "version", describe(), "api", configuration.Host)
	if err := mgr.Start(ctrl.SetupSignalHandler()); err != nil {
		return fmt.Errorf("run the manager: %w", err)
	}
	return nil
}

func managerOptions(o options, scheme *runtime.Scheme) ctrl.Options {
	lease, renew, retry, warmUp := leaseDuration, renewDeadline, retryPeriod, true
	return ctrl.Options{
		Scheme:                        scheme,
		Logger:                        ctrl.Log,
		Cache:                         cluster.CacheOptions(namespaces(o.namespaces)),
		Client:                        client.Options{FieldValidation: "Strict"},
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &retry,
		// A standby has its caches filled, so that it acts as soon as it leads.
		Controller: config.Controller{EnableWarmup: &warmUp},
	}
}

// register adds every controller and the health endpoints to the manager.
func register(mgr ctrl.Manager, images child.Images) error {
	recorder := mgr.GetEventRecorder(child.ManagedBy)
	for _, controller := range []interface{ SetupWithManager(ctrl.Manager) error }{
		&cluster.Reconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: recorder, Images: images,
			Primary: cluster.AskSentinels, Clock: clock.RealClock{},
		},
		&sharding.Reconciler{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: recorder,
			Epochs: &sharding.PostgresEpochs{Reader: mgr.GetClient()},
		},
		&autoscaling.Reconciler{Client: mgr.GetClient(), Recorder: recorder},
	} {
		if err := controller.SetupWithManager(mgr); err != nil {
			return fmt.Errorf("register %T: %w", controller, err)
		}
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("register /healthz: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("register /readyz: %w", err)
	}
	return nil
}

func namespaces(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// describe names the version and, where it is known, the commit that the binary was built from.
func describe() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range build.Settings {
			if setting.Key == "vcs.revision" {
				return version + " (" + setting.Value + ")"
			}
		}
	}
	return version
}
