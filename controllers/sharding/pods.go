package sharding

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"collab.dev/operator/api/v1alpha1"
	"collab.dev/operator/controllers/sharding/assignment"
)

// DrainingAnnotation on an editor pod, with the value "true", asks for its shards to be moved to other pods.
// Autoscaling sets it on the pod that it is about to remove.
const DrainingAnnotation = "collab.dev/draining"

// observation is what the pods of a cluster and the detector's verdicts mean for its shards.
type observation struct {
	// members may own shards or hand them over.
	members []assignment.Member
	// entries are the members as the ShardMap lists them, by name, and their container restarts.
	entries  map[string]v1alpha1.ShardMember
	restarts map[string]int32
	// processes are to be probed, each at its host:port.
	processes map[Process]string
	// dead says of pods that still exist why they own nothing anymore, by name.
	dead map[string]string
}

// recorded is what the ShardMap says of a member.
type recorded struct {
	uid      types.UID
	restarts int32
}

// observe decides who is a member. Pods that never were one become one when they are ready; those that are one stay it
// for as long as they live, so that they can hand over. The detector is overruled where it would leave nobody to own
// shards: that would help no one, and it may be the operator that is cut off.
func observe(pods []corev1.Pod, known map[string]recorded, failed map[Process]string, internalPort int) observation {
	o := gather(pods, known, failed, internalPort)
	if len(failed) > 0 && !slices.ContainsFunc(o.members, func(m assignment.Member) bool { return !m.Leaving }) {
		return gather(pods, known, nil, internalPort)
	}
	return o
}

func gather(pods []corev1.Pod, known map[string]recorded, failed map[Process]string, internalPort int) observation {
	o := observation{
		entries:   map[string]v1alpha1.ShardMember{},
		restarts:  map[string]int32{},
		processes: map[Process]string{},
		dead:      map[string]string{},
	}
	newest := newestTemplate(pods)
	for i := range pods {
		pod := &pods[i]
		record, member := known[pod.Name]
		leaving := pod.DeletionTimestamp != nil || pod.Annotations[DrainingAnnotation] == "true" ||
			!hasCondition(pod, corev1.PodReady) || hasCondition(pod, corev1.DisruptionTarget)
		if why := stopped(pod); why != "" {
			o.dead[pod.Name] = why
			continue
		}
		if leaving && !member {
			continue
		}
		process := Process{UID: pod.UID, Restarts: restarts(pod)}
		o.processes[process] = hostPort(pod.Status.PodIP, internalPort)
		if why := failed[process]; why != "" {
			o.dead[pod.Name] = why
			continue
		}
		restarted := member && record != recorded{uid: process.UID, restarts: process.Restarts}
		if restarted {
			o.dead[pod.Name] = "its container was restarted"
		}
		o.members = append(o.members, assignment.Member{
			Name:      pod.Name,
			Leaving:   leaving,
			Restarted: restarted,
			Outdated:  pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey] != newest,
		})
		o.entries[pod.Name] = v1alpha1.ShardMember{
			Name: pod.Name, UID: string(pod.UID), Address: hostPort(pod.Status.PodIP, peerPort),
		}
		if process.Restarts > 0 {
			o.restarts[pod.Name] = process.Restarts
		}
	}
	return o
}

// stopped says why no process of the pod runs, "" if one does.
func stopped(pod *corev1.Pod) string {
	if pod.Status.Phase != corev1.PodRunning {
		return "its phase is " + string(pod.Status.Phase)
	}
	if pod.Status.PodIP == "" {
		return "it has no address"
	}
	for _, status := range pod.Status.ContainerStatuses {
		if t := status.State.Terminated; t != nil {
			return fmt.Sprintf("its container %s ended with code %d (%s)", status.Name, t.ExitCode, t.Reason)
		}
		if w := status.State.Waiting; w != nil {
			return fmt.Sprintf("its container %s does not run (%s)", status.Name, w.Reason)
		}
	}
	return ""
}

// restarts counts the restarts of the pod's containers. With the pod's UID it identifies the process.
func restarts(pod *corev1.Pod) int32 {
	var n int32
	for _, status := range pod.Status.ContainerStatuses {
		n += status.RestartCount
	}
	return n
}

func hasCondition(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}

// newestTemplate is the pod template hash of the youngest pod that is to stay. Of two templates whose pods were created
// in the same second, it is the one that came up later.
func newestTemplate(pods []corev1.Pod) string {
	type span struct{ first, last int64 }
	spans := map[string]span{}
	for i := range pods {
		if pods[i].DeletionTimestamp != nil {
			continue
		}
		created := pods[i].CreationTimestamp.Unix()
		hash := pods[i].Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		s, found := spans[hash]
		if !found {
			s = span{first: created, last: created}
		}
		spans[hash] = span{first: min(s.first, created), last: max(s.last, created)}
	}
	newest := ""
	best := span{first: -1 << 62, last: -1 << 62}
	for hash, s := range spans {
		if cmp.Or(cmp.Compare(s.last, best.last), cmp.Compare(s.first, best.first), cmp.Compare(hash, newest)) > 0 {
			newest, best = hash, s
		}
	}
	return newest
}
