// Package child owns what the objects of a CollabCluster have in common: their names, labels, owner reference and
// security context. It is pure: it knows nothing of clients or of what any component needs beyond that.
package child

import (
	corev1 "k8s.io/api/core/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"collab.dev/operator/api/v1alpha1"
)

// Component names a part of a CollabCluster. It is the value of LabelComponent and, after the cluster's name and a
// hyphen, the name of the component's objects.
type Component string

// The components of a CollabCluster.
const (
	Editor   Component = "editor"
	Redis    Component = "redis"
	Postgres Component = "postgres"
	HAProxy  Component = "haproxy"
)

// Labels that every object carries. The operator's caches hold only objects with ManagedBy.
const (
	LabelName      = "app.kubernetes.io/name"
	LabelInstance  = "app.kubernetes.io/instance"
	LabelComponent = "app.kubernetes.io/component"
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// Name is the value of LabelName.
	Name = "collabcluster"
	// ManagedBy is the value of LabelManagedBy and the operator's field manager.
	ManagedBy = "collab-operator"
)

// Images are the images that a CollabCluster uses where it names none itself.
type Images struct {
	Editor, Redis, Postgres, HAProxy string
}

// ObjectName is the name of the component's objects in the cluster of the given name.
func ObjectName(cluster string, component Component) string {
	return cluster + "-" + string(component)
}

// CredentialsSecret is the name of the Secret that holds the component's passwords.
func CredentialsSecret(cluster string, component Component) string {
	return ObjectName(cluster, component) + "-credentials"
}

// PeerTLSSecret is the name of the Secret with the certificate that editor pods show each other.
func PeerTLSSecret(cluster string) string { return cluster + "-peer-tls" }

// Selector are the labels that select the component's pods. They never change, because selectors are immutable.
func Selector(cluster string, component Component) map[string]string {
	return map[string]string{
		LabelName:      Name,
		LabelInstance:  cluster,
		LabelComponent: string(component),
	}
}

// Labels are the labels of the component's objects: Selector and LabelManagedBy.
func Labels(cluster string, component Component) map[string]string {
	labels := Selector(cluster, component)
	labels[LabelManagedBy] = ManagedBy
	return labels
}

// Owner is the owner reference by which the garbage collector removes an object after its CollabCluster.
func Owner(cluster *v1alpha1.CollabCluster) *applymetav1.OwnerReferenceApplyConfiguration {
	return applymetav1.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind("CollabCluster").
		WithName(cluster.Name).
		WithUID(cluster.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}

// PodSecurity is a pod's security context under the restricted Pod Security Standard. The group owns the volumes.
func PodSecurity(user int64) *applycorev1.PodSecurityContextApplyConfiguration {
	return applycorev1.PodSecurityContext().
		WithRunAsNonRoot(true).
		WithRunAsUser(user).
		WithRunAsGroup(user).
		WithFSGroup(user).
		WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch).
		WithSeccompProfile(applycorev1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
}

// ContainerSecurity is a container's security context under the restricted Pod Security Standard, with a read-only
// root file system: what a container writes goes to volumes.
func ContainerSecurity() *applycorev1.SecurityContextApplyConfiguration {
	return applycorev1.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithCapabilities(applycorev1.Capabilities().WithDrop("ALL"))
}
