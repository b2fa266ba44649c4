package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/redis"
)

// primaryTimeout bounds the question for the primary: the status may do without an answer, a worker must not hang.
const primaryTimeout = time.Second

// PrimaryFinder asks Sentinels, given as host:port, for the host of the Redis primary. The context bounds it.
type PrimaryFinder func(ctx context.Context, sentinels []string, password string) (host string, err error)

// AskSentinels is the PrimaryFinder of a running operator. It asks all Sentinels at once; the first answer counts,
// because a Sentinel that was cut off is slower than those that were not.
func AskSentinels(ctx context.Context, sentinels []string, password string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		host string
		err  error
	}
	answers := make(chan answer, len(sentinels))
	for _, address := range sentinels {
		go func() {
			host, err := askSentinel(ctx, address, password)
			answers <- answer{host, err}
		}()
	}
	errs := make([]error, 0, len(sentinels))
	for range sentinels {
		select {
		case got := <-answers:
			if got.err == nil {
				return got.host, nil
			}
			errs = append(errs, got.err)
		case <-ctx.Done():
			return "", errors.Join(append(errs, ctx.Err())...)
		}
	}
	return "", errors.Join(errs...)
}

func askSentinel(ctx context.Context, address, password string) (string, error) {
	sentinel := goredis.NewSentinelClient(&goredis.Options{
		Addr: address, Password: password, MaxRetries: -1, DialerRetries: 1, PoolSize: 1, ContextTimeoutEnabled: true,
		DialTimeout: primaryTimeout, ReadTimeout: primaryTimeout, WriteTimeout: primaryTimeout,
	})
	reply, err := sentinel.GetMasterAddrByName(ctx, redis.MasterName).Result()
	err = errors.Join(err, sentinel.Close())
	if err == nil && len(reply) != 2 {
		err = fmt.Errorf("unexpected answer %q", reply)
	}
	if err != nil {
		return "", fmt.Errorf("ask Sentinel %s for the primary: %w", address, err)
	}
	return reply[0], nil
}

// findPrimary returns the name of the Redis primary's pod, empty if no Sentinel tells.
func (r *Reconciler) findPrimary(ctx context.Context, cluster *v1alpha1.CollabCluster, seen observation) string {
	pods := seen.podsOf(child.Redis)
	var sentinels []string
	for _, pod := range pods {
		if pod.Status.PodIP != "" && pod.Status.Phase == corev1.PodRunning {
			sentinels = append(sentinels, net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(redis.SentinelPort)))
		}
	}
	if len(sentinels) == 0 {
		return ""
	}
	credentials := &corev1.Secret{}
	name := types.NamespacedName{
		Namespace: cluster.Namespace, Name: child.CredentialsSecret(cluster.Name, child.Redis),
	}
	if err := r.Client.Get(ctx, name, credentials); err != nil {
		log.FromContext(ctx).V(1).Info("the Redis primary is not known", "cause", err.Error())
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, primaryTimeout)
	defer cancel()
	host, err := r.Primary(ctx, sentinels, string(credentials.Data[redis.PasswordKey]))
	if err != nil {
		log.FromContext(ctx).V(1).Info("the Redis primary is not known", "cause", err.Error())
		return ""
	}
	return podOf(host, pods)
}

// podOf finds the pod by the host that Redis announces: its IP address or its name in the headless Service.
func podOf(host string, pods []corev1.Pod) string {
	name, _, _ := strings.Cut(host, ".")
	for _, pod := range pods {
		if pod.Name == name || pod.Status.PodIP == host {
			return pod.Name
		}
	}
	return ""
}
