package editor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
	"collab.dev/operator/controllers/redis"
)

const (
	user             = 65532
	clientPortName   = "client"
	internalPortName = "internal"
	peerPortName     = "peer"

	redisPath    = "/etc/collab/redis"
	postgresPath = "/etc/collab/postgres"
	sessionPath  = "/etc/collab/session"
	authPath     = "/etc/collab/auth"
	webhookPath  = "/etc/collab/webhook"
	peerPath     = "/etc/collab/peer"
	// webhookSecretKey is the key of the application's Secret that signs webhooks.
	webhookSecretKey = "webhook-secret"
	// postgresPasswordKey is the key of the PostgreSQL credentials Secret that editor pods may see.
	postgresPasswordKey = "collab-password"
	postgresPort        = 5432

	// lostNodeSeconds is how long a pod stays bound to a node that is not ready. Its shards are long with other pods
	// by then; this only brings the number of pods back.
	lostNodeSeconds = 15

	// flushSeconds is what a leaving pod may need beyond handing over and letting its clients go: for the last
	// acknowledgements, for closing its shards, for telling the webhook and for closing the stores (5, 10, 3 and 10 s).
	flushSeconds = 30
)

func deployment(
	cluster *v1alpha1.CollabCluster, images child.Images, replicas int32,
) *applyappsv1.DeploymentApplyConfiguration {
	labels := child.Labels(cluster.Name, child.Editor)
	return applyappsv1.Deployment(name(cluster), cluster.Namespace).
		WithLabels(labels).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applyappsv1.DeploymentSpec().
			WithReplicas(replicas).
			WithMinReadySeconds(2).
			WithRevisionHistoryLimit(3).
			WithStrategy(applyappsv1.DeploymentStrategy().
				WithType(appsv1.RollingUpdateDeploymentStrategyType).
				WithRollingUpdate(applyappsv1.RollingUpdateDeployment().
					WithMaxUnavailable(intstr.FromInt32(0)).
					WithMaxSurge(intstr.FromString("25%")))).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(child.Selector(cluster.Name, child.Editor))).
			WithTemplate(applycorev1.PodTemplateSpec().WithLabels(labels).WithSpec(podSpec(cluster, images))))
}

func podSpec(cluster *v1alpha1.CollabCluster, images child.Images) *applycorev1.PodSpecApplyConfiguration {
	chosen := podChoices(cluster)
	spec := applycorev1.PodSpec().
		WithServiceAccountName(name(cluster)).
		WithAutomountServiceAccountToken(true).
		WithEnableServiceLinks(false).
		WithSecurityContext(child.PodSecurity(user)).
		WithTerminationGracePeriodSeconds(terminationGracePeriodSeconds(cluster)).
		WithTopologySpreadConstraints(
			child.Spread(cluster.Name, child.Editor, appsv1.DefaultDeploymentUniqueLabelKey)...).
		WithTolerations(
			lostNode(corev1.TaintNodeNotReady),
			lostNode(corev1.TaintNodeUnreachable)).
		WithContainers(container(cluster, cmp.Or(chosen.Image, images.Editor))).
		WithVolumes(
			secretVolume("redis", child.CredentialsSecret(cluster.Name, child.Redis), redis.PasswordKey),
			secretVolume("postgres", child.CredentialsSecret(cluster.Name, child.Postgres), postgresPasswordKey),
			secretVolume("peer", child.PeerTLSSecret(cluster.Name), corev1.TLSCertKey, corev1.TLSPrivateKeyKey,
				corev1.ServiceAccountRootCAKey))
	if auth := authOf(cluster); auth != nil {
		spec.WithVolumes(secretVolume("session", child.CredentialsSecret(cluster.Name, child.Editor), SessionKey))
		if auth.SecretName != "" {
			// Whatever keys the application's Secret has: the editor says which one it misses.
			spec.WithVolumes(secretVolume("auth", auth.SecretName))
		}
	}
	if webhook := webhookOf(cluster); webhook != nil && webhook.SecretName != "" {
		spec.WithVolumes(secretVolume("webhook", webhook.SecretName, webhookSecretKey))
	}
	if len(chosen.NodeSelector) > 0 {
		spec.WithNodeSelector(child.NodeSelector(chosen.NodeSelector))
	}
	if chosen.PriorityClassName != "" {
		spec.WithPriorityClassName(chosen.PriorityClassName)
	}
	return spec
}

func lostNode(taint string) *applycorev1.TolerationApplyConfiguration {
	return applycorev1.Toleration().
		WithKey(taint).
		WithOperator(corev1.TolerationOpExists).
		WithEffect(corev1.TaintEffectNoExecute).
		WithTolerationSeconds(lostNodeSeconds)
}

