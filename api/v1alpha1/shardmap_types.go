package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ShardMapSpec says which editor pod owns which shard. The operator is its only writer; editor pods watch it.
//
// +kubebuilder:validation:XValidation:rule="size(self.shards) in [16, 32, 64, 128, 256, 512, 1024]",message="the number of shards is a power of two from 16 to 1024"
// +kubebuilder:validation:XValidation:rule="self.shards.all(s, s.shard < size(self.shards))",message="shards are numbered from 0 without gaps"
// +kubebuilder:validation:XValidation:rule="size(self.shards) == size(oldSelf.shards)",message="the number of shards cannot change: a document's shard is its name's hash modulo this number"
type ShardMapSpec struct {
	// members are the editor pods that own shards or may be asked to hand some over.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Members []ShardMember `json:"members,omitempty"`

	// shards are all shards of the cluster, numbered from 0.
	// +required
	// +listType=map
	// +listMapKey=shard
	// +kubebuilder:validation:MinItems=16
	// +kubebuilder:validation:MaxItems=1024
	Shards []ShardAssignment `json:"shards"`
}

// ShardMember is an editor pod.
type ShardMember struct {
	// name of the pod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// uid of the pod: a pod that was replaced under the same name is another member.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid"`

	// address is the host:port at which other editor pods reach this one's peer link.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=270
	Address string `json:"address"`
}

// ShardAssignment is the owner of one shard.
//
// +kubebuilder:validation:XValidation:rule="self.epoch >= oldSelf.epoch",message="a shard's epoch must never fall: its owner would be fenced out of the stores"
// +kubebuilder:validation:XValidation:rule="self.epoch > oldSelf.epoch || has(self.owner) == has(oldSelf.owner) && (!has(self.owner) || self.owner == oldSelf.owner)",message="a shard's epoch must rise when its owner changes: the new owner fences the old one by it"
type ShardAssignment struct {
	// shard is the shard's number.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1023
	Shard int32 `json:"shard"`

	// owner is the name of the member that owns the shard; empty while there is no pod to own it.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Owner string `json:"owner,omitempty"`

	// previousOwner is the member that a planned move takes the shard from. The new owner asks it to hand over.
	// It is not set when the previous owner is gone.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PreviousOwner string `json:"previousOwner,omitempty"`

	// epoch rises whenever the owner changes. Stores refuse writes of lower epochs.
	// +required
	// +kubebuilder:validation:Minimum=1
	Epoch int64 `json:"epoch"`
}

// ShardMap says which editor pod of a CollabCluster owns which shard.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=shards
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.metadata.labels.app\.kubernetes\.io/instance`
// +kubebuilder:printcolumn:name="Version",type=integer,JSONPath=`.metadata.generation`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ShardMap struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec holds the assignment. It is not status, because it cannot be reconstructed from observation.
	// +required
	Spec ShardMapSpec `json:"spec"`
}

// ShardMapList is a list of ShardMaps.
// +kubebuilder:object:root=true
type ShardMapList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ShardMap `json:"items"`
}
