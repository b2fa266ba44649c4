#!/usr/bin/env bash
# node.sh NUMBER is process 1 of a node: containerd, kubelet and kube-proxy, started again when they die.
# It runs in the node's own namespaces (nodes.sh), so that each node has the default folders for itself.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

node=$1
name=$(node_name "$node")
dir=$(node_dir "$node")
export PATH=$bin:/usr/sbin:/usr/bin:/sbin:/bin

# Mounts of the node stay in the node. A fresh /run is what a machine has after booting.
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib/cni
mount --bind "$dir/log" /var/log
mount --bind "$dir/kubelet" /var/lib/kubelet

# kubelet wants its root cgroup to exist. Version 2 has one tree, version 1 one per controller.
if [[ -f /sys/fs/cgroup/cgroup.controllers ]]; then
	mkdir -p "/sys/fs/cgroup/$(node_cgroup "$node")"
	for controller in $(</sys/fs/cgroup/cgroup.controllers); do
		echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
		echo "+$controller" >"/sys/fs/cgroup/$(node_cgroup "$node")/cgroup.subtree_control" || true
	done
else
	for hierarchy in /sys/fs/cgroup/*/; do
		mkdir -p "$hierarchy$(node_cgroup "$node")"
	done
fi

supervise() {
	bash "$local_cluster_dir/supervise.sh" "$@" >>"$logs/$name.$1.log" 2>&1 &
}

supervise containerd containerd --config "$dir/containerd.toml" --log-level warn
until [[ -S $dir/containerd.sock ]]; do sleep 0.1; done
supervise kubelet kubelet --config "$dir/kubelet.yaml" --kubeconfig "$pki/$name.kubeconfig" \
	--hostname-override "$name" --node-ip "$(node_ip "$node")" \
	--node-labels "topology.kubernetes.io/region=local,topology.kubernetes.io/zone=local-$node"
# Connection tracking belongs to the machine, not to the node: its limits and timeouts stay as they are.
supervise kube-proxy kube-proxy --kubeconfig "$pki/kube-proxy.kubeconfig" --hostname-override "$name" \
	--proxy-mode iptables --cluster-cidr "$pod_cidr" \
	--conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s
wait
