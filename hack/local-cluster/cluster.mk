# The local cluster, for the Makefile at the top. The settings (COLLAB_CACHE, COLLAB_STATE, COLLAB_NETWORK, PROVIDER)
# are variables of the environment or of the command line; hack/local-cluster/README.md explains them.

export COLLAB_CACHE COLLAB_STATE COLLAB_NETWORK PROVIDER

.PHONY: cluster-up cluster-down cluster-load cluster-status images

cluster-up: ## Start the bare local Kubernetes of three nodes.
	@hack/local-cluster/packages.sh
	@hack/images/build.sh pause
	@hack/local-cluster/start.sh
	@hack/images/load.sh pause

cluster-down: ## Remove the local Kubernetes with everything in it; the cache stays.
	@hack/local-cluster/down.sh

cluster-load: images ## Build the images and load them into the nodes.
	@hack/images/load.sh

cluster-status: ## Say what of the local Kubernetes runs.
	@hack/local-cluster/status.sh

images: build ## Build the images from images/*/Dockerfile.
	@hack/images/build.sh
