// Package editor owns what a CollabCluster's editor pods consist of: their Deployment and what belongs to it, the
// defaults of the editor's part of the API, and what the pods say about their state. It is pure: it knows nothing of
// clients, of how shards are assigned or of how the number of pods is found.
//
// A pod's template must not depend on anything but the CollabCluster and the images: whatever changes it restarts every
// editor pod.
package editor

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

// Ports of an editor pod, and of the Service for clients.
const (
	// ClientPort serves WebSockets and REST.
	ClientPort = 8080
	// InternalPort serves probes, metrics and the load that the autoscaler reads, without encryption.
	InternalPort = 8081
	// PeerPort serves other editor pods, with mutual TLS.
	PeerPort = 8082
	// ServicePort is the port of the Service that leads to ClientPort.
	ServicePort = 80
)

// SessionKey is the key of the editor's credentials Secret with which pods sign the access tokens of sessions.
const SessionKey = "session-key"

// CredentialKeys are the keys of the credentials Secret. There is none without authentication.
func CredentialKeys(cluster *v1alpha1.CollabCluster) []string {
	if authOf(cluster) == nil {
		return nil
	}
	return []string{SessionKey}
}

// Replicas is the number of editor pods without autoscaling.
func Replicas(cluster *v1alpha1.CollabCluster) int32 {
	if editor := cluster.Spec.Editor; editor != nil && editor.Replicas != nil {
		return *editor.Replicas
	}
	return 2
}

// MinReplicas is the least number of editor pods with autoscaling. Without autoscaling it is Replicas.
func MinReplicas(cluster *v1alpha1.CollabCluster) int32 {
	scaling := autoscaling(cluster)
	switch {
	case scaling == nil:
		return Replicas(cluster)
	case scaling.MinReplicas != nil:
		return *scaling.MinReplicas
	default:
		return min(2, scaling.MaxReplicas)
	}
}

// MaxReplicas is the greatest number of editor pods with autoscaling. Without autoscaling it is Replicas.
func MaxReplicas(cluster *v1alpha1.CollabCluster) int32 {
	if scaling := autoscaling(cluster); scaling != nil {
		return scaling.MaxReplicas
	}
	return Replicas(cluster)
}

// TargetConnections is the number of client connections that a pod should hold on average with autoscaling.
func TargetConnections(cluster *v1alpha1.CollabCluster) int32 {
	if scaling := autoscaling(cluster); scaling != nil && scaling.TargetConnectionsPerPod != nil {
		return *scaling.TargetConnectionsPerPod
	}
	return 5000
}

// Shards is the number of shards.
func Shards(cluster *v1alpha1.CollabCluster) int32 {
	if sharding := cluster.Spec.Sharding; sharding != nil && sharding.Shards != nil {
		return *sharding.Shards
	}
	return 256
}

func autoscaling(cluster *v1alpha1.CollabCluster) *v1alpha1.AutoscalingSpec {
	if cluster.Spec.Editor == nil {
		return nil
	}
	return cluster.Spec.Editor.Autoscaling
}

func durability(cluster *v1alpha1.CollabCluster) v1alpha1.DurabilityPolicy {
	return cmp.Or(cluster.Spec.Durability, v1alpha1.DurabilityRedis)
}

func terminationGracePeriodSeconds(cluster *v1alpha1.CollabCluster) int64 {
	if editor := cluster.Spec.Editor; editor != nil && editor.TerminationGracePeriodSeconds != nil {
		return int64(*editor.TerminationGracePeriodSeconds)
	}
	return 60
}

func podChoices(cluster *v1alpha1.CollabCluster) v1alpha1.PodSpec {
	if cluster.Spec.Editor == nil {
		return v1alpha1.PodSpec{}
	}
	return cluster.Spec.Editor.PodSpec
}

func serviceChoices(cluster *v1alpha1.CollabCluster) (corev1.ServiceType, map[string]string) {
	if cluster.Spec.Editor == nil || cluster.Spec.Editor.Service == nil {
		return corev1.ServiceTypeClusterIP, nil
	}
	chosen := cluster.Spec.Editor.Service
	annotations := make(map[string]string, len(chosen.Annotations))
	for key, value := range chosen.Annotations {
		annotations[key] = string(value)
	}
	return cmp.Or(chosen.Type, corev1.ServiceTypeClusterIP), annotations
}

func name(cluster *v1alpha1.CollabCluster) string {
	return child.ObjectName(cluster.Name, child.Editor)
}
