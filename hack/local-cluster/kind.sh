# shellcheck shell=bash
# shellcheck disable=SC2154  # The settings are those of settings.sh.
# kind.sh: the same steps as the local provider's, on Docker and kind, with the same Dockerfiles. Sourced, never run.

kind_cluster=collab

kind_check() {
	command -v docker >/dev/null || die "there is no docker command" "install Docker, or run make up without PROVIDER=kind"
	docker info >/dev/null 2>&1 || die "the Docker daemon does not answer" "start it, or join the group 'docker'"
	command -v kind >/dev/null || die "there is no kind command" "install kind (https://kind.sigs.k8s.io)"
	command -v kubectl >/dev/null || [[ -x $bin/kubectl ]] || "$local_cluster_dir/build.sh" kubectl >/dev/null
}

kind_start() {
	mkdir -p "$state"
	if kind get clusters 2>/dev/null | grep -qx "$kind_cluster"; then
		kind export kubeconfig --name "$kind_cluster" --kubeconfig "$kubeconfig" --quiet
		return
	fi
	# What an earlier cluster had loaded, this one has not.
	rm -rf "$state/images"
	kind create cluster --name "$kind_cluster" --kubeconfig "$kubeconfig" --wait 180s --config - >&2 <<-EOF ||
		kind: Cluster
		apiVersion: kind.x-k8s.io/v1alpha4
		nodes:
		- role: control-plane
		- role: worker
		- role: worker
		- role: worker
	EOF
		die "kind could not create the cluster (see above)" "kind delete cluster --name $kind_cluster, then try again"
}

# kind_images builds the images of images/ and prints the names of those that the cluster does not have yet.
kind_images() {
	local name image id
	mkdir -p "$state/images"
	for name in "${images[@]}"; do
		[[ -f $repository/images/$name/Dockerfile ]] || continue
		image=$(image_name "$name")
		docker build --quiet --file "$repository/images/$name/Dockerfile" --tag "$image" "$repository" >/dev/null ||
			die "the image $image could not be built (see above)" "fix images/$name/Dockerfile"
		id=$(docker image inspect --format '{{.Id}}' "$image")
		[[ $(cat "$state/images/$name.id" 2>/dev/null) == "$id" ]] || printf '%s\n' "$name"
	done
}

# kind_load NAME... puts images into the nodes.
kind_load() {
	local name image
	for name in "$@"; do
		image=$(image_name "$name")
		kind load docker-image --name "$kind_cluster" "$image" >&2 ||
			die "kind could not load $image" "check the space on Docker's disk: docker system df"
		docker image inspect --format '{{.Id}}' "$image" >"$state/images/$name.id"
	done
}

kind_stop() {
	if command -v kind >/dev/null && kind get clusters 2>/dev/null | grep -qx "$kind_cluster"; then
		kind delete cluster --name "$kind_cluster" --kubeconfig "$kubeconfig"
	fi
	rm -rf "$state"/{images,kubeconfig}
	rmdir "$state" 2>/dev/null || true
}
