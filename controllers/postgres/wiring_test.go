package postgres

import (
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"collab.dev/operator/controllers/child"
)

// TestProbesAskTheRightPrograms holds the paths too: a readiness that asked for the primary would take every standby,
// or with no primary every proxy, out of service.
func TestProbesAskTheRightPrograms(t *testing.T) {
	server, proxy := servers(t, newCluster()).Spec.Template.Spec, proxies(t, newCluster()).Spec.Template.Spec
	for _, test := range []struct {
		name      string
		container corev1.Container
		probe     *corev1.Probe
		path      string
		port      int32
	}{
		{"server is ready", server.Containers[0], server.Containers[0].ReadinessProbe, "/readiness", 8008},
		{"server is alive", server.Containers[0], server.Containers[0].LivenessProbe, "/liveness", 8008},
		{"proxy is ready", proxy.Containers[0], proxy.Containers[0].ReadinessProbe, "/healthz", 8404},
		{"proxy is alive", proxy.Containers[0], proxy.Containers[0].LivenessProbe, "/healthz", 8404},
	} {
		if test.probe == nil || test.probe.HTTPGet == nil {
			t.Errorf("%s: there is no HTTP probe", test.name)
			continue
		}
		i := slices.IndexFunc(test.container.Ports, func(port corev1.ContainerPort) bool {
			return port.Name == test.probe.HTTPGet.Port.StrVal
		})
		if i < 0 || test.container.Ports[i].ContainerPort != test.port || test.probe.HTTPGet.Path != test.path {
			t.Errorf("%s: the probe asks %+v of the ports %+v", test.name, test.probe.HTTPGet, test.container.Ports)
		}
	}
}

func TestSelectorsAreTheComponents(t *testing.T) {
	budgets := rendered[policyv1.PodDisruptionBudget](t, newCluster(), "PodDisruptionBudget")
	for component, selectors := range map[child.Component][]map[string]string{
		child.Postgres: {
			servers(t, newCluster()).Spec.Selector.MatchLabels, budgets["docs-postgres"].Spec.Selector.MatchLabels,
		},
		child.HAProxy: {
			proxies(t, newCluster()).Spec.Selector.MatchLabels, budgets["docs-haproxy"].Spec.Selector.MatchLabels,
		},
	} {
		for _, selector := range selectors {
			if !maps.Equal(selector, child.Selector("docs", component)) {
				t.Errorf("%s is selected by %v", component, selector)
			}
		}
	}
}

func TestServersStartTogetherAndStopInOrder(t *testing.T) {
	set := servers(t, newCluster())
	if set.Spec.ServiceName != "docs-postgres" {
		t.Errorf("the servers' names are in the Service %q, where HAProxy does not look", set.Spec.ServiceName)
	}
	if set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Error("a server that could lead waits for one that cannot start")
	}
	if grace := set.Spec.Template.Spec.TerminationGracePeriodSeconds; grace == nil || *grace < 60 {
		t.Error("a primary is killed before its last checkpoint")
	}
}
