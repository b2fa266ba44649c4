//go:build controlplane

package controlplane_test

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// object makes an object of the API group from its kind, its name and the YAML of its spec.
func object(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	var body map[string]any
	if err := yaml.Unmarshal([]byte(spec), &body); err != nil {
		t.Fatalf("the test's own YAML is broken: %v", err)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "collab.dev/v1alpha1",
		"kind":       kind,
		"metadata":   map[string]any{"name": name, "namespace": "default"},
	}}
	if body != nil {
		object.Object["spec"] = body
	}
	return object
}

// refused checks that the API server refused an object for its content, with a message that holds want.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Fatalf("it was accepted; want it refused with %q", want)
	case !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
		t.Fatalf("it failed with %v; want it refused as invalid", err)
	case !strings.Contains(err.Error(), want):
		t.Fatalf("refused with\n  %v\nwhich does not say %q", err, want)
	}
}

func TestACollabClusterIsAccepted(t *testing.T) {
	for name, spec := range map[string]string{
		"with no spec":            ``,
		"with an empty spec":      `{}`,
		"with replicas":           `editor: {replicas: 3}`,
		"as DESIGN.md shows it":   `editor: {autoscaling: {minReplicas: 3, maxReplicas: 50, targetConnectionsPerPod: 5000}}`,
		"with maxReplicas alone":  `editor: {autoscaling: {maxReplicas: 1}}`,
		"with one PostgreSQL":     `postgres: {replicas: 1, synchronousReplication: "Off"}`,
		"with storage":            `{postgres: {storage: {size: 5Gi}}, redis: {storage: {size: 1Gi, storageClassName: fast}}}`,
		"with 1024 shards":        `sharding: {shards: 1024}`,
		"with a parameter":        `postgres: {parameters: {work_mem: 8MB, pg_stat_statements.max: "500"}}`,
		"with an image by digest": `editor: {image: "example.org/editor@sha256:0123"}`,
		"with a webhook":          `editor: {webhook: {url: "http://app:3000/hooks", secretName: a}}`,
		"with auth's secret":      `editor: {auth: {secretName: a}, webhook: {url: "https://app.example"}}`,
		"with all choices of pods": `editor: {nodeSelector: {topology.kubernetes.io/zone: "", disk: ssd}, priorityClassName: high.er,
			resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 1, memory: 1024Mi}},
			service: {annotations: {service.beta.kubernetes.io/aws-load-balancer-type: nlb, plain: ""}}}`,
		"with subdomains":    `editor: {auth: {secretName: my.keys}, allowedOrigins: ["https://*.example.com:8443", "http://localhost"]}`,
		"with origins alone": `editor: {allowedOrigins: ["https://app.example.com"]}`,
		"with times": `editor: {auth: {secretName: a, accessTokenSeconds: 300, sessionSeconds: 86400,
			permissionWebhook: {url: "https://a.example", timeoutSeconds: 5, cacheSeconds: 60}}}`,
		"with scaling policies": `editor: {autoscaling: {maxReplicas: 9, scaleDown: {stabilizationWindowSeconds: 0,
			selectPolicy: Min, policies: [{type: Pods, value: 1, periodSeconds: 60}]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := api.Create(t.Context(), object(t, "CollabCluster", "docs", spec), client.DryRunAll); err != nil {
				t.Errorf("it was refused: %v", err)
			}
		})
	}
}

func TestABadCollabClusterIsRefusedWithWhatToChange(t *testing.T) {
	const autoscaling = `editor: {autoscaling: {maxReplicas: 9, %s}}`
	for name, test := range map[string]struct{ spec, want string }{
		"replicas and autoscaling": {`editor: {replicas: 2, autoscaling: {maxReplicas: 5}}`,
			"set either replicas or autoscaling, not both"},
		"auth without keys":   {`editor: {auth: {issuer: a}}`, "auth needs secretName or jwksURL"},
		"keys of anybody":     {`editor: {auth: {jwksURL: "https://a.example/jwks"}}`, "jwksURL needs issuer and audience"},
		"an unsigned webhook": {`editor: {auth: {jwksURL: "https://a.example/jwks", issuer: i, audience: a, permissionWebhook: {url: "https://a.example"}}}`, "permissionWebhook needs secretName"},
		"keys at no URL":      {`editor: {auth: {jwksURL: login.example.com}}`, "jwksURL must be an absolute http or https URL"},
		"keys in a file":      {`editor: {auth: {jwksURL: "file:///keys"}}`, "jwksURL must be an absolute http or https URL"},
		"a webhook nowhere":   {`editor: {auth: {secretName: a, permissionWebhook: {url: ask}}}`, "url must be an absolute http or https URL"},
		"unsigned changes":    {`editor: {webhook: {url: "https://a.example"}}`, "webhook needs secretName"},
		"changes nowhere":     {`editor: {webhook: {url: "app:3000", secretName: a}}`, "url must be an absolute http or https URL"},
		"changes at no URL":   {`editor: {webhook: {secretName: a}}`, "spec.editor.webhook.url: Required value"},
		"an origin with path": {`editor: {allowedOrigins: ["https://a.example/x"]}`, "an origin is a scheme, a host and perhaps a port"},
		"any origin":          {`editor: {allowedOrigins: ["*"]}`, "such as https://app.example.com"},
		"an origin twice":     {`editor: {allowedOrigins: ["https://a.example", "https://a.example"]}`, "Duplicate value"},
		"a webhook without an URL": {`editor: {auth: {secretName: a, permissionWebhook: {cacheSeconds: 1}}}`,
			"permissionWebhook.url: Required value"},
		"answers used for a day": {`editor: {auth: {secretName: a, permissionWebhook: {url: "https://a.example", cacheSeconds: 86400}}}`,
			"less than or equal to 3600"},
		"a token of a day":     {`editor: {auth: {secretName: a, accessTokenSeconds: 86400}}`, "less than or equal to 3600"},
		"a session of seconds": {`editor: {auth: {secretName: a, sessionSeconds: 10}}`, "greater than or equal to 300"},
		"no operations":        {`editor: {limits: {operationsPerSecond: 0}}`, "greater than or equal to 1"},
		"no connections":       {`editor: {limits: {connectionsPerUser: 0}}`, "greater than or equal to 1"},
		"a huge document":      {`editor: {limits: {documentMegabytes: 1000}}`, "less than or equal to 200"},
		"no editor pods":       {`editor: {replicas: 0}`, "should be greater than or equal to 1"},
		"too many editor pods": {`editor: {replicas: 1001}`, "should be less than or equal to 1000"},
		"replicas as a word":   {`editor: {replicas: many}`, "must be of type integer"},
		"autoscaling without maxReplicas": {`editor: {autoscaling: {minReplicas: 2}}`,
			"spec.editor.autoscaling.maxReplicas: Required value"},
		"min above max": {`editor: {autoscaling: {minReplicas: 6, maxReplicas: 5}}`,
			"minReplicas must not be greater than maxReplicas"},
		"minReplicas of 0":          {fmt.Sprintf(autoscaling, "minReplicas: 0"), "greater than or equal to 1"},
		"maxReplicas of 0":          {`editor: {autoscaling: {maxReplicas: 0}}`, "greater than or equal to 1"},
		"maxReplicas of 1001":       {`editor: {autoscaling: {maxReplicas: 1001}}`, "less than or equal to 1000"},
		"target of 0":               {fmt.Sprintf(autoscaling, "targetConnectionsPerPod: 0"), "greater than or equal to 1"},
		"target above a million":    {fmt.Sprintf(autoscaling, "targetConnectionsPerPod: 1000001"), "less than or equal to 1000000"},
		"negative tolerance":        {fmt.Sprintf(autoscaling, "tolerancePercent: -1"), "greater than or equal to 0"},
		"tolerance above 100":       {fmt.Sprintf(autoscaling, "tolerancePercent: 101"), "less than or equal to 100"},
		"window above an hour":      {fmt.Sprintf(autoscaling, "scaleDown: {stabilizationWindowSeconds: 3601}"), "3600"},
		"negative window":           {fmt.Sprintf(autoscaling, "scaleUp: {stabilizationWindowSeconds: -1}"), "equal to 0"},
		"unknown selectPolicy":      {fmt.Sprintf(autoscaling, "scaleUp: {selectPolicy: Most}"), `"Max", "Min", "Disabled"`},
		"unknown policy type":       {fmt.Sprintf(autoscaling, "scaleUp: {policies: [{type: Nodes, value: 1, periodSeconds: 1}]}"), `"Pods", "Percent"`},
		"policy without a period":   {fmt.Sprintf(autoscaling, "scaleUp: {policies: [{type: Pods, value: 1}]}"), "periodSeconds: Required value"},
		"policy without a value":    {fmt.Sprintf(autoscaling, "scaleUp: {policies: [{type: Pods, periodSeconds: 1}]}"), "value: Required value"},
		"policy of no pods":         {fmt.Sprintf(autoscaling, "scaleUp: {policies: [{type: Pods, value: 0, periodSeconds: 1}]}"), "greater than or equal to 1"},
		"policy period of an hour":  {fmt.Sprintf(autoscaling, "scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 3600}]}"), "1800"},
		"nine policies":             {fmt.Sprintf(autoscaling, "scaleUp: {policies: ["+strings.Repeat("{type: Pods, value: 1, periodSeconds: 1},", 9)+"]}"), "must have at most 8 items"},
		"grace period of 39 s":      {`editor: {terminationGracePeriodSeconds: 39}`, "greater than or equal to 40"},
		"grace period of two hours": {`editor: {terminationGracePeriodSeconds: 7200}`, "less than or equal to 3600"},
		"a Service of no type":      {`editor: {service: {type: ExternalName}}`, `"ClusterIP", "NodePort", "LoadBalancer"`},
		"shards of 100":             {`sharding: {shards: 100}`, `"16", "32", "64", "128", "256", "512", "1024"`},
		"shards of 2048":            {`sharding: {shards: 2048}`, "Unsupported value"},
		"unknown durability":        {`durability: Paper`, `"Redis", "RedisReplicated", "Postgres"`},
		"unknown deletionPolicy":    {`deletionPolicy: Orphan`, `"Retain", "Delete"`},
		"two Redis pods":            {`redis: {replicas: 2}`, `"3", "5"`},
		"no PostgreSQL pods":        {`postgres: {replicas: 0}`, "greater than or equal to 1"},
		"eight PostgreSQL pods":     {`postgres: {replicas: 8}`, "less than or equal to 7"},
		"synchronous and alone": {`postgres: {replicas: 1, synchronousReplication: Required}`,
			"synchronousReplication needs replicas of 2 or more"},
		"preferred and alone": {`postgres: {replicas: 1, synchronousReplication: Preferred}`,
			"synchronousReplication needs replicas of 2 or more"},
		"unknown synchronousReplication": {`postgres: {synchronousReplication: Quorum}`, `"Off", "Preferred", "Required"`},
		"fsync off": {`postgres: {parameters: {fsync: "off"}}`,
			"the operator and Patroni set"},
		"synchronous_commit by hand": {`postgres: {parameters: {synchronous_commit: "off"}}`,
			"remove them"},
		"a parameter in capitals": {`postgres: {parameters: {WORK_MEM: 8MB}}`,
			"a parameter's name has lower-case letters"},
		"a parameter with a line break": {`postgres: {parameters: {work_mem: "8MB\nfsync=off"}}`, "a parameter's value is one line"},
		"a parameter as a number":       {`postgres: {parameters: {work_mem: 8}}`, "must be of type string"},
		"a parameter of 513 characters": {`postgres: {parameters: {work_mem: "` + strings.Repeat("8", 513) + `"}}`,
			"may not be more than 512"},
		"no HAProxy pods":         {`postgres: {proxy: {replicas: 0}}`, "greater than or equal to 1"},
		"a volume of 1 MiB":       {`postgres: {storage: {size: 1Mi}}`, "size must be at least 256Mi"},
		"a volume of no size":     {`redis: {storage: {size: big}}`, "spec.redis.storage.size"},
		"a nameless class":        {`redis: {storage: {storageClassName: ""}}`, "should be at least 1 chars long"},
		"an image with a space":   {`editor: {image: "my image"}`, "image must be an image's name, such as"},
		"a label of 64 letters":   {`redis: {nodeSelector: {zone: "` + strings.Repeat("a", 64) + `"}}`, "may not be more than 63"},
		"a priority class of 254": {`editor: {priorityClassName: "` + strings.Repeat("a", 254) + `"}`, "may not be more than 253"},
		"a quantity of no number": {`editor: {resources: {requests: {cpu: lots}}}`, "spec.editor.resources.requests.cpu"},
		"an annotation too long": {`editor: {service: {annotations: {a: "` + strings.Repeat("a", 1025) + `"}}}`,
			"may not be more than 1024"},
		"an annotation of no name": {`editor: {service: {annotations: {"a b": c}}}`, "an annotation's key is a name"},
		"a long annotation's name": {`editor: {service: {annotations: {` + strings.Repeat("a", 64) + `: c}}}`, "an annotation's key is a name"},
		"a label key of no name":   {`redis: {nodeSelector: {"/zone": a}}`, "a label's key is a name"},
		"a label value of no name": {`postgres: {proxy: {nodeSelector: {zone: "a b"}}}`, "a label's value has letters"},
		"a class of no name":       {`redis: {storage: {storageClassName: Fast}}`, "storageClassName must be the name of a StorageClass"},
		"a priority of no name":    {`postgres: {priorityClassName: very_high}`, "priorityClassName must be the name of a PriorityClass"},
		"auth's secret of no name": {`editor: {auth: {secretName: "my secret"}}`, "secretName must be the name of a Secret"},
		"a hook's secret unnamed":  {`editor: {webhook: {url: "https://a.example", secretName: -a}}`, "secretName must be the name of a Secret"},
		"a request above its limit": {`editor: {resources: {requests: {memory: 1Gi}, limits: {memory: 512Mi}}}`,
			"a request must not be greater than the limit"},
		"a request above it by unit": {`redis: {resources: {requests: {cpu: 1}, limits: {cpu: 900m}}}`,
			"a request must not be greater than the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, api.Create(t.Context(), object(t, "CollabCluster", "docs", test.spec), client.DryRunAll), test.want)
		})
	}
}

func TestAnUnknownFieldIsRefusedInStrictMode(t *testing.T) {
	cluster := object(t, "CollabCluster", "docs", `editor: {replica: 3}`)
	err := api.Create(t.Context(), cluster, client.DryRunAll, client.FieldValidation("Strict"))
	refused(t, err, `unknown field "spec.editor.replica"`)
}

func TestANameThatServicesCannotHaveIsRefused(t *testing.T) {
	for _, name := range []string{"1docs", "my.docs", strings.Repeat("a", 41)} {
		t.Run(name, func(t *testing.T) {
			refused(t, api.Create(t.Context(), object(t, "CollabCluster", name, ``), client.DryRunAll),
				"metadata.name must have at most 40 characters")
		})
	}
}

func TestAChangeOfWhatCanChangeIsAccepted(t *testing.T) {
	for name, test := range map[string]struct{ before, after string }{
		"a first spec":        {``, `{redis: {replicas: 5}, postgres: {replicas: 3}, editor: {replicas: 3}}`},
		"no spec anymore":     {`{durability: Postgres, redis: {replicas: 3}, postgres: {replicas: 1, parameters: {a: b}}}`, ``},
		"nothing of no spec":  {``, ``},
		"shards as they were": {`sharding: {shards: 64}`, `{sharding: {shards: 64}, durability: Postgres}`},
		"more servers":        {`postgres: {replicas: 1, storage: {size: 1Gi}}`, `postgres: {replicas: 3, storage: {size: 1Gi}}`},
	} {
		t.Run(name, func(t *testing.T) {
			changed(t, "CollabCluster", test.before, test.after, "")
		})
	}
}

func TestAChangeOfWhatCannotChangeIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ before, after, want string }{
		"shards":                   {`sharding: {shards: 64}`, `sharding: {shards: 128}`, "shards cannot be changed after creation"},
		"shards added":             {`{}`, `sharding: {shards: 128}`, "spec.sharding cannot be added or removed"},
		"shards removed":           {`sharding: {shards: 128}`, `{}`, "spec.sharding cannot be added or removed"},
		"shards filled":            {`sharding: {}`, `sharding: {shards: 128}`, "shards cannot be added or removed"},
		"volume grown":             {`postgres: {storage: {size: 1Gi}}`, `postgres: {storage: {size: 2Gi}}`, "size cannot be changed"},
		"volume shrunk":            {`redis: {storage: {size: 2Gi}}`, `redis: {storage: {size: 1Gi}}`, "size cannot be changed"},
		"size added":               {`redis: {storage: {}}`, `redis: {storage: {size: 1Gi}}`, "size cannot be added or removed"},
		"storage added":            {`{}`, `redis: {storage: {size: 1Gi}}`, "spec.redis.storage cannot be added or removed"},
		"storage removed":          {`postgres: {storage: {size: 1Gi}}`, `{}`, "spec.postgres.storage cannot be added or removed"},
		"storage in a first spec":  {``, `postgres: {storage: {size: 1Gi}}`, "spec.postgres.storage cannot be added or removed"},
		"shards in a first spec":   {``, `sharding: {shards: 1024}`, "spec.sharding cannot be added or removed"},
		"shards with the spec":     {`sharding: {shards: 128}`, ``, "spec.sharding cannot be added or removed"},
		"storage with the spec":    {`redis: {storage: {size: 1Gi}}`, ``, "spec.redis.storage cannot be added or removed"},
		"Redis pods removed":       {`redis: {replicas: 5}`, `redis: {replicas: 3}`, "spec.redis.replicas (3 if it is not set) cannot be lowered"},
		"Redis pods forgotten":     {`redis: {replicas: 5}`, `{}`, "spec.redis.replicas (3 if it is not set) cannot be lowered"},
		"servers removed":          {`postgres: {replicas: 3}`, `postgres: {replicas: 1}`, "spec.postgres.replicas (3 if it is not set) cannot be lowered"},
		"servers with the spec":    {`postgres: {replicas: 5}`, ``, "spec.postgres.replicas (3 if it is not set) cannot be lowered"},
		"fewer servers than three": {``, `postgres: {replicas: 2}`, "spec.postgres.replicas (3 if it is not set) cannot be lowered"},
		"class changed": {`redis: {storage: {storageClassName: a}}`, `redis: {storage: {storageClassName: b}}`,
			"storageClassName cannot be changed"},
		"class removed": {`redis: {storage: {storageClassName: a}}`, `redis: {storage: {}}`,
			"storageClassName cannot be added or removed"},
	} {
		t.Run(name, func(t *testing.T) {
			changed(t, "CollabCluster", test.before, test.after, test.want)
		})
	}
}

// changed creates an object and checks that the change to it is refused, or accepted if want is empty.
func changed(t *testing.T, kind, before, after, want string) {
	t.Helper()
	stored := object(t, kind, "changed", before)
	if err := api.Create(t.Context(), stored); err != nil {
		t.Fatalf("create: %v", err)
	}
	defer func() {
		if err := api.Delete(t.Context(), stored); err != nil {
			t.Errorf("clean up: %v", err)
		}
	}()
	delete(stored.Object, "spec")
	if spec, set := object(t, kind, "changed", after).Object["spec"]; set {
		stored.Object["spec"] = spec
	}
	err := api.Update(t.Context(), stored, client.DryRunAll)
	if want != "" {
		refused(t, err, want)
	} else if err != nil {
		t.Errorf("it was refused: %v", err)
	}
}

// shards is a ShardMap's spec of 16 shards that differs from the plain one in shard 3.
func shards(third string) string {
	var spec strings.Builder
	spec.WriteString("{members: [{name: a, uid: u1, address: '10.0.0.1:8082'}], shards: [")
	for shard := range 16 {
		if shard == 3 {
			fmt.Fprintf(&spec, "{shard: 3, %s},", third)
		} else {
			fmt.Fprintf(&spec, "{shard: %d, owner: a, epoch: 7},", shard)
		}
	}
	spec.WriteString("]}")
	return spec.String()
}

func TestAShardMapNeverLosesAnEpoch(t *testing.T) {
	before := shards("owner: a, epoch: 7")
	for name, test := range map[string]struct{ after, want string }{
		"epoch falls":              {shards("owner: b, epoch: 6"), "a shard's epoch must never fall"},
		"owner changes alone":      {shards("owner: b, epoch: 7"), "a shard's epoch must rise when its owner changes"},
		"owner removed alone":      {shards("epoch: 7"), "a shard's epoch must rise when its owner changes"},
		"shard removed":            {strings.Replace(before, "{shard: 3, owner: a, epoch: 7},", "", 1), "the number of shards cannot change"},
		"shard renumbered":         {strings.Replace(before, "shard: 3", "shard: 16", 1), "shards are numbered from 0 without gaps"},
		"a shard too many":         {strings.Replace(before, "shards: [", "shards: [{shard: 16, epoch: 7},", 1), "the number of shards is a power of two"},
		"epoch of 0":               {shards("owner: b, epoch: 0"), "should be greater than or equal to 1"},
		"shard out of range":       {strings.Replace(before, "shard: 3", "shard: 1024", 1), "should be less than or equal to 1023"},
		"the same shard twice":     {strings.Replace(before, "shard: 3", "shard: 4", 1), "Duplicate value"},
		"the same member twice":    {strings.Replace(before, "members: [", "members: [{name: a, uid: u2, address: 'x:1'},", 1), "Duplicate value"},
		"a member without address": {strings.Replace(before, ", address: '10.0.0.1:8082'", "", 1), "address: Required value"},
		"owner and epoch":          {shards("owner: b, epoch: 8"), ""},
		"the epoch alone":          {shards("owner: a, epoch: 9"), ""},
		"nothing":                  {before, ""},
	} {
		t.Run(name, func(t *testing.T) {
			changed(t, "ShardMap", before, test.after, test.want)
		})
	}
}
