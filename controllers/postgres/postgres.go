// Package postgres owns what a CollabCluster's PostgreSQL consists of: a StatefulSet of servers under Patroni, HAProxy
// in front of them, what belongs to both, and what their pods say about their state. It is pure: it knows nothing of
// clients, and it never chooses a primary. Patroni does that.
package postgres

import (
	"cmp"

	"k8s.io/apimachinery/pkg/runtime"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

const (
	// Port is PostgreSQL's port, on the servers and, leading to the primary, on HAProxy.
	Port = 5432
	// ReplicaPort is HAProxy's port that leads to standbys.
	ReplicaPort = 5433
	// Database is the name of the editors' database and of the role that owns it.
	Database = "collab"

	// Keys of the credentials Secret.
	superuserKey   = "superuser-password"
	replicationKey = "replication-password"
	// CollabPasswordKey is the key of the credentials Secret whose value opens Database.
	CollabPasswordKey = "collab-password"

	restPort   = 8008
	healthPort = 8404

	// roleLabel is the label by which Patroni tells what a pod is; rolePrimary is its value on the leader.
	roleLabel   = "role"
	rolePrimary = "primary"
	// scopeLabel tells Patroni which pods and ConfigMaps are its own.
	scopeLabel = "collab.dev/patroni-scope"
)

// CredentialKeys are the keys of the credentials Secret.
func CredentialKeys() []string { return []string{superuserKey, replicationKey, CollabPasswordKey} }

// Replicas is the number of PostgreSQL pods.
func Replicas(cluster *v1alpha1.CollabCluster) int32 {
	if postgres := cluster.Spec.Postgres; postgres != nil && postgres.Replicas != nil {
		return *postgres.Replicas
	}
	return 3
}

// ProxyReplicas is the number of HAProxy pods.
func ProxyReplicas(cluster *v1alpha1.CollabCluster) int32 {
	if proxy := proxyChoices(cluster); proxy.Replicas != nil {
		return *proxy.Replicas
	}
	return 2
}

// PatroniConfigMaps are the names of the ConfigMaps in which Patroni keeps its state. Patroni makes them itself and
// gives them no owner: whoever deletes the cluster has to delete them, after the pods, which would make them again.
func PatroniConfigMaps(cluster *v1alpha1.CollabCluster) []string {
	scope := child.ObjectName(cluster.Name, child.Postgres)
	return []string{
		scope + "-config", scope + "-failover", scope + "-failsafe", scope + "-leader", scope + "-sync",
	}
}

// Objects are the objects of the cluster's PostgreSQL, in the order in which they are best applied.
func Objects(cluster *v1alpha1.CollabCluster, images child.Images) []runtime.ApplyConfiguration {
	objects := []runtime.ApplyConfiguration{}
	objects = append(objects, rbacObjects(cluster)...)
	objects = append(objects, serverObjects(cluster, images)...)
	return append(objects, proxyObjects(cluster, images)...)
}

// synchronous is whether commits wait for a standby. With one server there is none to wait for.
func synchronous(cluster *v1alpha1.CollabCluster) v1alpha1.SynchronousReplication {
	if Replicas(cluster) < 2 {
		return v1alpha1.SynchronousOff
	}
	return cmp.Or(choices(cluster).SynchronousReplication, v1alpha1.SynchronousPreferred)
}

func choices(cluster *v1alpha1.CollabCluster) v1alpha1.PostgresSpec {
	if cluster.Spec.Postgres == nil {
		return v1alpha1.PostgresSpec{}
	}
	return *cluster.Spec.Postgres
}

func proxyChoices(cluster *v1alpha1.CollabCluster) v1alpha1.ProxySpec {
	if proxy := choices(cluster).Proxy; proxy != nil {
		return *proxy
	}
	return v1alpha1.ProxySpec{}
}
