// Package v1alpha1 holds the CollabCluster and ShardMap resources of the API group collab.dev.
//
// It owns the shape of the API, its validation (schema bounds and CEL rules, enforced by the API server) and nothing
// else: defaults live in the package that uses them, so that a better default reaches clusters that exist already.
// It must not import anything but the API machinery.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=collab.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of every type in this package.
	GroupVersion = schema.GroupVersion{Group: "collab.dev", Version: "v1alpha1"}

	// SchemeGroupVersion is GroupVersion under the name that generated clients expect.
	SchemeGroupVersion = GroupVersion

	// SchemeBuilder collects the functions that add this package's types to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds this package's types to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &CollabCluster{}, &CollabClusterList{}, &ShardMap{}, &ShardMapList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
