package v1alpha1

// Types of the conditions of a CollabCluster.
const (
	// ConditionReady is true when every other condition is.
	ConditionReady = "Ready"
	// ConditionEditorReady is true when all desired editor pods are ready and of the newest template.
	ConditionEditorReady = "EditorReady"
	// ConditionRedisReady is true when Redis has a primary and all its pods are ready.
	ConditionRedisReady = "RedisReady"
	// ConditionPostgresReady is true when PostgreSQL has a primary and all its pods and proxies are ready.
	ConditionPostgresReady = "PostgresReady"
	// ConditionShardsAssigned is true when every shard is owned by a ready editor pod.
	ConditionShardsAssigned = "ShardsAssigned"
	// ConditionScalingActive is true when autoscaling works. It is there only with spec.editor.autoscaling, and Ready
	// does not depend on it.
	ConditionScalingActive = "ScalingActive"
)

// Reasons of conditions.
const (
	// ReasonReady says that all is well.
	ReasonReady = "Ready"
	// ReasonProgressing says that pods are being created, replaced or waited for.
	ReasonProgressing = "Progressing"
	// ReasonPodsNotReady says that pods which were ready once are not.
	ReasonPodsNotReady = "PodsNotReady"
	// ReasonNoPrimary says that no pod takes writes.
	ReasonNoPrimary = "NoPrimary"
	// ReasonNoEditorPods says that no editor pod is ready to own shards.
	ReasonNoEditorPods = "NoEditorPods"
	// ReasonShardsUnassigned says that some shards have no ready owner.
	ReasonShardsUnassigned = "ShardsUnassigned"
	// ReasonEpochsUnknown says that a new shard map waits for PostgreSQL to tell the epochs it has seen.
	ReasonEpochsUnknown = "EpochsUnknown"
	// ReasonNameConflict says that an object of a name that is needed belongs to somebody else.
	ReasonNameConflict = "NameConflict"
	// ReasonCredentialsLost says that a Secret with the passwords of volumes that are there was deleted for good.
	ReasonCredentialsLost = "CredentialsLost"
	// ReasonApplyFailed says that the API server refused an object.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonDeleting says that the CollabCluster is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonMetricsUnreadable says that the load of some editor pods could not be read; pods are not removed meanwhile.
	ReasonMetricsUnreadable = "MetricsUnreadable"
	// ReasonScalingLimited says that more or fewer pods are recommended than minReplicas and maxReplicas allow.
	ReasonScalingLimited = "ScalingLimited"
)

// Reasons of Events.
const (
	// EventCreated is recorded when a child object was created.
	EventCreated = "Created"
	// EventRepaired is recorded when a child object that somebody changed was set right.
	EventRepaired = "Repaired"
	// EventPodFailed is recorded when an editor pod was found dead and its shards were reassigned.
	EventPodFailed = "PodFailed"
	// EventShardsMoved is recorded when shards were moved by plan.
	EventShardsMoved = "ShardsMoved"
	// EventScaled is recorded when autoscaling changed the number of editor pods.
	EventScaled = "Scaled"
	// EventConflict is recorded when an object of a name that is needed belongs to somebody else.
	EventConflict = "NameConflict"
	// EventCredentialsLost is recorded when a Secret with the passwords of volumes that are there is missing.
	EventCredentialsLost = "CredentialsLost"
	// EventDataRetained is recorded when a deleted CollabCluster leaves its volumes and Secrets behind.
	EventDataRetained = "DataRetained"
)
