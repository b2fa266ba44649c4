// Package redis owns what a CollabCluster's Redis consists of: a StatefulSet whose pods each run a Redis server and a
// Sentinel, what belongs to it, and what its pods say about its state. It is pure: it knows nothing of clients, and it
// never chooses a primary. Sentinels do that, and the start script in images/redis explains how.
package redis

import (
	"cmp"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applypolicyv1 "k8s.io/client-go/applyconfigurations/policy/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

const (
	// MasterName is the name under which Sentinels know the primary.
	MasterName = "collab"
	// Port is the Redis server's port.
	Port = 6379
	// SentinelPort is the Sentinel's port.
	SentinelPort = 26379
	// PasswordKey is the key of the credentials Secret whose value opens servers and Sentinels alike.
	PasswordKey = "password"

	user           = 65532
	command        = "collab-redis"
	dataPath       = "/data"
	credentialPath = "/etc/collab/redis"
	dataVolume     = "data"
	secretVolume   = "credentials"
)

// CredentialKeys are the keys of the credentials Secret.
func CredentialKeys() []string { return []string{PasswordKey} }

// Replicas is the number of Redis pods.
func Replicas(cluster *v1alpha1.CollabCluster) int32 {
	if redis := cluster.Spec.Redis; redis != nil && redis.Replicas != nil {
		return *redis.Replicas
	}
	return 3
}

// SentinelAddresses are host:port of all Sentinels, by the pods' own names: a Service's name would lead to one of them,
// which may be the one that died.
func SentinelAddresses(cluster *v1alpha1.CollabCluster) []string {
	name := child.ObjectName(cluster.Name, child.Redis)
	addresses := make([]string, 0, Replicas(cluster))
	for ordinal := range Replicas(cluster) {
		addresses = append(addresses,
			fmt.Sprintf("%s-%d.%s.%s.svc:%d", name, ordinal, name, cluster.Namespace, SentinelPort))
	}
	return addresses
}

// Objects are the objects of the cluster's Redis, in the order in which they are best applied.
func Objects(cluster *v1alpha1.CollabCluster, images child.Images) []runtime.ApplyConfiguration {
	return []runtime.ApplyConfiguration{service(cluster), disruptionBudget(cluster), statefulSet(cluster, images)}
}

func service(cluster *v1alpha1.CollabCluster) *applycorev1.ServiceApplyConfiguration {
	return applycorev1.Service(child.ObjectName(cluster.Name, child.Redis), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, child.Redis)).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applycorev1.ServiceSpec().
			WithClusterIP(corev1.ClusterIPNone).
			// Members find each other by name before they are ready: that is how they become ready.
			WithPublishNotReadyAddresses(true).
			WithSelector(child.Selector(cluster.Name, child.Redis)).
			WithPorts(
				applycorev1.ServicePort().WithName("redis").WithPort(Port).
					WithTargetPort(intstr.FromString("redis")),
				applycorev1.ServicePort().WithName("sentinel").WithPort(SentinelPort).
					WithTargetPort(intstr.FromString("sentinel"))))
}

func disruptionBudget(cluster *v1alpha1.CollabCluster) *applypolicyv1.PodDisruptionBudgetApplyConfiguration {
	return applypolicyv1.PodDisruptionBudget(child.ObjectName(cluster.Name, child.Redis), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, child.Redis)).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applypolicyv1.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(child.Selector(cluster.Name, child.Redis))))
}

func statefulSet(cluster *v1alpha1.CollabCluster, images child.Images) *applyappsv1.StatefulSetApplyConfiguration {
	name := child.ObjectName(cluster.Name, child.Redis)
	labels := child.Labels(cluster.Name, child.Redis)
	return applyappsv1.StatefulSet(name, cluster.Namespace).
		WithLabels(labels).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applyappsv1.StatefulSetSpec().
			WithServiceName(name).
			WithReplicas(Replicas(cluster)).
			// After a restart of all pods the majority of Sentinels must be there before any server starts.
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			// Sentinels look at their servers every ten seconds; before that a returned one is no candidate.
			WithMinReadySeconds(10).
			WithRevisionHistoryLimit(3).
			WithPersistentVolumeClaimRetentionPolicy(
				applyappsv1.StatefulSetPersistentVolumeClaimRetentionPolicy().
					WithWhenDeleted(retention(cluster.Spec.DeletionPolicy)).
					WithWhenScaled(appsv1.RetainPersistentVolumeClaimRetentionPolicyType)).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(child.Selector(cluster.Name, child.Redis))).
			WithVolumeClaimTemplates(volumeClaim(cluster)).
			WithTemplate(applycorev1.PodTemplateSpec().WithLabels(labels).WithSpec(podSpec(cluster, images))))
}

