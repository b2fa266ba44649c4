package editor

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	psaapi "k8s.io/pod-security-admission/api"
	psapolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/child"
)

var (
	update = flag.Bool("update", false, "rewrite the files in testdata")
	images = child.Images{Editor: "editor:test"}
)

func newCluster(change ...func(*v1alpha1.CollabClusterSpec)) *v1alpha1.CollabCluster {
	cluster := &v1alpha1.CollabCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "docs", Namespace: "team", UID: "1234", Generation: 7},
	}
	for _, c := range change {
		c(&cluster.Spec)
	}
	return cluster
}

func everythingChosen(spec *v1alpha1.CollabClusterSpec) {
	grace, shards, fifty := int32(120), int32(64), int32(50)
	spec.Durability = v1alpha1.DurabilityPostgres
	spec.Sharding = &v1alpha1.ShardingSpec{Shards: &shards}
	spec.Editor = &v1alpha1.EditorSpec{
		TerminationGracePeriodSeconds: &grace,
		Service: &v1alpha1.ServiceSpec{
			Type:        corev1.ServiceTypeLoadBalancer,
			Annotations: map[string]v1alpha1.AnnotationValue{"example.com/balancer": "internal"},
		},
		Auth: &v1alpha1.AuthSpec{
			SecretName: "application-tokens", JWKSURL: "https://login.example.com/jwks", Issuer: "login", Audience: "docs",
			AccessTokenSeconds: &fifty, SessionSeconds: &fifty,
			PermissionWebhook: &v1alpha1.PermissionWebhookSpec{
				URL: "https://app.example.com/permissions", TimeoutSeconds: &fifty, CacheSeconds: &fifty,
			},
		},
		AllowedOrigins: []v1alpha1.Origin{"https://app.example.com", "https://*.example.org"},
		Webhook:        &v1alpha1.WebhookSpec{URL: "https://app.example.com/changes", SecretName: "application-hooks"},
		Limits:         &v1alpha1.LimitsSpec{OperationsPerSecond: &fifty, DocumentMegabytes: &fifty},
		PodSpec: v1alpha1.PodSpec{
			Image:             "other:1",
			NodeSelector:      map[string]v1alpha1.LabelValue{"pool": "editors", "arch": "any"},
			PriorityClassName: "high",
			Resources: &v1alpha1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
			},
		},
	}
}

func render(t *testing.T, cluster *v1alpha1.CollabCluster) []byte {
	t.Helper()
	var rendered bytes.Buffer
	for _, object := range Objects(cluster, images, 2) {
		data, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		rendered.WriteString("---\n")
		rendered.Write(data)
	}
	return rendered.Bytes()
}

// TestRenderedObjectsDoNotChangeUnnoticed compares with files: whatever changes in the Deployment's template restarts
// every editor pod of every CollabCluster when the operator is upgraded.
func TestRenderedObjectsDoNotChangeUnnoticed(t *testing.T) {
	for file, cluster := range map[string]*v1alpha1.CollabCluster{
		"defaults.yaml":   newCluster(),
		"everything.yaml": newCluster(everythingChosen),
	} {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join("testdata", file)
			got := render(t, cluster)
			if *update {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the objects differ from %s; if that is intended, run go test -update. Got:\n%s", path, got)
			}
			if again := render(t, cluster); !bytes.Equal(got, again) {
				t.Error("two renderings of the same cluster differ")
			}
		})
	}
}

