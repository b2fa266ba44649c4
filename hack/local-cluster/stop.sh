#!/usr/bin/env bash
# stop.sh ends the cluster and removes everything that it made outside the cache. It may be run at any time, also
# when only parts of a cluster are there.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/messages.sh"
source "$local_cluster_dir/daemons.sh"
source "$local_cluster_dir/network.sh"
source "$local_cluster_dir/control-plane.sh"
source "$local_cluster_dir/nodes.sh"

need_root
for node in "${nodes[@]}"; do
	node_down "$node"
done
control_plane_down
network_down
# 'ip netns add' mounts this folder onto itself; it stays when somebody else has namespaces in it.
if mountpoint -q /run/netns && [[ -z $(ls -A /run/netns) ]]; then
	umount /run/netns
	rmdir /run/netns
fi
rmdir /var/lib/kubelet 2>/dev/null || true
rm -rf --one-file-system "$state"
rmdir "$(dirname "$state")" 2>/dev/null || true
