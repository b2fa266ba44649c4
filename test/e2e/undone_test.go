//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
)

// TestDeletionLeavesNothing deletes the CollabCluster that the tests share. It has to be the last: go test runs files
// in the order of their names.
func TestDeletionLeavesNothing(t *testing.T) {
	if err := api.Delete(t.Context(), cluster(t)); err != nil {
		t.Fatal(err)
	}
	await(t, removeLimit, func() error {
		left, err := leftovers(t)
		if err == nil && len(left) > 0 {
			slices.Sort(left)
			err = fmt.Errorf("these are left: %s", strings.Join(left, ", "))
		}
		return err
	})
}

// leftovers are the objects of every kind that the namespace holds beyond what Kubernetes puts into each namespace,
// and the volumes that were claimed from it.
func leftovers(t *testing.T) ([]string, error) {
	t.Helper()
	discoverer, err := discovery.NewDiscoveryClientForConfig(configuration)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(configuration)
	if err != nil {
		return nil, err
	}
	lists, err := discoverer.ServerPreferredNamespacedResources()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, kind := range list.APIResources {
			if kind.Kind == "Event" || !slices.Contains(kind.Verbs, "list") {
				continue
			}
			items, err := objects.Resource(group.WithResource(kind.Name)).Namespace(namespace).
				List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", kind.Name, err)
			}
			for _, item := range items.Items {
				name := kind.Kind + "/" + item.GetName()
				if name != "ConfigMap/kube-root-ca.crt" && name != "ServiceAccount/default" {
					left = append(left, name)
				}
			}
		}
	}
	var volumes corev1.PersistentVolumeList
	if err := api.List(t.Context(), &volumes); err != nil {
		return nil, err
	}
	for _, volume := range volumes.Items {
		if claim := volume.Spec.ClaimRef; claim != nil && claim.Namespace == namespace {
			left = append(left, "PersistentVolume/"+volume.Name)
		}
	}
	return left, nil
}
