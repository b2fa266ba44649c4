package redis

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	psaapi "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

var images = child.Images{Redis: "redis:test"}

func newCluster(change ...func(*v1alpha1.CollabClusterSpec)) *v1alpha1.CollabCluster {
	cluster := &v1alpha1.CollabCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "docs", Namespace: "team", UID: "1234", Generation: 7},
	}
	for _, c := range change {
		c(&cluster.Spec)
	}
	return cluster
}

// decode reads an apply configuration back as the object that the API server would store. Unknown fields are errors.
func decode[T any](t *testing.T, object runtime.ApplyConfiguration) *T {
	t.Helper()
	data, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	decoded := new(T)
	if err := yaml.UnmarshalStrict(data, decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func renderedSet(t *testing.T, cluster *v1alpha1.CollabCluster) *appsv1.StatefulSet {
	t.Helper()
	return decode[appsv1.StatefulSet](t, statefulSet(cluster, images))
}

func TestObjectsAreOwnedLabelledAndComplete(t *testing.T) {
	objects := Objects(newCluster(), images)
	var kinds []string
	for _, object := range objects {
		meta := decode[metav1.PartialObjectMetadata](t, lenient{object})
		kinds = append(kinds, meta.Kind)
		if meta.Name != "docs-redis" || meta.Namespace != "team" {
			t.Errorf("%s is named %s/%s", meta.Kind, meta.Namespace, meta.Name)
		}
		if len(meta.OwnerReferences) != 1 || meta.OwnerReferences[0].UID != "1234" {
			t.Errorf("%s has the owners %v", meta.Kind, meta.OwnerReferences)
		}
		if meta.Labels[child.LabelManagedBy] != child.ManagedBy || meta.Labels[child.LabelComponent] != "redis" {
			t.Errorf("%s has the labels %v", meta.Kind, meta.Labels)
		}
	}
	if want := []string{"Service", "PodDisruptionBudget", "StatefulSet"}; !slices.Equal(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
}

// lenient hides what is not metadata, which PartialObjectMetadata has no field for.
type lenient struct{ runtime.ApplyConfiguration }

func (l lenient) MarshalJSON() ([]byte, error) {
	data, err := yaml.Marshal(l.ApplyConfiguration)
	if err != nil {
		return nil, err
	}
	var whole map[string]any
	if err := yaml.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	delete(whole, "spec")
	if data, err = yaml.Marshal(whole); err != nil {
		return nil, err
	}
	return yaml.YAMLToJSON(data)
}

func TestPodsPassTheRestrictedPodSecurityStandard(t *testing.T) {
	evaluator, err := psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
	template := renderedSet(t, newCluster()).Spec.Template
	results := evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec)
	if result := psapolicy.AggregateCheckResults(results); !result.Allowed {
		t.Errorf("%s: %s", result.ForbiddenReason(), result.ForbiddenDetail())
	}
	for _, container := range template.Spec.Containers {
		if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
			t.Errorf("%s may write to its root file system", container.Name)
		}
	}
	if mount := template.Spec.AutomountServiceAccountToken; mount == nil || *mount {
		t.Error("the pod has a token that it does not need")
	}
}

func TestPodsFindEachOtherBeforeTheyAreReady(t *testing.T) {
	rendered := decode[corev1.Service](t, service(newCluster()))
	if !rendered.Spec.PublishNotReadyAddresses || rendered.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("the Service hides pods that start: %+v", rendered.Spec)
	}
	set := renderedSet(t, newCluster())
	if set.Spec.ServiceName != rendered.Name {
		t.Errorf("the StatefulSet's Service is %q, want %q", set.Spec.ServiceName, rendered.Name)
	}
	if set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Error("pods wait for each other, but none becomes ready before a majority runs")
	}
	want := []string{
		"docs-redis-0.docs-redis.team.svc:26379",
		"docs-redis-1.docs-redis.team.svc:26379",
		"docs-redis-2.docs-redis.team.svc:26379",
	}
	if got := SentinelAddresses(newCluster()); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPasswordIsInNoArgumentAndNoVariable(t *testing.T) {
	for _, container := range renderedSet(t, newCluster()).Spec.Template.Spec.Containers {
		for _, variable := range container.Env {
			if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
				t.Errorf("%s has the Secret in %s", container.Name, variable.Name)
			}
		}
		if !slices.ContainsFunc(container.VolumeMounts, func(mount corev1.VolumeMount) bool {
			return mount.MountPath == "/etc/collab/redis" && mount.ReadOnly
		}) {
			t.Errorf("%s does not mount the password", container.Name)
		}
	}
}

func TestChoicesOfTheSpec(t *testing.T) {
	size := resource.MustParse("5Gi")
	class := "fast"
	five := int32(5)
	set := renderedSet(t, newCluster(func(spec *v1alpha1.CollabClusterSpec) {
		spec.DeletionPolicy = v1alpha1.DeletionDelete
		spec.Redis = &v1alpha1.RedisSpec{
			Replicas: &five,
			Storage:  &v1alpha1.StorageSpec{Size: &size, StorageClassName: &class},
			PodSpec: v1alpha1.PodSpec{
				Image:             "other:1",
				NodeSelector:      map[string]v1alpha1.LabelValue{"disk": "ssd"},
				PriorityClassName: "high",
				Resources: &v1alpha1.ResourceRequirements{
					Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")},
				},
			},
		}
	}))
	claim := set.Spec.VolumeClaimTemplates[0].Spec
	pod := set.Spec.Template.Spec
	switch {
	case *set.Spec.Replicas != 5:
		t.Errorf("replicas are %d", *set.Spec.Replicas)
	case pod.Containers[0].Env[0].Value != "5":
		t.Error("the members are not told how many they are")
	case claim.Resources.Requests.Storage().Cmp(size) != 0 || *claim.StorageClassName != class:
		t.Errorf("the volume is %+v", claim)
	case set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted != appsv1.DeletePersistentVolumeClaimRetentionPolicyType:
		t.Error("the volumes are kept")
	case pod.Containers[0].Image != "other:1" || pod.Containers[1].Image != "other:1":
		t.Error("the image is not the chosen one")
	case pod.NodeSelector["disk"] != "ssd" || pod.PriorityClassName != "high":
		t.Error("scheduling choices are ignored")
	case pod.Containers[0].Resources.Requests.Memory().String() != "32Mi":
		t.Errorf("the request %s exceeds the limit", pod.Containers[0].Resources.Requests.Memory())
	}
}

func TestDefaults(t *testing.T) {
	set := renderedSet(t, newCluster())
	retention := set.Spec.PersistentVolumeClaimRetentionPolicy
	if *set.Spec.Replicas != 3 ||
		retention.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType ||
		retention.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType ||
		set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() != "2Gi" {
		t.Errorf("unexpected defaults: %+v", set.Spec)
	}
	budget := decode[policyv1.PodDisruptionBudget](t, disruptionBudget(newCluster()))
	if budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("a drain may take %s pods at a time", budget.Spec.MaxUnavailable)
	}
}