func retention(policy v1alpha1.DeletionPolicy) appsv1.PersistentVolumeClaimRetentionPolicyType {
	if policy == v1alpha1.DeletionDelete {
		return appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	return appsv1.RetainPersistentVolumeClaimRetentionPolicyType
}

func volumeClaim(cluster *v1alpha1.CollabCluster) *applycorev1.PersistentVolumeClaimApplyConfiguration {
	size := resource.MustParse("2Gi")
	claim := applycorev1.PersistentVolumeClaimSpec().WithAccessModes(corev1.ReadWriteOnce)
	if redis := cluster.Spec.Redis; redis != nil && redis.Storage != nil {
		if redis.Storage.Size != nil {
			size = *redis.Storage.Size
		}
		if redis.Storage.StorageClassName != nil {
			claim.WithStorageClassName(*redis.Storage.StorageClassName)
		}
	}
	claim.WithResources(applycorev1.VolumeResourceRequirements().
		WithRequests(corev1.ResourceList{corev1.ResourceStorage: size}))
	// The constructor would set an empty namespace, which is not the same as none.
	template := &applycorev1.PersistentVolumeClaimApplyConfiguration{}
	return template.WithKind("PersistentVolumeClaim").WithAPIVersion("v1").
		WithName(dataVolume).WithLabels(child.Labels(cluster.Name, child.Redis)).WithSpec(claim)
}

func podSpec(cluster *v1alpha1.CollabCluster, images child.Images) *applycorev1.PodSpecApplyConfiguration {
	var chosen v1alpha1.PodSpec
	if cluster.Spec.Redis != nil {
		chosen = cluster.Spec.Redis.PodSpec
	}
	image := cmp.Or(chosen.Image, images.Redis)
	spec := applycorev1.PodSpec().
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithSecurityContext(child.PodSecurity(user)).
		// Longer than handing over (8 s) and the shutdown, which waits 5 s for replicas.
		WithTerminationGracePeriodSeconds(30).
		WithTopologySpreadConstraints(child.Spread(cluster.Name, child.Redis)...).
		WithContainers(
			container(cluster, "redis", image).
				WithPorts(applycorev1.ContainerPort().WithName("redis").WithContainerPort(Port)).
				WithResources(child.Resources(chosen.Resources, "50m", "64Mi")).
				WithReadinessProbe(execProbe("ready").
					WithPeriodSeconds(2).WithTimeoutSeconds(3).WithFailureThreshold(3)).
				WithLivenessProbe(execProbe("alive").
					WithPeriodSeconds(10).WithTimeoutSeconds(5).WithFailureThreshold(6)).
				WithLifecycle(applycorev1.Lifecycle().WithPreStop(applycorev1.LifecycleHandler().
					WithExec(applycorev1.ExecAction().WithCommand(command, "hand-over")))),
			container(cluster, "sentinel", image).
				WithPorts(applycorev1.ContainerPort().WithName("sentinel").WithContainerPort(SentinelPort)).
				WithResources(child.Resources(nil, "20m", "32Mi")).
				WithReadinessProbe(sentinelProbe().WithPeriodSeconds(2).WithTimeoutSeconds(3)).
				WithLivenessProbe(sentinelProbe().WithPeriodSeconds(10).WithTimeoutSeconds(5).WithFailureThreshold(6))).
		WithVolumes(applycorev1.Volume().WithName(secretVolume).WithSecret(applycorev1.SecretVolumeSource().
			WithSecretName(child.CredentialsSecret(cluster.Name, child.Redis)).
			WithDefaultMode(0o440).
			WithItems(applycorev1.KeyToPath().WithKey(PasswordKey).WithPath(PasswordKey))))
	if len(chosen.NodeSelector) > 0 {
		spec.WithNodeSelector(child.NodeSelector(chosen.NodeSelector))
	}
	if chosen.PriorityClassName != "" {
		spec.WithPriorityClassName(chosen.PriorityClassName)
	}
	return spec
}

// container is what the containers of a pod have in common. Its name is also what the image is told to run.
func container(cluster *v1alpha1.CollabCluster, name, image string) *applycorev1.ContainerApplyConfiguration {
	return applycorev1.Container().
		WithName(name).
		WithImage(image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand(command, name).
		WithSecurityContext(child.ContainerSecurity()).
		WithEnv(
			applycorev1.EnvVar().WithName("COLLAB_REDIS_REPLICAS").
				WithValue(strconv.Itoa(int(Replicas(cluster)))),
			applycorev1.EnvVar().WithName("COLLAB_REDIS_SERVICE").
				WithValue(child.ObjectName(cluster.Name, child.Redis)),
			fieldVariable("POD_NAME", "metadata.name"),
			fieldVariable("POD_NAMESPACE", "metadata.namespace")).
		WithVolumeMounts(
			applycorev1.VolumeMount().WithName(dataVolume).WithMountPath(dataPath),
			applycorev1.VolumeMount().WithName(secretVolume).WithMountPath(credentialPath).WithReadOnly(true))
}

func fieldVariable(name, path string) *applycorev1.EnvVarApplyConfiguration {
	return applycorev1.EnvVar().WithName(name).WithValueFrom(applycorev1.EnvVarSource().
		WithFieldRef(applycorev1.ObjectFieldSelector().WithFieldPath(path)))
}

func execProbe(action string) *applycorev1.ProbeApplyConfiguration {
	return applycorev1.Probe().WithExec(applycorev1.ExecAction().WithCommand(command, action))
}

// sentinelProbe asks no more than whether the port is open: a Sentinel that does not know a primary yet is well.
func sentinelProbe() *applycorev1.ProbeApplyConfiguration {
	return applycorev1.Probe().WithTCPSocket(applycorev1.TCPSocketAction().WithPort(intstr.FromString("sentinel")))
}
