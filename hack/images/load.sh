#!/usr/bin/env bash
# load.sh [image...] imports built images into every node of the running local cluster; what a node has is skipped.
# It prints the names of the images that changed, one a line.
source "$(dirname "${BASH_SOURCE[0]}")/catalog.sh"
# shellcheck source=../local-cluster/daemons.sh
source "$local_cluster_dir/daemons.sh"
need_root

# load NODE NAME...
load() {
	local dir name stamp output
	dir=$(node_dir "$1")
	shift
	mkdir -p "$dir/images"
	for name in "$@"; do
		stamp=$dir/images/$name.id
		if ! cmp -s "$archives/$name.id" "$stamp"; then
			if ! output=$("$bin/ctr" --address "$dir/containerd.sock" --namespace k8s.io images import \
				"$archives/$name.tar" 2>&1); then
				say "$output"
				return 1
			fi
			cp "$archives/$name.id" "$stamp"
			printf '%s\n' "$name"
		fi
	done
}

if [[ $# == 0 ]]; then
	for archive in "$archives"/*.id; do
		set -- "$@" "$(basename "$archive" .id)"
	done
fi
loaders=()
for node in "${nodes[@]}"; do
	daemon_pid "$(node_name "$node")" >/dev/null || die "$(node_name "$node") does not run" "start it with make cluster-up"
	load "$node" "$@" >"$state/run/loaded.$node" &
	loaders+=($!)
done
for loader in "${loaders[@]}"; do
	wait "$loader" || die "an image could not be imported into a node (see above)" \
		"look at $logs/node-*.containerd.log and at the space on the disk: df -h $state"
done
cat "$state"/run/loaded.* | sort -u
rm "$state"/run/loaded.*
