module collab.dev/operator/hack/local-cluster/modules/pause

go 1.26.0