func renderedDeployment(t *testing.T, cluster *v1alpha1.CollabCluster) *appsv1.Deployment {
	t.Helper()
	data, err := yaml.Marshal(deployment(cluster, images, 2))
	if err != nil {
		t.Fatal(err)
	}
	decoded := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict(data, decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestPodsPassTheRestrictedPodSecurityStandard(t *testing.T) {
	evaluator, err := psapolicy.NewEvaluator(psapolicy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}
	template := renderedDeployment(t, newCluster(everythingChosen)).Spec.Template
	results := evaluator.EvaluatePod(restricted, &template.ObjectMeta, &template.Spec)
	if result := psapolicy.AggregateCheckResults(results); !result.Allowed {
		t.Errorf("%s: %s", result.ForbiddenReason(), result.ForbiddenDetail())
	}
	if readOnly := template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Error("the editor may write to its root file system")
	}
}

func TestPodsSeeOnlyTheSecretKeysTheyNeed(t *testing.T) {
	want := map[string][]string{
		"docs-redis-credentials":    {"password"},
		"docs-postgres-credentials": {"collab-password"},
		"docs-peer-tls":             {"tls.crt", "tls.key", "ca.crt"},
	}
	volumes := renderedDeployment(t, newCluster()).Spec.Template.Spec.Volumes
	if len(volumes) != len(want) {
		t.Fatalf("got %d volumes, want %d", len(volumes), len(want))
	}
	for _, volume := range volumes {
		var keys []string
		for _, item := range volume.Secret.Items {
			keys = append(keys, item.Key)
		}
		if !slices.Equal(keys, want[volume.Secret.SecretName]) {
			t.Errorf("of %s the pods see %v", volume.Secret.SecretName, keys)
		}
	}
}

func TestChangesAreSignedWithAKeyThatThePodsSee(t *testing.T) {
	for name, c := range map[string]struct{ secretName, want string }{
		"its own Secret": {"hooks", "hooks"}, "that of auth": {"", "tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			template := renderedDeployment(t, newCluster(func(spec *v1alpha1.CollabClusterSpec) {
				spec.Editor = &v1alpha1.EditorSpec{
					Auth:    &v1alpha1.AuthSpec{SecretName: "tokens"},
					Webhook: &v1alpha1.WebhookSpec{URL: "https://app.example.com", SecretName: c.secretName},
				}
			})).Spec.Template.Spec
			editor := template.Containers[0]
			if !slices.Contains(editor.Args, "--webhook-url=https://app.example.com") {
				t.Errorf("the flags are %q", editor.Args)
			}
			file := flagOf(editor.Args, "--webhook-secret-file=")
			for _, mount := range editor.VolumeMounts {
				if mount.MountPath != filepath.Dir(file) {
					continue
				}
				volume := template.Volumes[slices.IndexFunc(template.Volumes,
					func(v corev1.Volume) bool { return v.Name == mount.Name })]
				shown := volume.Secret.Items == nil || slices.ContainsFunc(volume.Secret.Items,
					func(item corev1.KeyToPath) bool {
						return item.Key == "webhook-secret" && item.Path == filepath.Base(file)
					})
				if volume.Secret.SecretName != c.want || filepath.Base(file) != "webhook-secret" || !shown {
					t.Errorf("%s is of %v", file, volume.Secret)
				}
				return
			}
			t.Errorf("nothing is mounted for %s", file)
		})
	}
}

// flagOf is the value of a flag.
func flagOf(arguments []string, flag string) string {
	for _, argument := range arguments {
		if value, found := strings.CutPrefix(argument, flag); found {
			return value
		}
	}
	return ""
}

func TestNumbersOfTheSpec(t *testing.T) {
	number := func(n int32) *int32 { return &n }
	scaled := func(scaling v1alpha1.AutoscalingSpec) func(*v1alpha1.CollabClusterSpec) {
		return func(spec *v1alpha1.CollabClusterSpec) { spec.Editor = &v1alpha1.EditorSpec{Autoscaling: &scaling} }
	}
	type numbers struct{ replicas, least, most, target, shards int32 }
	tests := []struct {
		name    string
		cluster *v1alpha1.CollabCluster
		want    numbers
	}{
		{"defaults", newCluster(), numbers{2, 2, 2, 5000, 256}},
		{"fixed", newCluster(func(spec *v1alpha1.CollabClusterSpec) {
			spec.Editor = &v1alpha1.EditorSpec{Replicas: number(7)}
			spec.Sharding = &v1alpha1.ShardingSpec{Shards: number(16)}
		}), numbers{7, 7, 7, 5000, 16}},
		{"autoscaled", newCluster(scaled(v1alpha1.AutoscalingSpec{
			MinReplicas: number(3), MaxReplicas: 9, TargetConnectionsPerPod: number(100),
		})), numbers{2, 3, 9, 100, 256}},
		{"autoscaled to one pod", newCluster(scaled(v1alpha1.AutoscalingSpec{MaxReplicas: 1})),
			numbers{2, 1, 1, 5000, 256}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := numbers{
				Replicas(test.cluster), MinReplicas(test.cluster), MaxReplicas(test.cluster),
				TargetConnections(test.cluster), Shards(test.cluster),
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
