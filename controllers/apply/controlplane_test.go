//go:build controlplane

package apply_test

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/apply"
	"collab.dev/operator/test/controlplane"
)

// cached is a client that reads one Deployment as it was at some time, as a cache does.
type cached struct {
	client.Client
	shown *appsv1.Deployment
}

func (c *cached) Get(
	ctx context.Context, name client.ObjectKey, object client.Object, options ...client.GetOption,
) error {
	if deployment, ok := object.(*appsv1.Deployment); ok && c.shown != nil {
		c.shown.DeepCopyInto(deployment)
		return nil
	}
	return c.Client.Get(ctx, name, object, options...)
}

func TestARepairIsToldFromAStatusThatChangesMeanwhile(t *testing.T) {
	server, err := controlplane.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	api := server.Client
	owner := &v1alpha1.CollabCluster{ObjectMeta: metav1.ObjectMeta{Name: "docs", Namespace: "default"}}
	if err := api.Create(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app": "docs"}
	desired := applyappsv1.Deployment("docs", "default").
		WithLabels(labels).
		WithOwnerReferences(applymetav1.OwnerReference().WithAPIVersion(v1alpha1.GroupVersion.String()).
			WithKind("CollabCluster").WithName(owner.Name).WithUID(owner.UID).WithController(true)).
		WithSpec(applyappsv1.DeploymentSpec().
			WithReplicas(3).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(applycorev1.PodTemplateSpec().WithLabels(labels).WithSpec(applycorev1.PodSpec().
				WithContainers(applycorev1.Container().WithName("main").WithImage("main:1")))))
	cache := &cached{Client: api}
	applier := apply.New(cache, api, "test")
	step := func(what string, want apply.Outcome) {
		t.Helper()
		got, err := applier.Apply(t.Context(), owner, desired)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", what, got, err, want)
		}
	}
	// show lets the cache show what there is now.
	show := func() {
		t.Helper()
		shown := &appsv1.Deployment{}
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "docs"}, shown); err != nil {
			t.Fatal(err)
		}
		cache.shown = shown
	}
	writes := int32(0)
	writeStatus := func() {
		t.Helper()
		writes++
		patch := fmt.Sprintf(`{"status":{"replicas":%d}}`, writes)
		if err := api.Status().Patch(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
			Name: "docs", Namespace: "default",
		}}, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	change := func(patch string) {
		t.Helper()
		if err := api.Patch(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
			Name: "docs", Namespace: "default",
		}}, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
		show()
		writeStatus()
	}

	step("there is none", apply.Created)
	writeStatus()
	show()
	writeStatus()
	step("its status was written twice", apply.Unchanged)
	show()
	step("nothing happened", apply.Unchanged)
	change(`{"spec":{"replicas":1}}`)
	step("somebody scaled it", apply.Repaired)
	change(`{"metadata":{"labels":{"app":"other"}}}`)
	step("somebody labelled it", apply.Repaired)
	desired.Spec.WithReplicas(4)
	show()
	writeStatus()
	step("something else is desired", apply.Updated)
}
