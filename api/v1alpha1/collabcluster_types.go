package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DurabilityPolicy says what an acknowledged edit has survived.
// +kubebuilder:validation:Enum=Redis;RedisReplicated;Postgres
type DurabilityPolicy string

const (
	// DurabilityRedis acknowledges an edit once the Redis primary has appended it.
	DurabilityRedis DurabilityPolicy = "Redis"
	// DurabilityRedisReplicated acknowledges an edit once a Redis replica has received it as well.
	DurabilityRedisReplicated DurabilityPolicy = "RedisReplicated"
	// DurabilityPostgres acknowledges an edit once PostgreSQL has committed it, on a standby too where there is one.
	DurabilityPostgres DurabilityPolicy = "Postgres"
)

// DeletionPolicy says what happens to the data when the CollabCluster is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

const (
	// DeletionRetain keeps the volumes of PostgreSQL and Redis and the Secrets that open them. A CollabCluster of the
	// same name and namespace finds them again.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionDelete removes the volumes and the Secrets with everything else.
	DeletionDelete DeletionPolicy = "Delete"
)

// SynchronousReplication says whether a PostgreSQL commit waits for a standby.
// +kubebuilder:validation:Enum=Off;Preferred;Required
type SynchronousReplication string

const (
	// SynchronousOff commits on the primary alone: a lost primary may lose its last transactions.
	SynchronousOff SynchronousReplication = "Off"
	// SynchronousPreferred waits for one standby while there is one, and goes on alone when there is none.
	SynchronousPreferred SynchronousReplication = "Preferred"
	// SynchronousRequired refuses writes while no standby is there.
	SynchronousRequired SynchronousReplication = "Required"
)

