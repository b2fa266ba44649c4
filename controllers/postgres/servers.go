package postgres

import (
	"cmp"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applypolicyv1 "k8s.io/client-go/applyconfigurations/policy/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

const (
	// postgresUser is the user in the image, whose number is fixed because volumes outlive images.
	postgresUser = 999
	// hashAnnotation on pods changes with their configuration.
	hashAnnotation = "collab.dev/configuration"
)

// rbacObjects let Patroni keep its state in ConfigMaps and label its pods.
func rbacObjects(cluster *v1alpha1.CollabCluster) []runtime.ApplyConfiguration {
	name := child.ObjectName(cluster.Name, child.Postgres)
	labels := child.Labels(cluster.Name, child.Postgres)
	return []runtime.ApplyConfiguration{
		applycorev1.ServiceAccount(name, cluster.Namespace).
			WithLabels(labels).
			WithOwnerReferences(child.Owner(cluster)).
			WithAutomountServiceAccountToken(false),
		// Patroni lists and watches by label, which a rule cannot name: it may see the namespace's other ConfigMaps.
		applyrbacv1.Role(name, cluster.Namespace).
			WithLabels(labels).
			WithOwnerReferences(child.Owner(cluster)).
			WithRules(
				applyrbacv1.PolicyRule().WithAPIGroups("").WithResources("configmaps").
					WithVerbs("create", "get", "list", "patch", "update", "watch"),
				applyrbacv1.PolicyRule().WithAPIGroups("").WithResources("pods").
					WithVerbs("get", "list", "patch", "update", "watch")),
		applyrbacv1.RoleBinding(name, cluster.Namespace).
			WithLabels(labels).
			WithOwnerReferences(child.Owner(cluster)).
			WithRoleRef(applyrbacv1.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(name)).
			WithSubjects(applyrbacv1.Subject().
				WithKind(rbacv1.ServiceAccountKind).WithName(name).WithNamespace(cluster.Namespace)),
	}
}

func serverObjects(cluster *v1alpha1.CollabCluster, images child.Images) []runtime.ApplyConfiguration {
	name := child.ObjectName(cluster.Name, child.Postgres)
	files := configurationFiles(cluster)
	return []runtime.ApplyConfiguration{
		applycorev1.ConfigMap(name, cluster.Namespace).
			WithLabels(child.Labels(cluster.Name, child.Postgres)).
			WithOwnerReferences(child.Owner(cluster)).
			WithData(files),
		applycorev1.Service(name, cluster.Namespace).
			WithLabels(child.Labels(cluster.Name, child.Postgres)).
			WithOwnerReferences(child.Owner(cluster)).
			WithSpec(applycorev1.ServiceSpec().
				WithClusterIP(corev1.ClusterIPNone).
				// HAProxy asks every server itself whether it is to be used.
				WithPublishNotReadyAddresses(true).
				WithSelector(child.Selector(cluster.Name, child.Postgres)).
				WithPorts(
					applycorev1.ServicePort().WithName("postgres").WithPort(Port).
						WithTargetPort(intstr.FromString("postgres")),
					applycorev1.ServicePort().WithName("patroni").WithPort(restPort).
						WithTargetPort(intstr.FromString("patroni")))),
		disruptionBudget(cluster, child.Postgres),
		statefulSet(cluster, images, files),
	}
}

func disruptionBudget(
	cluster *v1alpha1.CollabCluster, component child.Component,
) *applypolicyv1.PodDisruptionBudgetApplyConfiguration {
	return applypolicyv1.PodDisruptionBudget(child.ObjectName(cluster.Name, component), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, component)).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applypolicyv1.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(child.Selector(cluster.Name, component))))
}

func statefulSet(
	cluster *v1alpha1.CollabCluster, images child.Images, files map[string]string,
) *applyappsv1.StatefulSetApplyConfiguration {
	name := child.ObjectName(cluster.Name, child.Postgres)
	labels := child.Labels(cluster.Name, child.Postgres)
	podLabels := child.Labels(cluster.Name, child.Postgres)
	podLabels[scopeLabel] = name
	retention := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if cluster.Spec.DeletionPolicy == v1alpha1.DeletionDelete {
		retention = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	return applyappsv1.StatefulSet(name, cluster.Namespace).
		WithLabels(labels).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applyappsv1.StatefulSetSpec().
			WithServiceName(name).
			WithReplicas(Replicas(cluster)).
			// Any server may be the one that can lead: none must wait for another.
			WithPodManagementPolicy(appsv1.ParallelPodManagement).
			WithRevisionHistoryLimit(3).
			WithPersistentVolumeClaimRetentionPolicy(
				applyappsv1.StatefulSetPersistentVolumeClaimRetentionPolicy().
					WithWhenDeleted(retention).
					WithWhenScaled(appsv1.RetainPersistentVolumeClaimRetentionPolicyType)).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(child.Selector(cluster.Name, child.Postgres))).
			WithVolumeClaimTemplates(volumeClaim(cluster)).
			WithTemplate(applycorev1.PodTemplateSpec().
				WithLabels(podLabels).
				WithAnnotations(map[string]string{hashAnnotation: hash(files)}).
				WithSpec(serverPod(cluster, images))))
}

