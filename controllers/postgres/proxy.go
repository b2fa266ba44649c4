package postgres

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

const (
	proxyUser         = 65532
	proxyConfigFile   = "haproxy.cfg"
	proxyConfigFolder = "/etc/collab/haproxy"
)

// proxyPreamble is what does not depend on the cluster. Connections are pooled by the editors and idle for long.
const proxyPreamble = `global
    maxconn 2000
    log stdout format raw local0 notice

defaults
    mode tcp
    log global
    retries 2
    timeout connect 2s
    timeout check 2s
    timeout client 24h
    timeout server 24h
    option clitcpka
    option srvtcpka

resolvers cluster
    parse-resolv-conf
    resolve_retries 2
    timeout resolve 1s
    timeout retry 500ms
    hold valid 1s
    hold nx 1s
    hold refused 1s
    hold timeout 1s
    hold other 1s
    hold obsolete 2s

frontend health
    mode http
    bind :8404
    timeout client 5s
    http-request return status 200 content-type text/plain string "ok" if { path /healthz }
    http-request return status 404
`

// proxyConfiguration leads port 5432 to whoever answers that it is the primary, and port 5433 to standbys. A standby
// never answers that it is the primary, so that two proxies cannot disagree for longer than Patroni does; a server that
// stops being the primary loses its connections at once.
func proxyConfiguration(cluster *v1alpha1.CollabCluster) string {
	var text strings.Builder
	text.WriteString(proxyPreamble)
	service := child.ObjectName(cluster.Name, child.Postgres)
	for _, backend := range []struct {
		name, path string
		port       int
	}{{"primary", "/primary", Port}, {"replicas", "/replica", ReplicaPort}} {
		fmt.Fprintf(&text, "\nlisten %s\n    bind :%d\n    balance roundrobin\n", backend.name, backend.port)
		fmt.Fprintf(&text, "    option httpchk OPTIONS %s\n    http-check expect status 200\n", backend.path)
		fmt.Fprintf(&text, "    default-server check port %d inter 1s fastinter 250ms downinter 500ms fall 2 rise 1"+
			" on-marked-down shutdown-sessions init-addr none resolvers cluster resolve-prefer ipv4\n", restPort)
		for ordinal := range Replicas(cluster) {
			fmt.Fprintf(&text, "    server %[1]s-%[2]d \"%[1]s-%[2]d.%[1]s.%[3]s.svc.${CLUSTER_DOMAIN}:%[4]d\"\n",
				service, ordinal, cluster.Namespace, Port)
		}
	}
	return text.String()
}

func proxyObjects(cluster *v1alpha1.CollabCluster, images child.Images) []runtime.ApplyConfiguration {
	name := child.ObjectName(cluster.Name, child.HAProxy)
	labels := child.Labels(cluster.Name, child.HAProxy)
	files := map[string]string{proxyConfigFile: proxyConfiguration(cluster)}
	return []runtime.ApplyConfiguration{
		applycorev1.ConfigMap(name, cluster.Namespace).
			WithLabels(labels).
			WithOwnerReferences(child.Owner(cluster)).
			WithData(files),
		applycorev1.Service(name, cluster.Namespace).
			WithLabels(labels).
			WithOwnerReferences(child.Owner(cluster)).
			WithSpec(applycorev1.ServiceSpec().
				WithSelector(child.Selector(cluster.Name, child.HAProxy)).
				WithPorts(
					applycorev1.ServicePort().WithName("primary").WithPort(Port).
						WithTargetPort(intstr.FromString("primary")),
					applycorev1.ServicePort().WithName("replicas").WithPort(ReplicaPort).
						WithTargetPort(intstr.FromString("replicas")))),
		disruptionBudget(cluster, child.HAProxy),
		applyappsv1.Deployment(name, cluster.Namespace).
			WithLabels(labels).
			WithOwnerReferences(child.Owner(cluster)).
			WithSpec(applyappsv1.DeploymentSpec().
				WithReplicas(ProxyReplicas(cluster)).
				WithRevisionHistoryLimit(3).
				WithSelector(applymetav1.LabelSelector().WithMatchLabels(child.Selector(cluster.Name, child.HAProxy))).
				WithTemplate(applycorev1.PodTemplateSpec().
					WithLabels(labels).
					WithAnnotations(map[string]string{hashAnnotation: hash(files)}).
					WithSpec(proxyPod(cluster, images)))),
	}
}

func proxyPod(cluster *v1alpha1.CollabCluster, images child.Images) *applycorev1.PodSpecApplyConfiguration {
	chosen := proxyChoices(cluster).PodSpec
	container := applycorev1.Container().
		WithName("haproxy").
		WithImage(cmp.Or(chosen.Image, images.HAProxy)).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithSecurityContext(child.ContainerSecurity()).
		WithPorts(
			applycorev1.ContainerPort().WithName("primary").WithContainerPort(Port),
			applycorev1.ContainerPort().WithName("replicas").WithContainerPort(ReplicaPort),
			applycorev1.ContainerPort().WithName("health").WithContainerPort(healthPort)).
		WithResources(child.Resources(chosen.Resources, "20m", "32Mi")).
		// Readiness is local: a proxy without a primary is as good as any other, and must not leave the Service.
		WithReadinessProbe(httpProbe("/healthz", "health").WithPeriodSeconds(2).WithTimeoutSeconds(2)).
		WithLivenessProbe(httpProbe("/healthz", "health").WithPeriodSeconds(10).WithTimeoutSeconds(5)).
		WithVolumeMounts(applycorev1.VolumeMount().
			WithName("configuration").WithMountPath(proxyConfigFolder).WithReadOnly(true))
	spec := applycorev1.PodSpec().
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithSecurityContext(child.PodSecurity(proxyUser)).
		// HAProxy would wait for idle connections to end; the editors' pools open new ones.
		WithTerminationGracePeriodSeconds(5).
		WithTolerations(
			unreachable(corev1.TaintNodeNotReady), unreachable(corev1.TaintNodeUnreachable)).
		WithTopologySpreadConstraints(child.Spread(cluster.Name, child.HAProxy, "pod-template-hash")...).
		WithContainers(container).
		WithVolumes(applycorev1.Volume().WithName("configuration").WithConfigMap(
			applycorev1.ConfigMapVolumeSource().WithName(child.ObjectName(cluster.Name, child.HAProxy))))
	place(spec, chosen)
	return spec
}

// unreachable bounds how long a pod stays bound to a node that is lost: it holds nothing, and another one is needed.
func unreachable(taint string) *applycorev1.TolerationApplyConfiguration {
	return applycorev1.Toleration().
		WithKey(taint).
		WithOperator(corev1.TolerationOpExists).
		WithEffect(corev1.TaintEffectNoExecute).
		WithTolerationSeconds(15)
}
