package editor

import (
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applypolicyv1 "k8s.io/client-go/applyconfigurations/policy/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// Objects are the objects of the cluster's editor pods, in the order in which they are best applied: the Deployment last,
// so that its pods find what they need.
func Objects(cluster *v1alpha1.CollabCluster, images child.Images, replicas int32) []runtime.ApplyConfiguration {
	return []runtime.ApplyConfiguration{
		serviceAccount(cluster),
		role(cluster),
		roleBinding(cluster),
		service(cluster),
		disruptionBudget(cluster),
		deployment(cluster, images, replicas),
	}
}

func serviceAccount(cluster *v1alpha1.CollabCluster) *applycorev1.ServiceAccountApplyConfiguration {
	return applycorev1.ServiceAccount(name(cluster), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, child.Editor)).
		WithOwnerReferences(child.Owner(cluster)).
		// Only pods that ask for the token get it.
		WithAutomountServiceAccountToken(false)
}

// role lets the pods follow the one ShardMap that tells them what they own, and nothing else.
func role(cluster *v1alpha1.CollabCluster) *applyrbacv1.RoleApplyConfiguration {
	return applyrbacv1.Role(name(cluster), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, child.Editor)).
		WithOwnerReferences(child.Owner(cluster)).
		WithRules(applyrbacv1.PolicyRule().
			WithAPIGroups(v1alpha1.GroupVersion.Group).
			WithResources("shardmaps").
			WithResourceNames(cluster.Name).
			WithVerbs("get", "list", "watch"))
}

func roleBinding(cluster *v1alpha1.CollabCluster) *applyrbacv1.RoleBindingApplyConfiguration {
	return applyrbacv1.RoleBinding(name(cluster), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, child.Editor)).
		WithOwnerReferences(child.Owner(cluster)).
		WithRoleRef(applyrbacv1.RoleRef().
			WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(name(cluster))).
		WithSubjects(applyrbacv1.Subject().
			WithKind(rbacv1.ServiceAccountKind).WithName(name(cluster)).WithNamespace(cluster.Namespace))
}

func service(cluster *v1alpha1.CollabCluster) *applycorev1.ServiceApplyConfiguration {
	kind, annotations := serviceChoices(cluster)
	service := applycorev1.Service(name(cluster), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, child.Editor)).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applycorev1.ServiceSpec().
			WithType(kind).
			WithSelector(child.Selector(cluster.Name, child.Editor)).
			WithPorts(applycorev1.ServicePort().
				WithName("http").WithPort(ServicePort).WithTargetPort(intstr.FromString(clientPortName))))
	if len(annotations) > 0 {
		service.WithAnnotations(annotations)
	}
	return service
}

func disruptionBudget(cluster *v1alpha1.CollabCluster) *applypolicyv1.PodDisruptionBudgetApplyConfiguration {
	return applypolicyv1.PodDisruptionBudget(name(cluster), cluster.Namespace).
		WithLabels(child.Labels(cluster.Name, child.Editor)).
		WithOwnerReferences(child.Owner(cluster)).
		WithSpec(applypolicyv1.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(child.Selector(cluster.Name, child.Editor))))
}
