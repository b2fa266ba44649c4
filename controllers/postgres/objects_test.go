package postgres

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	psaapi "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

var images = child.Images{Postgres: "postgres:test", HAProxy: "haproxy:test"}

func newCluster(change ...func(*v1alpha1.PostgresSpec)) *v1alpha1.CollabCluster {
	cluster := &v1alpha1.CollabCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "docs", Namespace: "team", UID: "1234", Generation: 7},
	}
	if len(change) > 0 {
		cluster.Spec.Postgres = &v1alpha1.PostgresSpec{}
	}
	for _, c := range change {
		c(cluster.Spec.Postgres)
	}
	return cluster
}

// rendered are the cluster's objects of a kind, as the API server would store them. Unknown fields are errors.
func rendered[T any](t *testing.T, cluster *v1alpha1.CollabCluster, kind string) map[string]*T {
	t.Helper()
	found := map[string]*T{}
	for _, object := range Objects(cluster, images) {
		meta := metadata(t, object)
		if meta.Kind != kind {
			continue
		}
		data, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		decoded := new(T)
		if err := yaml.UnmarshalStrict(data, decoded); err != nil {
			t.Fatalf("%s %s: %v", kind, meta.Name, err)
		}
		found[meta.Name] = decoded
	}
	if len(found) == 0 {
		t.Fatalf("there is no %s", kind)
	}
	return found
}

func metadata(t *testing.T, object runtime.ApplyConfiguration) *metav1.PartialObjectMetadata {
	t.Helper()
	data, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	meta := &metav1.PartialObjectMetadata{}
	if err := yaml.Unmarshal(data, meta); err != nil {
		t.Fatal(err)
	}
	return meta
}

func servers(t *testing.T, cluster *v1alpha1.CollabCluster) *appsv1.StatefulSet {
	t.Helper()
	return rendered[appsv1.StatefulSet](t, cluster, "StatefulSet")["docs-postgres"]
}

func proxies(t *testing.T, cluster *v1alpha1.CollabCluster) *appsv1.Deployment {
	t.Helper()
	return rendered[appsv1.Deployment](t, cluster, "Deployment")["docs-haproxy"]
}

func TestObjectsAreOwnedLabelledAndComplete(t *testing.T) {
	var kinds []string
	for _, object := range Objects(newCluster(), images) {
		meta := metadata(t, object)
		kinds = append(kinds, meta.Kind+" "+meta.Name)
		if meta.Namespace != "team" {
			t.Errorf("%s is in the namespace %q", meta.Kind, meta.Namespace)
		}
		if len(meta.OwnerReferences) != 1 || meta.OwnerReferences[0].UID != "1234" {
			t.Errorf("%s has the owners %v", meta.Kind, meta.OwnerReferences)
		}
		component := strings.TrimPrefix(meta.Name, "docs-")
		if meta.Labels[child.LabelManagedBy] != child.ManagedBy || meta.Labels[child.LabelComponent] != component {
			t.Errorf("%s %s has the labels %v", meta.Kind, meta.Name, meta.Labels)
		}
	}
	want := []string{
		"ServiceAccount docs-postgres", "Role docs-postgres", "RoleBinding docs-postgres",
		"ConfigMap docs-postgres", "Service docs-postgres", "PodDisruptionBudget docs-postgres",
		"StatefulSet docs-postgres",
		"ConfigMap docs-haproxy", "Service docs-haproxy", "PodDisruptionBudget docs-haproxy", "Deployment docs-haproxy",
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("got %v, want %v", kinds, want)
	}
}

// TestConfigurationFiles compares what Patroni and HAProxy read with golden files; -update writes them.
func TestConfigurationFiles(t *testing.T) {
	tests := map[string]*v1alpha1.CollabCluster{
		"defaults": newCluster(),
		"chosen": newCluster(func(spec *v1alpha1.PostgresSpec) {
			five := int32(5)
			spec.Replicas, spec.SynchronousReplication = &five, v1alpha1.SynchronousRequired
			spec.Parameters = map[string]v1alpha1.PostgresParameter{"work_mem": "16MB", "max_connections": "500"}
		}),
		"alone": newCluster(func(spec *v1alpha1.PostgresSpec) {
			one := int32(1)
			spec.Replicas, spec.SynchronousReplication = &one, v1alpha1.SynchronousPreferred
		}),
	}
	for name, cluster := range tests {
		maps := rendered[corev1.ConfigMap](t, cluster, "ConfigMap")
		for file, text := range map[string]string{
			"patroni.yaml": maps["docs-postgres"].Data["patroni.yaml"],
			"dynamic.yaml": maps["docs-postgres"].Data["dynamic.yaml"],
			"haproxy.cfg":  maps["docs-haproxy"].Data["haproxy.cfg"],
		} {
			path := filepath.Join("testdata", name+"."+file)
			if *update {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v; go test ./controllers/postgres -update writes it", err)
			}
			if string(golden) != text {
				t.Errorf("%s of %s differs from %s; if that is meant, go test ./controllers/postgres -update", file, name, path)
			}
		}
	}
}

