package editor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"collab.dev/operator/api/v1alpha1"
)

// TestADrainFitsInTheGracePeriod adds up everything that a leaving pod may wait for. A pod that the kubelet kills before
// loses its clients all at once, and its unflushed operations wait in the log for the next owner.
func TestADrainFitsInTheGracePeriod(t *testing.T) {
	// cmd/editor and editor/shard: last acknowledgements, closing the shards, telling the webhook, closing the stores.
	const flushing = 5*time.Second + 10*time.Second + 3*time.Second + 10*time.Second
	for _, grace := range []int32{40, 45, 60, 300, 3600} {
		t.Run(fmt.Sprintf("%d s", grace), func(t *testing.T) {
			cluster := newCluster()
			cluster.Spec.Editor = &v1alpha1.EditorSpec{TerminationGracePeriodSeconds: ptr.To(grace)}
			pod := renderedDeployment(t, cluster).Spec.Template.Spec
			var handOver, letGo time.Duration
			for _, argument := range pod.Containers[0].Args {
				for flag, value := range map[string]*time.Duration{"--drain-timeout=": &handOver, "--drain-over=": &letGo} {
					if text, found := strings.CutPrefix(argument, flag); found {
						var err error
						if *value, err = time.ParseDuration(text); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			worst := handOver + letGo + flushing
			if margin := time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second - worst; margin < 3*time.Second {
				t.Errorf("draining may take %v of %d s", worst, grace)
			}
			if handOver < 5*time.Second || letGo < 3*time.Second {
				t.Errorf("there are %v for handing over and %v for letting clients go", handOver, letGo)
			}
		})
	}
}
