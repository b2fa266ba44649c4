package autoscaling

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"collab.dev/operator/controllers/autoscaling/report"
)

const (
	// scrapeTimeout bounds reading one pod's load.
	scrapeTimeout = 2 * time.Second
	// scrapeParallel is the number of pods of one cluster that are read at once.
	scrapeParallel = 32
	// loadLimit is the greatest size of a load report that is read, in bytes.
	loadLimit = 16 << 10
	// internalPort is the port of an editor pod's internal HTTP server.
	internalPort = 8081
)

// scrape reads the load of pods in parallel. The result has nil where a pod's load could not be read.
func scrape(ctx context.Context, client *http.Client, port int, pods []*corev1.Pod) ([]*report.Load, error) {
	loads := make([]*report.Load, len(pods))
	errs := make([]error, len(pods))
	slots := make(chan struct{}, scrapeParallel)
	var group sync.WaitGroup
	for i, pod := range pods {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			loads[i], errs[i] = scrapePod(ctx, client, port, pod)
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return loads, err
		}
	}
	return loads, nil
}

func scrapePod(ctx context.Context, client *http.Client, port int, pod *corev1.Pod) (*report.Load, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(port)) + "/load"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("reading the load of pod %s: %w", pod.Name, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reading the load of pod %s: %w", pod.Name, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading the load of pod %s: status %d", pod.Name, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, loadLimit))
	if err != nil {
		return nil, fmt.Errorf("reading the load of pod %s: %w", pod.Name, err)
	}
	load, err := report.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("reading the load of pod %s: %w", pod.Name, err)
	}
	if load.UID != string(pod.UID) {
		return nil, fmt.Errorf("reading the load of pod %s: another pod answers at its address", pod.Name)
	}
	return &load, nil
}
