//go:build controlplane

package controlplane_test

import (
	"context"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
)

// named is the CollabCluster that scalable stores.
var named = &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{Name: "scalable", Namespace: "default"}}

// scalable stores a CollabCluster for the length of the test.
func scalable(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	stored := object(t, "CollabCluster", "scalable", spec)
	if err := api.Create(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.Background(), stored) })
	return stored
}

// replicas is the number of editor pods in the spec, 0 if it says none.
func replicas(t *testing.T, stored *unstructured.Unstructured) int64 {
	t.Helper()
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
		t.Fatal(err)
	}
	n, _, err := unstructured.NestedInt64(stored.Object, "spec", "editor", "replicas")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// kubectlScale asks for what kubectl scale asks for.
func kubectlScale(t *testing.T, stored *unstructured.Unstructured) error {
	t.Helper()
	return api.SubResource("scale").Patch(t.Context(), stored,
		client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":5}}`)))
}

func TestKubectlScaleSetsTheNumberOfEditorPods(t *testing.T) {
	for name, spec := range map[string]string{
		"that is there": `editor: {replicas: 3}`, "of an editor": `editor: {image: a}`, "without an editor": `{}`, "of no spec": ``,
	} {
		t.Run(name, func(t *testing.T) {
			stored := scalable(t, spec)
			if err := kubectlScale(t, stored); err != nil {
				t.Fatal(err)
			}
			if n := replicas(t, stored); n != 5 {
				t.Errorf("there are %d replicas", n)
			}
		})
	}
}

func TestAutoscalersReadAndWriteTheScale(t *testing.T) {
	stored := scalable(t, `editor: {replicas: 3}`)
	stored.Object["status"] = map[string]any{"editor": map[string]any{
		"replicas": int64(2), "desiredReplicas": int64(3), "readyReplicas": int64(2), "selector": "a=b",
	}}
	if err := api.Status().Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	scale := &autoscalingv1.Scale{}
	if err := api.SubResource("scale").Get(t.Context(), named, scale); err != nil {
		t.Fatal(err)
	}
	if scale.Spec.Replicas != 3 || scale.Status.Replicas != 2 || scale.Status.Selector != "a=b" {
		t.Errorf("the scale is %+v of %+v", scale.Status, scale.Spec)
	}
	scale.Spec.Replicas = 4
	if err := api.SubResource("scale").Update(t.Context(), named, client.WithSubResourceBody(scale)); err != nil {
		t.Fatal(err)
	}
	if n := replicas(t, stored); n != 4 {
		t.Errorf("there are %d replicas", n)
	}
}

// TestWhatTheScaleNeedsIsSaid holds what docs/operations.md tells: an autoscaler reads a number that is there, and
// spec.editor.autoscaling is one already.
func TestWhatTheScaleNeedsIsSaid(t *testing.T) {
	stored := scalable(t, `{}`)
	err := api.SubResource("scale").Get(t.Context(), named, &autoscalingv1.Scale{})
	if err == nil || !strings.Contains(err.Error(), ".spec.editor.replicas") {
		t.Errorf("the scale of no replicas got %v", err)
	}
	if err := api.Delete(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	stored = scalable(t, `editor: {autoscaling: {maxReplicas: 9}}`)
	err = kubectlScale(t, stored)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "set either replicas or autoscaling, not both") {
		t.Errorf("scaling what is autoscaled got %v", err)
	}
}
