#!/usr/bin/env bash
# start.sh brings up the cluster of three nodes, or what of it is not running, and waits until the nodes are Ready.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/messages.sh"
source "$local_cluster_dir/daemons.sh"
source "$local_cluster_dir/network.sh"
source "$local_cluster_dir/pki.sh"
source "$local_cluster_dir/control-plane.sh"
source "$local_cluster_dir/nodes.sh"

nodes_ready() {
	local ready
	ready=$(kube get nodes -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}')
	[[ $ready == "$(printf 'True %.0s' "${nodes[@]}" | sed 's/ $//')" ]]
}

need_root
"$local_cluster_dir/build.sh" >/dev/null
mkdir -p "$state"
exec 9>"$state/lock"
flock 9

network_up
make_pki
control_plane_up
for node in "${nodes[@]}"; do
	node_up "$node"
done
if ! await 90 nodes_ready; then
	kube get nodes -o wide >&2 || true
	for node in "${nodes[@]}"; do
		last_words "$(node_name "$node")"
		last_words "$(node_name "$node").kubelet"
	done
	die "the nodes are not all Ready after 90 s" "see the logs above; 'make down' and 'make up' starts afresh"
fi
