#!/usr/bin/env bash
# fault.sh kill|start|cut|join NUMBER does to a node of the local cluster what happens to machines.
#   kill   pulls the plug: every process of the node, its pods' included, is gone at once
#   start  boots it again
#   cut    pulls its network cable: the node and its pods go on, unreachable and reaching nobody
#   join   plugs the cable in again
# The machine's own way to ClusterIPs leads through a node that still runs and is connected.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/messages.sh"
source "$local_cluster_dir/daemons.sh"
source "$local_cluster_dir/network.sh"
source "$local_cluster_dir/nodes.sh"

connected() {
	daemon_pid "$(node_name "$1")" >/dev/null && [[ -n $(ip link show "collab-$1" up) ]]
}

route_services() {
	local node
	for node in "${nodes[@]}"; do
		if connected "$node"; then
			services_via "$node"
			return
		fi
	done
}

need_root
[[ $# == 2 && " ${nodes[*]} " == *" $2 "* ]] ||
	die "$# arguments, or a node that there is not" "fault.sh kill|start|cut|join NUMBER, where NUMBER is one of: ${nodes[*]}"
[[ -d $state ]] || die "no local cluster runs" "start it with make cluster-up"
exec 9>"$state/lock"
flock 9
case $1 in
kill) node_down "$2" ;;
start) node_up "$2" ;;
# The machine's end of the cable: at the node's end the kernel would forget the routes.
cut) ip link set "collab-$2" down ;;
join) ip link set "collab-$2" up ;;
*) die "there is no fault '$1'" "use kill, start, cut or join" ;;
esac
route_services