func volumeClaim(cluster *v1alpha1.CollabCluster) *applycorev1.PersistentVolumeClaimApplyConfiguration {
	size := resource.MustParse("10Gi")
	claim := applycorev1.PersistentVolumeClaimSpec().WithAccessModes(corev1.ReadWriteOnce)
	if storage := choices(cluster).Storage; storage != nil {
		if storage.Size != nil {
			size = *storage.Size
		}
		if storage.StorageClassName != nil {
			claim.WithStorageClassName(*storage.StorageClassName)
		}
	}
	claim.WithResources(applycorev1.VolumeResourceRequirements().
		WithRequests(corev1.ResourceList{corev1.ResourceStorage: size}))
	// The constructor would set an empty namespace, which is not the same as none.
	template := &applycorev1.PersistentVolumeClaimApplyConfiguration{}
	return template.WithKind("PersistentVolumeClaim").WithAPIVersion("v1").
		WithName("data").WithLabels(child.Labels(cluster.Name, child.Postgres)).WithSpec(claim)
}

func serverPod(cluster *v1alpha1.CollabCluster, images child.Images) *applycorev1.PodSpecApplyConfiguration {
	name := child.ObjectName(cluster.Name, child.Postgres)
	chosen := choices(cluster).PodSpec
	container := applycorev1.Container().
		WithName("postgres").
		WithImage(cmp.Or(chosen.Image, images.Postgres)).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithSecurityContext(child.ContainerSecurity()).
		WithPorts(
			applycorev1.ContainerPort().WithName("postgres").WithContainerPort(Port),
			applycorev1.ContainerPort().WithName("patroni").WithContainerPort(restPort)).
		WithEnv(
			fieldVariable("POD_IP", "status.podIP"),
			fieldVariable("PATRONI_NAME", "metadata.name"),
			fieldVariable("PATRONI_KUBERNETES_NAMESPACE", "metadata.namespace"),
			fieldVariable("PATRONI_KUBERNETES_POD_IP", "status.podIP"),
			applycorev1.EnvVar().WithName("PATRONI_POSTGRESQL_CONNECT_ADDRESS").WithValue("$(POD_IP):5432"),
			applycorev1.EnvVar().WithName("PATRONI_RESTAPI_CONNECT_ADDRESS").WithValue("$(POD_IP):8008"),
			secretVariable(cluster, "PATRONI_SUPERUSER_PASSWORD", superuserKey),
			secretVariable(cluster, "PATRONI_REPLICATION_PASSWORD", replicationKey),
			secretVariable(cluster, "COLLAB_PASSWORD", CollabPasswordKey),
			applycorev1.EnvVar().WithName("PGDATA").WithValue(dataFolder),
			applycorev1.EnvVar().WithName("PGHOST").WithValue(runPath),
			applycorev1.EnvVar().WithName("HOME").WithValue("/tmp"),
			applycorev1.EnvVar().WithName("PYTHONDONTWRITEBYTECODE").WithValue("1")).
		WithResources(child.Resources(chosen.Resources, "100m", "256Mi")).
		WithReadinessProbe(httpProbe("/readiness", "patroni").WithPeriodSeconds(2).WithTimeoutSeconds(3).
			WithFailureThreshold(3)).
		WithLivenessProbe(httpProbe("/liveness", "patroni").WithInitialDelaySeconds(10).WithPeriodSeconds(10).
			WithTimeoutSeconds(5).WithFailureThreshold(6)).
		WithVolumeMounts(
			applycorev1.VolumeMount().WithName("data").WithMountPath(dataPath),
			applycorev1.VolumeMount().WithName("configuration").WithMountPath(configurationPath).WithReadOnly(true),
			applycorev1.VolumeMount().WithName("run").WithMountPath(runPath),
			applycorev1.VolumeMount().WithName("tmp").WithMountPath("/tmp"))
	spec := applycorev1.PodSpec().
		WithServiceAccountName(name).
		WithAutomountServiceAccountToken(true).
		WithEnableServiceLinks(false).
		WithSecurityContext(child.PodSecurity(postgresUser)).
		// A primary needs time for its last checkpoint and for its standbys to receive everything.
		WithTerminationGracePeriodSeconds(60).
		WithTopologySpreadConstraints(child.Spread(cluster.Name, child.Postgres)...).
		WithContainers(container).
		WithVolumes(
			applycorev1.Volume().WithName("configuration").WithConfigMap(applycorev1.ConfigMapVolumeSource().
				WithName(name)),
			emptyDir("run"), emptyDir("tmp"))
	place(spec, chosen)
	return spec
}

// place applies what was chosen about the pod's place and rank.
func place(spec *applycorev1.PodSpecApplyConfiguration, chosen v1alpha1.PodSpec) {
	if len(chosen.NodeSelector) > 0 {
		spec.WithNodeSelector(child.NodeSelector(chosen.NodeSelector))
	}
	if chosen.PriorityClassName != "" {
		spec.WithPriorityClassName(chosen.PriorityClassName)
	}
}

func fieldVariable(name, path string) *applycorev1.EnvVarApplyConfiguration {
	return applycorev1.EnvVar().WithName(name).WithValueFrom(applycorev1.EnvVarSource().
		WithFieldRef(applycorev1.ObjectFieldSelector().WithFieldPath(path)))
}

func secretVariable(cluster *v1alpha1.CollabCluster, name, key string) *applycorev1.EnvVarApplyConfiguration {
	return applycorev1.EnvVar().WithName(name).WithValueFrom(applycorev1.EnvVarSource().
		WithSecretKeyRef(applycorev1.SecretKeySelector().
			WithName(child.CredentialsSecret(cluster.Name, child.Postgres)).WithKey(key)))
}

func httpProbe(path, port string) *applycorev1.ProbeApplyConfiguration {
	return applycorev1.Probe().WithHTTPGet(applycorev1.HTTPGetAction().WithPath(path).
		WithPort(intstr.FromString(port)))
}

func emptyDir(name string) *applycorev1.VolumeApplyConfiguration {
	return applycorev1.Volume().WithName(name).WithEmptyDir(applycorev1.EmptyDirVolumeSource().
		WithSizeLimit(resource.MustParse("64Mi")))
}