func TestPodsPassTheRestrictedPodSecurityStandard(t *testing.T) {
	evaluator, err := psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
	for name, template := range map[string]corev1.PodTemplateSpec{
		"postgres": servers(t, newCluster()).Spec.Template, "haproxy": proxies(t, newCluster()).Spec.Template,
	} {
		results := evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec)
		if result := psapolicy.AggregateCheckResults(results); !result.Allowed {
			t.Errorf("%s: %s: %s", name, result.ForbiddenReason(), result.ForbiddenDetail())
		}
		for _, container := range template.Spec.Containers {
			if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
				t.Errorf("%s may write to its root file system", container.Name)
			}
		}
	}
	// Patroni keeps its state in the API; HAProxy has no business there.
	if mount := proxies(t, newCluster()).Spec.Template.Spec.AutomountServiceAccountToken; mount == nil || *mount {
		t.Error("HAProxy has a token that it does not need")
	}
}

func TestPatroniMayTouchOnlyConfigMapsAndPods(t *testing.T) {
	role := rendered[rbacv1.Role](t, newCluster(), "Role")["docs-postgres"]
	for _, rule := range role.Rules {
		for _, what := range rule.Resources {
			if what != "configmaps" && what != "pods" {
				t.Errorf("Patroni may use %s", what)
			}
		}
		if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Verbs, "delete") {
			t.Errorf("Patroni may %v", rule.Verbs)
		}
	}
	binding := rendered[rbacv1.RoleBinding](t, newCluster(), "RoleBinding")["docs-postgres"]
	if binding.RoleRef.Name != role.Name || len(binding.Subjects) != 1 ||
		binding.Subjects[0].Name != servers(t, newCluster()).Spec.Template.Spec.ServiceAccountName {
		t.Errorf("the role is bound to %+v", binding.Subjects)
	}
}

func TestPatroniFindsItsPods(t *testing.T) {
	set := servers(t, newCluster())
	var configuration struct {
		Scope      string
		Kubernetes struct {
			Labels     map[string]string
			ScopeLabel string `json:"scope_label"`
		}
	}
	text := rendered[corev1.ConfigMap](t, newCluster(), "ConfigMap")["docs-postgres"].Data["patroni.yaml"]
	if err := yaml.Unmarshal([]byte(text), &configuration); err != nil {
		t.Fatal(err)
	}
	labels := set.Spec.Template.Labels
	if labels[configuration.Kubernetes.ScopeLabel] != configuration.Scope {
		t.Errorf("the pods' scope is %q, Patroni's is %q", labels[configuration.Kubernetes.ScopeLabel], configuration.Scope)
	}
	for key, value := range configuration.Kubernetes.Labels {
		if labels[key] != value {
			t.Errorf("Patroni looks for pods with %s=%s, they have %q", key, value, labels[key])
		}
	}
	for _, name := range PatroniConfigMaps(newCluster()) {
		if !strings.HasPrefix(name, configuration.Scope+"-") {
			t.Errorf("%s is not Patroni's", name)
		}
	}
}

func TestServicesLeadToContainers(t *testing.T) {
	services := rendered[corev1.Service](t, newCluster(), "Service")
	for name, pod := range map[string]corev1.PodTemplateSpec{
		"docs-postgres": servers(t, newCluster()).Spec.Template, "docs-haproxy": proxies(t, newCluster()).Spec.Template,
	} {
		service := services[name]
		for key, value := range service.Spec.Selector {
			if pod.Labels[key] != value {
				t.Errorf("the Service %s selects %s=%s, its pods have %q", name, key, value, pod.Labels[key])
			}
		}
		for _, port := range service.Spec.Ports {
			if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool {
				return p.Name == port.TargetPort.StrVal && p.ContainerPort == port.Port
			}) {
				t.Errorf("the port %s of the Service %s leads nowhere", port.Name, name)
			}
		}
	}
	if servers := services["docs-postgres"]; servers.Spec.ClusterIP != corev1.ClusterIPNone ||
		!servers.Spec.PublishNotReadyAddresses {
		t.Error("HAProxy cannot find every server by its name")
	}
}

