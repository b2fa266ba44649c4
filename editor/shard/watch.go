package shard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"collab.dev/operator/api/v1alpha1"
)

// Watch follows the ShardMap of that name until ctx ends. While the API server cannot be reached the last map stays; a
// deleted ShardMap keeps its last content, too, because the shards' owners have not changed by that.
func Watch(ctx context.Context, client dynamic.Interface, namespace, name string, maps *Maps, log *slog.Logger) error {
	informer := dynamicinformer.NewFilteredDynamicInformer(client, v1alpha1.GroupVersion.WithResource("shardmaps"),
		namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		}).Informer()
	take := func(obj any) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return
		}
		var m v1alpha1.ShardMap
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &m); err != nil {
			log.Error("The ShardMap cannot be read; keeping the last one", "shardmap", name, "error", err)
			return
		}
		log.Info("New ShardMap", "shardmap", name, "version", m.Generation, "members", len(m.Spec.Members))
		maps.Set(NewMap(m.Spec))
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: take, UpdateFunc: func(_, obj any) { take(obj) },
	}); err != nil {
		return fmt.Errorf("watch the ShardMap: %w", err)
	}
	informer.RunWithContext(ctx)
	return nil
}

// WatchFile reads a ShardMap in JSON from a file, again whenever the file has changed, until ctx ends.
func WatchFile(ctx context.Context, path string, maps *Maps, log *slog.Logger) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	var last []byte
	for {
		data, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(data, last) {
			var m v1alpha1.ShardMap
			if err := json.Unmarshal(data, &m); err != nil {
				log.Error("The ShardMap cannot be read; keeping the last one", "file", path, "error", err)
			} else {
				maps.Set(NewMap(m.Spec))
			}
			last = data
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