// CollabClusterSpec is the desired state of a CollabCluster. Every field is optional.
type CollabClusterSpec struct {
	// editor describes the pods that clients connect to.
	// +optional
	Editor *EditorSpec `json:"editor,omitempty"`

	// sharding describes how documents are spread over editor pods. It cannot be changed after creation.
	// +optional
	Sharding *ShardingSpec `json:"sharding,omitempty"`

	// durability says what an acknowledged edit has survived: Redis (the default), RedisReplicated or Postgres.
	// +optional
	Durability DurabilityPolicy `json:"durability,omitempty"`

	// redis describes the Redis that logs edits before PostgreSQL has them.
	// +optional
	Redis *RedisSpec `json:"redis,omitempty"`

	// postgres describes the PostgreSQL cluster that stores documents.
	// +optional
	Postgres *PostgresSpec `json:"postgres,omitempty"`

	// deletionPolicy says whether the volumes and their Secrets outlive the CollabCluster: Retain (the default) or Delete.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// EditorSpec describes the editor pods.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.replicas) && has(self.autoscaling))",message="set either replicas or autoscaling, not both: the autoscaler would overwrite replicas"
// +kubebuilder:validation:XValidation:rule="!has(self.webhook) || has(self.webhook.secretName) || (has(self.auth) && has(self.auth.secretName))",message="webhook needs secretName, its own or that of auth: the key webhook-secret of that Secret signs what the application is told"
type EditorSpec struct {
	// replicas is the number of editor pods, 2 by default. It is what the scale subresource reads and writes.
	// Not allowed together with autoscaling.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Replicas *int32 `json:"replicas,omitempty"`

	// autoscaling lets the number of editor pods follow the connections that they report.
	// +optional
	Autoscaling *AutoscalingSpec `json:"autoscaling,omitempty"`

	// terminationGracePeriodSeconds is the time that a leaving pod has to hand its shards over, to let its clients go and
	// to flush what it holds, 60 by default. 40 are the least: 30 of them are for flushing while the stores are slow.
	// +optional
	// +kubebuilder:validation:Minimum=40
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds *int32 `json:"terminationGracePeriodSeconds,omitempty"`

	// service describes the Service that clients connect to.
	// +optional
	Service *ServiceSpec `json:"service,omitempty"`

	// auth says who may open which documents. Without it everybody who reaches the Service may read and write all of
	// them.
	// +optional
	Auth *AuthSpec `json:"auth,omitempty"`

	// allowedOrigins are the origins of the web pages that may connect, such as https://app.example.com or
	// https://*.example.com. Only pages of the service's own host may if there are none. See docs/security.md.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	AllowedOrigins []Origin `json:"allowedOrigins,omitempty"`

	// limits bound what clients may ask of a pod.
	// +optional
	Limits *LimitsSpec `json:"limits,omitempty"`

	// webhook is told which documents have changed, some seconds after their last change.
	// +optional
	Webhook *WebhookSpec `json:"webhook,omitempty"`

	PodSpec `json:",inline"`
}

// AuthSpec says how clients prove who they are. See docs/security.md.
//
// +kubebuilder:validation:XValidation:rule="has(self.secretName) || has(self.jwksURL)",message="auth needs secretName or jwksURL (or both): without keys no token can be verified"
// +kubebuilder:validation:XValidation:rule="!has(self.jwksURL) || (has(self.issuer) && has(self.audience))",message="jwksURL needs issuer and audience: a key server signs tokens for others too"
// +kubebuilder:validation:XValidation:rule="!has(self.permissionWebhook) || has(self.secretName)",message="permissionWebhook needs secretName: the key webhook-secret of that Secret signs the questions"
type AuthSpec struct {
	// secretName is a Secret of the same namespace. Its key jwt-secret holds the secrets, one a line, with which the
	// application signs access tokens (HS256, at least 32 bytes each); its key webhook-secret signs the questions to
	// permissionWebhook.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretName must be the name of a Secret: lower-case letters, digits, hyphens and dots, beginning and ending with a letter or digit"
	SecretName string `json:"secretName,omitempty"`

	// jwksURL is where the public keys of access tokens are published (RS256, ES256, EdDSA).
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="jwksURL must be an absolute http or https URL, such as https://login.example.com/.well-known/jwks.json"
	JWKSURL string `json:"jwksURL,omitempty"`

	// issuer is the iss that access tokens must have. Any is taken if it is not set.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Issuer string `json:"issuer,omitempty"`

	// audience is the aud that access tokens must have. Any is taken if it is not set.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Audience string `json:"audience,omitempty"`

	// accessTokenSeconds is how long an access token of a session lives, 900 (15 minutes) by default.
	// +optional
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=3600
	AccessTokenSeconds *int32 `json:"accessTokenSeconds,omitempty"`

	// sessionSeconds is how long a session can be refreshed, 604800 (7 days) by default.
	// +optional
	// +kubebuilder:validation:Minimum=300
	// +kubebuilder:validation:Maximum=7776000
	SessionSeconds *int32 `json:"sessionSeconds,omitempty"`

	// permissionWebhook is asked what a user may do with a document, within what the token allows.
	// +optional
	PermissionWebhook *PermissionWebhookSpec `json:"permissionWebhook,omitempty"`
}

// PermissionWebhookSpec says whom the editor pods ask what a user may do. See docs/security.md.
type PermissionWebhookSpec struct {
	// url is what the application answers questions at: POST requests in JSON.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="url must be an absolute http or https URL"
	URL string `json:"url"`

	// timeoutSeconds is how long an answer may take, 2 by default. Who cannot be asked about in time is to come back.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=30
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`

	// cacheSeconds is how long an answer is used, 30 by default: what is taken away holds that much longer.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	CacheSeconds *int32 `json:"cacheSeconds,omitempty"`
}

// WebhookSpec says whom the editor pods tell which documents have changed. See docs/webhooks.md.
type WebhookSpec struct {
	// url is what the application is told by: POST requests, which it should answer with 204.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",message="url must be an absolute http or https URL"
	URL string `json:"url"`

	// secretName is a Secret of the same namespace whose key webhook-secret signs the requests (at least 32 bytes). By
	// default it is that of auth.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="secretName must be the name of a Secret: lower-case letters, digits, hyphens and dots, beginning and ending with a letter or digit"
	SecretName string `json:"secretName,omitempty"`
}

// Origin is a web page's origin: scheme, host and port. The host may begin with "*." for all its subdomains.
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="self.matches('^https?://([*][.])?[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$')",message="an origin is a scheme, a host and perhaps a port, without a path, such as https://app.example.com or https://*.example.com"
type Origin string

// LimitsSpec bounds what clients may ask of a pod. Who goes beyond is slowed down first, then disconnected.
type LimitsSpec struct {
	// operationsPerSecond is how many operations a user and a connection may send on average, 10 by default. Up to
	// four updates within 100 ms, as a fast typist makes them, are one operation.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	OperationsPerSecond *int32 `json:"operationsPerSecond,omitempty"`

	// operationBurst is how many operations may come at once, 100 by default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	OperationBurst *int32 `json:"operationBurst,omitempty"`

	// connectionsPerUser bounds the connections of one user to a pod, 100 by default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	ConnectionsPerUser *int32 `json:"connectionsPerUser,omitempty"`

	// connectionsPerOrganization bounds the connections of one organization to a pod, 10000 by default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	ConnectionsPerOrganization *int32 `json:"connectionsPerOrganization,omitempty"`

	// connectionsPerPod bounds the connections of a pod, 20000 by default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	ConnectionsPerPod *int32 `json:"connectionsPerPod,omitempty"`

	// documentMegabytes bounds the size of a document, encoded, in mebibytes, 64 by default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=200
	DocumentMegabytes *int32 `json:"documentMegabytes,omitempty"`
}

// ServiceSpec describes the Service in front of the editor pods.
type ServiceSpec struct {
	// type of the Service: ClusterIP (the default), NodePort or LoadBalancer.
	// +optional
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`

	// annotations are added to the Service, for load balancers that are configured by them.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="an annotation's key is a name of at most 63 letters, digits, hyphens, underscores and dots, perhaps after a DNS name and a slash, such as example.com/name"
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`
}

// AnnotationValue is the value of an annotation.
// +kubebuilder:validation:MaxLength=1024
type AnnotationValue string

// AutoscalingSpec lets the number of editor pods follow the connections per pod, by the algorithm of the
// HorizontalPodAutoscaler: ceil(pods × connections per pod / target), with a tolerance and stabilization windows.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || self.minReplicas <= self.maxReplicas",message="minReplicas must not be greater than maxReplicas"
type AutoscalingSpec struct {
	// minReplicas is the least number of editor pods, 2 by default (or maxReplicas, if that is less).
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// maxReplicas is the greatest number of editor pods.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxReplicas int32 `json:"maxReplicas"`

	// targetConnectionsPerPod is the number of client connections that a pod should hold on average, 5000 by default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	TargetConnectionsPerPod *int32 `json:"targetConnectionsPerPod,omitempty"`

	// tolerancePercent is how far, in per cent, the connections per pod may be off the target before the number of pods
	// changes, 10 by default.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	TolerancePercent *int32 `json:"tolerancePercent,omitempty"`

	// scaleUp limits how fast pods are added. By default: at once, at most doubling or 4 pods every 15 seconds,
	// whichever is more.
	// +optional
	ScaleUp *ScalingRules `json:"scaleUp,omitempty"`

	// scaleDown limits how fast pods are removed. By default: to the highest recommendation of the last 300 seconds.
	// +optional
	ScaleDown *ScalingRules `json:"scaleDown,omitempty"`
}

// ScalingPolicySelect picks one of several scaling policies.
// +kubebuilder:validation:Enum=Max;Min;Disabled
type ScalingPolicySelect string

const (
	// ScalingSelectMax picks the policy that allows the greatest change.
	ScalingSelectMax ScalingPolicySelect = "Max"
	// ScalingSelectMin picks the policy that allows the least change.
	ScalingSelectMin ScalingPolicySelect = "Min"
	// ScalingSelectDisabled allows no change in this direction.
	ScalingSelectDisabled ScalingPolicySelect = "Disabled"
)

// ScalingPolicyType is the unit of a scaling policy's value.
// +kubebuilder:validation:Enum=Pods;Percent
type ScalingPolicyType string

const (
	// ScalingPods counts pods.
	ScalingPods ScalingPolicyType = "Pods"
	// ScalingPercent counts per cent of the pods that were there when the period began.
	ScalingPercent ScalingPolicyType = "Percent"
)

// ScalingRules limit scaling in one direction, as the HorizontalPodAutoscaler's behavior does.
type ScalingRules struct {
	// stabilizationWindowSeconds is how far back recommendations are looked at; the most careful of them is followed.
	// 0 by default when scaling up, 300 when scaling down.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	StabilizationWindowSeconds *int32 `json:"stabilizationWindowSeconds,omitempty"`

	// selectPolicy says which policy counts: the one that allows most change (Max, the default), least change (Min),
	// or Disabled for no scaling in this direction.
	// +optional
	SelectPolicy ScalingPolicySelect `json:"selectPolicy,omitempty"`

	// policies are the limits. Without any, the direction's defaults apply.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Policies []ScalingPolicy `json:"policies,omitempty"`
}

// ScalingPolicy allows a change of at most value (pods or per cent) in each period.
type ScalingPolicy struct {
	// type is the unit of value: Pods or Percent.
	// +required
	Type ScalingPolicyType `json:"type"`

	// value is the greatest change in one period.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Value int32 `json:"value"`

	// periodSeconds is the length of the period.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1800
	PeriodSeconds int32 `json:"periodSeconds"`
}

// ShardingSpec describes how documents are spread over shards.
//
// +kubebuilder:validation:XValidation:rule="has(self.shards) == has(oldSelf.shards)",message="shards cannot be added or removed after creation, because every document's shard depends on it; create a new CollabCluster to change it"
type ShardingSpec struct {
	// shards is the number of shards: a power of two from 16 to 1024, 256 by default. It cannot be changed, because a
	// document's shard is its name's hash modulo this number.
	// +optional
	// +kubebuilder:validation:Enum=16;32;64;128;256;512;1024
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="shards cannot be changed after creation, because every document's shard depends on it; create a new CollabCluster to change it"
	Shards *int32 `json:"shards,omitempty"`
}

// RedisSpec describes the Redis servers, each with a Sentinel beside it.
type RedisSpec struct {
	// replicas is the number of Redis pods: 3 (the default) or 5, so that Sentinels can form a majority. It cannot be
	// lowered.
	// +optional
	// +kubebuilder:validation:Enum=3;5
	Replicas *int32 `json:"replicas,omitempty"`

	// storage describes the volume of each pod.
	// +optional
	Storage *StorageSpec `json:"storage,omitempty"`

	PodSpec `json:",inline"`
}

// PostgresSpec describes the PostgreSQL servers under Patroni and the HAProxy in front of them.
//
// +kubebuilder:validation:XValidation:rule="!has(self.synchronousReplication) || self.synchronousReplication == 'Off' || !has(self.replicas) || self.replicas >= 2",message="synchronousReplication needs replicas of 2 or more: with one server there is no standby to wait for"
type PostgresSpec struct {
	// replicas is the number of PostgreSQL pods, primary included, 3 by default. It cannot be lowered.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=7
	Replicas *int32 `json:"replicas,omitempty"`

	// synchronousReplication says whether a commit waits for a standby: Off, Preferred (the default) or Required.
	// +optional
	SynchronousReplication SynchronousReplication `json:"synchronousReplication,omitempty"`

	// parameters are added to postgresql.conf. Those that Patroni or the operator needs to set are refused.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^[a-z_][a-z0-9_.]{0,62}$'))",message="a parameter's name has lower-case letters, digits, underscores and dots, and at most 63 of them"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k in ['listen_addresses', 'port', 'cluster_name', 'hot_standby', 'wal_level', 'max_prepared_transactions', 'wal_log_hints', 'track_commit_timestamp', 'synchronous_standby_names', 'synchronous_commit', 'primary_conninfo', 'primary_slot_name', 'recovery_target_timeline', 'data_directory', 'hba_file', 'ident_file', 'config_file', 'unix_socket_directories', 'fsync', 'full_page_writes', 'ssl', 'archive_command', 'restore_command']))",message="the operator and Patroni set listen_addresses, port, cluster_name, hot_standby, wal_level, max_prepared_transactions, wal_log_hints, track_commit_timestamp, synchronous_standby_names, synchronous_commit, primary_conninfo, primary_slot_name, recovery_target_timeline, data_directory, hba_file, ident_file, config_file, unix_socket_directories, fsync, full_page_writes, ssl, archive_command and restore_command themselves; remove them"
	Parameters map[string]PostgresParameter `json:"parameters,omitempty"`

	// storage describes the volume of each pod.
	// +optional
	Storage *StorageSpec `json:"storage,omitempty"`

	// proxy describes the HAProxy pods.
	// +optional
	Proxy *ProxySpec `json:"proxy,omitempty"`

	PodSpec `json:",inline"`
}

// PostgresParameter is the value of a PostgreSQL parameter.
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="!self.matches(r'[\\x00-\\x1f]')",message="a parameter's value is one line without control characters"
type PostgresParameter string

// ProxySpec describes the HAProxy pods, which lead connections to the PostgreSQL primary.
type ProxySpec struct {
	// replicas is the number of HAProxy pods, 2 by default.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Replicas *int32 `json:"replicas,omitempty"`

	PodSpec `json:",inline"`
}

// StorageSpec describes a volume. It cannot be changed after creation.
//
// +kubebuilder:validation:XValidation:rule="has(self.size) == has(oldSelf.size)",message="size cannot be added or removed after creation: the volumes exist already"
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName)",message="storageClassName cannot be added or removed after creation: the volumes exist already"
type StorageSpec struct {
	// size of the volume, 10Gi by default for PostgreSQL and 2Gi for Redis.
	// +optional
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('255Mi'))",message="size must be at least 256Mi"
	// +kubebuilder:validation:XValidation:rule="string(self) == string(oldSelf)",message="size cannot be changed after creation; restore into a new CollabCluster to change it"
	Size *resource.Quantity `json:"size,omitempty"`

	// storageClassName of the volume; the cluster's default class if it is not set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="storageClassName cannot be changed after creation: a volume cannot move to another class"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="storageClassName must be the name of a StorageClass: lower-case letters, digits, hyphens and dots, beginning and ending with a letter or digit"
	StorageClassName *string `json:"storageClassName,omitempty"`
}

// PodSpec is what can be chosen for every kind of pod.
type PodSpec struct {
	// image overrides the image that the operator was installed with.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$')",message="image must be an image's name, such as registry.example.com/collab/editor:1.2 or one with @sha256: and a digest"
	Image string `json:"image,omitempty"`

	// resources of the main container.
	// +optional
	Resources *ResourceRequirements `json:"resources,omitempty"`

	// nodeSelector limits the nodes that the pods may run on.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a label's key is a name of at most 63 letters, digits, hyphens, underscores and dots, perhaps after a DNS name and a slash, such as topology.kubernetes.io/zone"
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// priorityClassName of the pods.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="priorityClassName must be the name of a PriorityClass: lower-case letters, digits, hyphens and dots, beginning and ending with a letter or digit"
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="a label's value has letters, digits, hyphens, underscores and dots, and begins and ends with a letter or digit"
type LabelValue string

// ResourceRequirements are the requests and limits of a container.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || self.requests.all(k, !(k in self.limits) || quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)",message="a request must not be greater than the limit of the same resource"
type ResourceRequirements struct {
	// requests are reserved for the container.
	// +optional
	// +kubebuilder:validation:MaxProperties=6
	Requests corev1.ResourceList `json:"requests,omitempty"`

	// limits cap the container.
	// +optional
	// +kubebuilder:validation:MaxProperties=6
	Limits corev1.ResourceList `json:"limits,omitempty"`
}

// CollabClusterStatus is the observed state of a CollabCluster.
type CollabClusterStatus struct {
	// conditions: Ready sums up EditorReady, RedisReady, PostgresReady and ShardsAssigned. See docs/conditions.md.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// editor is the state of the editor pods.
	// +optional
	Editor EditorStatus `json:"editor,omitempty,omitzero"`

	// shards is the state of the shard map.
	// +optional
	Shards ShardsStatus `json:"shards,omitempty,omitzero"`

	// redis is the state of Redis.
	// +optional
	Redis StoreStatus `json:"redis,omitempty,omitzero"`

	// postgres is the state of PostgreSQL.
	// +optional
	Postgres StoreStatus `json:"postgres,omitempty,omitzero"`
}

// EditorStatus is the state of the editor pods.
type EditorStatus struct {
	// replicas is the number of editor pods that exist.
	// +optional
	Replicas int32 `json:"replicas"`

	// desiredReplicas is the number of editor pods that there should be.
	// +optional
	DesiredReplicas int32 `json:"desiredReplicas"`

	// readyReplicas is the number of editor pods that serve clients.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// summary is readyReplicas/desiredReplicas, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`

	// connections is the number of client connections, as the pods last reported it (autoscaling only).
	// +optional
	Connections *int64 `json:"connections,omitempty"`

	// selector selects the editor pods; the scale subresource hands it to autoscalers.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Selector string `json:"selector,omitempty"`

	// lastScaleTime is when the number of pods was last changed by autoscaling.
	// +optional
	LastScaleTime *metav1.Time `json:"lastScaleTime,omitempty"`
}

// ShardsStatus is the state of the shard map.
type ShardsStatus struct {
	// total is the number of shards.
	// +optional
	Total int32 `json:"total"`

	// assigned is the number of shards whose owner is a ready pod.
	// +optional
	Assigned int32 `json:"assigned"`

	// summary is assigned/total, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`
}

// StoreStatus is the state of Redis or PostgreSQL.
type StoreStatus struct {
	// replicas is the number of pods that there should be.
	// +optional
	Replicas int32 `json:"replicas"`

	// readyReplicas is the number of pods that are ready.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// primary is the name of the pod that takes writes, where it is known.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Primary string `json:"primary,omitempty"`
}

// CollabCluster is a real-time collaborative document service for Yjs clients: editor pods, Redis and PostgreSQL.
//
// What cannot be added, removed or lowered is said here, where the rules hold whether there was a spec before or not:
// a rule about a change is not asked where the old object lacks the field that it is at.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.editor.replicas,statuspath=.status.editor.replicas,selectorpath=.status.editor.selector
// +kubebuilder:resource:shortName=collab
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Editors",type=string,JSONPath=`.status.editor.summary`
// +kubebuilder:printcolumn:name="Connections",type=integer,JSONPath=`.status.editor.connections`
// +kubebuilder:printcolumn:name="Shards",type=string,JSONPath=`.status.shards.summary`
// +kubebuilder:printcolumn:name="Postgres",type=string,JSONPath=`.status.postgres.primary`
// +kubebuilder:printcolumn:name="Redis",type=string,JSONPath=`.status.redis.primary`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must have at most 40 characters, start with a letter, and contain only lower-case letters, digits and hyphens: Services are named after it"
// +kubebuilder:validation:XValidation:rule="self.?spec.?sharding.hasValue() == oldSelf.?spec.?sharding.hasValue()",message="spec.sharding cannot be added or removed after creation, because every document's shard depends on it; create a new CollabCluster to change it"
// +kubebuilder:validation:XValidation:rule="self.?spec.?postgres.?storage.hasValue() == oldSelf.?spec.?postgres.?storage.hasValue()",message="spec.postgres.storage cannot be added or removed after creation: its volumes exist already"
// +kubebuilder:validation:XValidation:rule="self.?spec.?redis.?storage.hasValue() == oldSelf.?spec.?redis.?storage.hasValue()",message="spec.redis.storage cannot be added or removed after creation: its volumes exist already"
// +kubebuilder:validation:XValidation:rule="self.?spec.?postgres.?replicas.orValue(3) >= oldSelf.?spec.?postgres.?replicas.orValue(3)",message="spec.postgres.replicas (3 if it is not set) cannot be lowered: the servers that go may be those with the newest data; create a new CollabCluster to have fewer"
// +kubebuilder:validation:XValidation:rule="self.?spec.?redis.?replicas.orValue(3) >= oldSelf.?spec.?redis.?replicas.orValue(3)",message="spec.redis.replicas (3 if it is not set) cannot be lowered: the remaining Sentinels would need a majority of all that there were to replace a primary; create a new CollabCluster to have fewer"
type CollabCluster struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +optional
	Spec CollabClusterSpec `json:"spec,omitempty,omitzero"`

	// status is the observed state.
	// +optional
	Status CollabClusterStatus `json:"status,omitempty,omitzero"`
}

// CollabClusterList is a list of CollabClusters.
// +kubebuilder:object:root=true
type CollabClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CollabCluster `json:"items"`
}
