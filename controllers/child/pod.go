package child

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"collab.dev/operator/api/v1alpha1"
)

// Resources are a container's resources as chosen. Without chosen requests it asks for the given ones, which are small:
// they only keep the scheduler from piling all pods on one node.
func Resources(
	chosen *v1alpha1.ResourceRequirements, cpu, memory string,
) *applycorev1.ResourceRequirementsApplyConfiguration {
	resources := applycorev1.ResourceRequirements().WithRequests(corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	})
	if chosen == nil {
		return resources
	}
	if len(chosen.Requests) > 0 {
		resources.WithRequests(chosen.Requests)
	}
	if len(chosen.Limits) > 0 {
		resources.WithLimits(chosen.Limits)
		// A request must not exceed its limit, and a small limit may be less than our default.
		for name, limit := range chosen.Limits {
			request, set := (*resources.Requests)[name]
			if _, own := chosen.Requests[name]; set && !own && request.Cmp(limit) > 0 {
				(*resources.Requests)[name] = limit
			}
		}
	}
	return resources
}

// NodeSelector is the chosen node selector as Kubernetes wants it.
func NodeSelector(chosen map[string]v1alpha1.LabelValue) map[string]string {
	selector := make(map[string]string, len(chosen))
	for key, value := range chosen {
		selector[key] = string(value)
	}
	return selector
}

// Spread asks the scheduler to put the component's pods on different nodes and in different zones where it can.
// Revision labels, if any, make it look at pods of one revision only.
func Spread(
	cluster string, component Component, revisionLabels ...string,
) []*applycorev1.TopologySpreadConstraintApplyConfiguration {
	var constraints []*applycorev1.TopologySpreadConstraintApplyConfiguration
	for _, key := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
		constraints = append(constraints, applycorev1.TopologySpreadConstraint().
			WithMaxSkew(1).
			WithTopologyKey(key).
			WithWhenUnsatisfiable(corev1.ScheduleAnyway).
			WithLabelSelector(applymetav1.LabelSelector().WithMatchLabels(Selector(cluster, component))).
			WithMatchLabelKeys(revisionLabels...))
	}
	return constraints
}

// PodsOf are those of the pods that belong to the component of the cluster and neither end nor have ended.
func PodsOf(pods []corev1.Pod, cluster string, component Component) []*corev1.Pod {
	var found []*corev1.Pod
	for i := range pods {
		pod := &pods[i]
		if pod.Labels[LabelInstance] == cluster && pod.Labels[LabelComponent] == string(component) &&
			pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded {
			found = append(found, pod)
		}
	}
	return found
}

// PodReady says whether the pod's Ready condition is true.
func PodReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	})
}

// Unready describes the pods that are not ready, for people: "docs-redis-1 (redis: CrashLoopBackOff)". It names at most
// three of them, in the order given.
func Unready(pods []*corev1.Pod) string {
	const most = 3
	var described []string
	for _, pod := range pods {
		if !PodReady(pod) {
			described = append(described, fmt.Sprintf("%s (%s)", pod.Name, obstacle(pod)))
		}
	}
	if more := len(described) - most; more > 0 {
		described = append(described[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(described, ", ")
}

// obstacle is the first thing that keeps the pod from being ready.
func obstacle(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return strings.TrimSpace(condition.Reason + " " + condition.Message)
		}
	}
	for _, container := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		switch state := container.State; {
		case state.Waiting != nil && state.Waiting.Reason != "":
			return container.Name + ": " + state.Waiting.Reason
		case state.Terminated != nil && state.Terminated.ExitCode != 0:
			return fmt.Sprintf("%s: exited with %d", container.Name, state.Terminated.ExitCode)
		case state.Running != nil && !container.Ready:
			return container.Name + ": not ready yet"
		}
	}
	return "starting"
}
