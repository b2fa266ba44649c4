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
	node_down "$node" &
done
wait
control_plane_down
network_down
# 'ip netns add' mounts this folder onto itself; it stays when somebody else has namespaces in it.
if mountpoint -q /run/netns && [[ -z $(ls -A /run/netns) ]]; then
	umount /run/netns
	rmdir /run/netns
fi
# Nodes mount their own folders here.
rmdir /var/lib/kubelet /var/lib/cni 2>/dev/null || true
# By name, so that a COLLAB_STATE that means something else is not lost.
rm -rf --one-file-system "$state"/{Corefile,etcd,images,kubeconfig,lock,logs,nodes,pki,run,volumes}
rmdir "$state" "$(dirname "$state")" 2>/dev/null || true