// secretVolume shows the pod these keys of the Secret and no others, or all if none is named.
func secretVolume(name, secret string, keys ...string) *applycorev1.VolumeApplyConfiguration {
	source := applycorev1.SecretVolumeSource().WithSecretName(secret).WithDefaultMode(0o440)
	for _, key := range keys {
		source.WithItems(applycorev1.KeyToPath().WithKey(key).WithPath(key))
	}
	return applycorev1.Volume().WithName(name).WithSecret(source)
}

func container(cluster *v1alpha1.CollabCluster, image string) *applycorev1.ContainerApplyConfiguration {
	chosen := podChoices(cluster)
	container := applycorev1.Container().
		WithName("editor").
		WithImage(image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithArgs(arguments(cluster)...).
		WithEnv(
			fieldVariable("POD_IP", "status.podIP"),
			fieldVariable("POD_NAME", "metadata.name"),
			fieldVariable("POD_NAMESPACE", "metadata.namespace"),
			fieldVariable("POD_UID", "metadata.uid")).
		WithPorts(
			applycorev1.ContainerPort().WithName(clientPortName).WithContainerPort(ClientPort),
			applycorev1.ContainerPort().WithName(internalPortName).WithContainerPort(InternalPort),
			applycorev1.ContainerPort().WithName(peerPortName).WithContainerPort(PeerPort)).
		WithResources(child.Resources(chosen.Resources, "50m", "64Mi")).
		WithSecurityContext(child.ContainerSecurity()).
		// Migrations may take their time at the first start; after that, a pod that does not answer for 30 s is stuck.
		WithStartupProbe(probe("/healthz").WithPeriodSeconds(1).WithTimeoutSeconds(2).WithFailureThreshold(120)).
		WithLivenessProbe(probe("/healthz").WithPeriodSeconds(5).WithTimeoutSeconds(3).WithFailureThreshold(6)).
		WithReadinessProbe(probe("/readyz").WithPeriodSeconds(1).WithTimeoutSeconds(2).WithFailureThreshold(3)).
		WithVolumeMounts(
			applycorev1.VolumeMount().WithName("redis").WithMountPath(redisPath).WithReadOnly(true),
			applycorev1.VolumeMount().WithName("postgres").WithMountPath(postgresPath).WithReadOnly(true),
			applycorev1.VolumeMount().WithName("peer").WithMountPath(peerPath).WithReadOnly(true))
	if auth := authOf(cluster); auth != nil {
		container.WithVolumeMounts(
			applycorev1.VolumeMount().WithName("session").WithMountPath(sessionPath).WithReadOnly(true))
		if auth.SecretName != "" {
			container.WithVolumeMounts(
				applycorev1.VolumeMount().WithName("auth").WithMountPath(authPath).WithReadOnly(true))
		}
	}
	if webhook := webhookOf(cluster); webhook != nil && webhook.SecretName != "" {
		container.WithVolumeMounts(
			applycorev1.VolumeMount().WithName("webhook").WithMountPath(webhookPath).WithReadOnly(true))
	}
	if chosen.Resources != nil {
		if limit, set := chosen.Resources.Limits[corev1.ResourceMemory]; set {
			// A tenth is left for what Go's runtime does not count; near the limit it collects instead of being killed.
			container.WithEnv(applycorev1.EnvVar().WithName("GOMEMLIMIT").
				WithValue(strconv.FormatInt(limit.Value()/10*9, 10)))
		}
	}
	return container
}

// arguments are the editor's flags, sorted by name.
func arguments(cluster *v1alpha1.CollabCluster) []string {
	handOver, letGo := drainTimes(cluster)
	arguments := []string{
		"--cluster=" + cluster.Name,
		"--drain-over=" + letGo.String(),
		"--drain-timeout=" + handOver.String(),
		"--durability=" + string(durability(cluster)),
		"--peer-tls-dir=" + peerPath,
		"--postgres-password-file=" + postgresPath + "/" + postgresPasswordKey,
		fmt.Sprintf("--postgres-url=postgres://collab@%s:%d/collab?sslmode=disable",
			child.ObjectName(cluster.Name, child.HAProxy), postgresPort),
		"--redis-master=" + redis.MasterName,
		"--redis-password-file=" + redisPath + "/" + redis.PasswordKey,
		"--redis-sentinels=" + strings.Join(redis.SentinelAddresses(cluster), ","),
		"--shards=" + strconv.Itoa(int(Shards(cluster))),
	}
	arguments = append(arguments, authArguments(authOf(cluster))...)
	arguments = append(arguments, originArguments(cluster)...)
	arguments = append(arguments, webhookArguments(webhookOf(cluster))...)
	arguments = append(arguments, limitArguments(cluster)...)
	slices.Sort(arguments)
	return arguments
}

// drainTimes divide a leaving pod's grace period: the most that it waits for others to take its shards, and the time
// over which it lets its clients go. The kubelet's share, a sixth of what flushing leaves, is for being late.
func drainTimes(cluster *v1alpha1.CollabCluster) (handOver, letGo time.Duration) {
	left := max(1, terminationGracePeriodSeconds(cluster)-flushSeconds)
	return time.Duration(left) * time.Second / 2, time.Duration(left) * time.Second / 3
}

// authOf is what the spec says of authentication, nil if nothing.
func authOf(cluster *v1alpha1.CollabCluster) *v1alpha1.AuthSpec {
	if cluster.Spec.Editor == nil {
		return nil
	}
	return cluster.Spec.Editor.Auth
}

func authArguments(auth *v1alpha1.AuthSpec) []string {
	if auth == nil {
		return nil
	}
	arguments := []string{"--auth-session-key-file=" + sessionPath + "/" + SessionKey}
	set := func(name, value string) {
		if value != "" {
			arguments = append(arguments, "--"+name+"="+value)
		}
	}
	if auth.SecretName != "" {
		set("auth-secret-dir", authPath)
	}
	set("auth-jwks-url", auth.JWKSURL)
	set("auth-issuer", auth.Issuer)
	set("auth-audience", auth.Audience)
	seconds := func(name string, n *int32) {
		if n != nil {
			set(name, (time.Duration(*n) * time.Second).String())
		}
	}
	seconds("auth-access-lifetime", auth.AccessTokenSeconds)
	seconds("auth-session-lifetime", auth.SessionSeconds)
	if webhook := auth.PermissionWebhook; webhook != nil {
		set("auth-permission-url", webhook.URL)
		seconds("auth-permission-timeout", webhook.TimeoutSeconds)
		seconds("auth-permission-ttl", webhook.CacheSeconds)
	}
	return arguments
}

func originArguments(cluster *v1alpha1.CollabCluster) []string {
	if cluster.Spec.Editor == nil || len(cluster.Spec.Editor.AllowedOrigins) == 0 {
		return nil
	}
	origins := make([]string, 0, len(cluster.Spec.Editor.AllowedOrigins))
	for _, origin := range cluster.Spec.Editor.AllowedOrigins {
		origins = append(origins, string(origin))
	}
	return []string{"--allowed-origins=" + strings.Join(origins, ",")}
}

// webhookOf is what the spec says of the change webhook, nil if nothing.
func webhookOf(cluster *v1alpha1.CollabCluster) *v1alpha1.WebhookSpec {
	if cluster.Spec.Editor == nil {
		return nil
	}
	return cluster.Spec.Editor.Webhook
}

func webhookArguments(webhook *v1alpha1.WebhookSpec) []string {
	if webhook == nil {
		return nil
	}
	path := authPath
	if webhook.SecretName != "" {
		path = webhookPath
	}
	return []string{"--webhook-secret-file=" + path + "/" + webhookSecretKey, "--webhook-url=" + webhook.URL}
}

// limitArguments are the flags of what the spec limits; the editor has the defaults.
func limitArguments(cluster *v1alpha1.CollabCluster) []string {
	if cluster.Spec.Editor == nil || cluster.Spec.Editor.Limits == nil {
		return nil
	}
	limits := cluster.Spec.Editor.Limits
	var arguments []string
	set := func(name string, value *int32, unit int64) {
		if value != nil {
			arguments = append(arguments, "--"+name+"="+strconv.FormatInt(int64(*value)*unit, 10))
		}
	}
	set("operations-per-second", limits.OperationsPerSecond, 1)
	set("operation-burst", limits.OperationBurst, 1)
	set("connections-per-user", limits.ConnectionsPerUser, 1)
	set("connections-per-organization", limits.ConnectionsPerOrganization, 1)
	set("connections-per-pod", limits.ConnectionsPerPod, 1)
	set("max-document-bytes", limits.DocumentMegabytes, 1<<20)
	return arguments
}

func fieldVariable(name, path string) *applycorev1.EnvVarApplyConfiguration {
	return applycorev1.EnvVar().WithName(name).WithValueFrom(applycorev1.EnvVarSource().
		WithFieldRef(applycorev1.ObjectFieldSelector().WithFieldPath(path)))
}

func probe(path string) *applycorev1.ProbeApplyConfiguration {
	return applycorev1.Probe().WithHTTPGet(applycorev1.HTTPGetAction().
		WithPath(path).WithPort(intstr.FromString(internalPortName)))
}