func TestSecretsAreInNoArgumentAndNoFile(t *testing.T) {
	wanted := slices.Sorted(slices.Values(CredentialKeys()))
	var used []string
	for _, variable := range servers(t, newCluster()).Spec.Template.Spec.Containers[0].Env {
		if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
			used = append(used, variable.ValueFrom.SecretKeyRef.Key)
		}
	}
	slices.Sort(used)
	if !slices.Equal(used, wanted) {
		t.Errorf("the pods read %v of the Secret, which has %v", used, wanted)
	}
	for name, files := range rendered[corev1.ConfigMap](t, newCluster(), "ConfigMap") {
		for file, text := range files.Data {
			if strings.Contains(strings.ToLower(text), "password:") {
				t.Errorf("%s of the ConfigMap %s has a password", file, name)
			}
		}
	}
}

func TestDataIsInASubfolderOfTheVolume(t *testing.T) {
	container := servers(t, newCluster()).Spec.Template.Spec.Containers[0]
	i := slices.IndexFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "data" })
	j := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == "PGDATA" })
	if i < 0 || j < 0 || !strings.HasPrefix(container.Env[j].Value, container.VolumeMounts[i].MountPath+"/") {
		t.Error("PostgreSQL insists on owning its folder, which the root of a volume need not allow")
	}
}

func TestChangedParametersRestartTheServersAndNotTheProxies(t *testing.T) {
	changed := newCluster(func(spec *v1alpha1.PostgresSpec) {
		spec.Parameters = map[string]v1alpha1.PostgresParameter{"max_connections": "300"}
	})
	before, after := servers(t, newCluster()), servers(t, changed)
	if before.Spec.Template.Annotations[hashAnnotation] == after.Spec.Template.Annotations[hashAnnotation] {
		t.Error("servers with old parameters go on")
	}
	if proxies(t, newCluster()).Spec.Template.Annotations[hashAnnotation] !=
		proxies(t, changed).Spec.Template.Annotations[hashAnnotation] {
		t.Error("the proxies restart without need")
	}
}

func TestChoicesOfTheSpec(t *testing.T) {
	size, class, five, three := resource.MustParse("50Gi"), "fast", int32(5), int32(3)
	cluster := newCluster(func(spec *v1alpha1.PostgresSpec) {
		spec.Replicas = &five
		spec.Storage = &v1alpha1.StorageSpec{Size: &size, StorageClassName: &class}
		spec.Proxy = &v1alpha1.ProxySpec{Replicas: &three, PodSpec: v1alpha1.PodSpec{Image: "proxy:2"}}
		spec.PodSpec = v1alpha1.PodSpec{
			Image:             "other:1",
			NodeSelector:      map[string]v1alpha1.LabelValue{"disk": "ssd"},
			PriorityClassName: "high",
			Resources: &v1alpha1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
			},
		}
	})
	cluster.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	set, proxy := servers(t, cluster), proxies(t, cluster)
	claim, pod := set.Spec.VolumeClaimTemplates[0].Spec, set.Spec.Template.Spec
	switch {
	case *set.Spec.Replicas != 5 || *proxy.Spec.Replicas != 3:
		t.Errorf("%d servers, %d proxies", *set.Spec.Replicas, *proxy.Spec.Replicas)
	case claim.Resources.Requests.Storage().Cmp(size) != 0 || *claim.StorageClassName != class:
		t.Errorf("the volume is %+v", claim)
	case set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted != appsv1.DeletePersistentVolumeClaimRetentionPolicyType:
		t.Error("the volumes are kept")
	case pod.Containers[0].Image != "other:1" || proxy.Spec.Template.Spec.Containers[0].Image != "proxy:2":
		t.Error("the images are not the chosen ones")
	case pod.NodeSelector["disk"] != "ssd" || pod.PriorityClassName != "high":
		t.Error("scheduling choices are ignored")
	case pod.Containers[0].Resources.Requests.Memory().String() != "128Mi":
		t.Errorf("the request %s exceeds the limit", pod.Containers[0].Resources.Requests.Memory())
	}
}

func TestDefaults(t *testing.T) {
	set := servers(t, newCluster())
	retention := set.Spec.PersistentVolumeClaimRetentionPolicy
	if *set.Spec.Replicas != 3 || *proxies(t, newCluster()).Spec.Replicas != 2 ||
		retention.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType ||
		retention.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType ||
		set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() != "10Gi" {
		t.Errorf("unexpected defaults: %+v", set.Spec)
	}
	for name, budget := range rendered[policyv1.PodDisruptionBudget](t, newCluster(), "PodDisruptionBudget") {
		if budget.Spec.MaxUnavailable.IntValue() != 1 {
			t.Errorf("a drain may take %s pods of %s at a time", budget.Spec.MaxUnavailable, name)
		}
	}
}
