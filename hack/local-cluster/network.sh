# shellcheck shell=bash
# shellcheck disable=SC2154  # The settings are those of settings.sh.
# network.sh: the bridge, the nodes' network namespaces and the routes between them. Sourced, never run.
#
# The machine is at $host_ip on the bridge, where the control plane and the DNS server listen. Pods are routed, not
# bridged (CNI plugin ptp), so that every packet passes the node's netfilter and a ClusterIP works from its own node
# without br_netfilter. The machine reaches pods through their nodes, and ClusterIPs through kube-proxy on the nodes.

network_up() {
	local node other
	if ! ip link show "$bridge" >/dev/null 2>&1; then
		refuse_taken_network
		ip link add "$bridge" type bridge || die "the kernel makes no bridge" \
			"load the kernel module 'bridge', or in a container run it privileged"
	fi
	ip address replace "$host_ip/24" dev "$bridge"
	ip link set "$bridge" up
	for node in "${nodes[@]}"; do
		node_network_up "$node"
	done
	for node in "${nodes[@]}"; do
		ip route replace "$(node_pod_cidr "$node")" via "$(node_ip "$node")"
		for other in "${nodes[@]}"; do
			[[ $node == "$other" ]] ||
				ip -n "$(node_namespace "$node")" route replace "$(node_pod_cidr "$other")" via "$(node_ip "$other")"
		done
	done
	services_via "${nodes[0]}"
	allow_bridge_traffic
}

node_network_up() {
	local namespace ip
	namespace=$(node_namespace "$1") ip=$(node_ip "$1")
	[[ -e /run/netns/$namespace ]] || ip netns add "$namespace" ||
		die "the kernel makes no network namespace" "run as root, and in a container privileged"
	if ! ip -n "$namespace" link show eth0 >/dev/null 2>&1; then
		ip link add "collab-$1" type veth peer name eth0 netns "$namespace"
	fi
	ip link set "collab-$1" master "$bridge" up
	ip -n "$namespace" link set lo up
	ip -n "$namespace" address replace "$ip/24" dev eth0
	ip -n "$namespace" link set eth0 up
	ip -n "$namespace" route replace default via "$host_ip"
	nsenter --net="/run/netns/$namespace" sysctl -qw net.ipv4.ip_forward=1
}

# services_via NODE sends the machine's own traffic for ClusterIPs to that node's kube-proxy. A test that cuts off
# node 1 calls it for another one.
services_via() { ip route replace "$service_cidr" via "$(node_ip "$1")"; }

# refuse_taken_network fails when the machine already uses addresses of ours for something else.
refuse_taken_network() {
	local taken
	taken=$(ip -4 route show root "$network.0.0/16")
	[[ -z $taken ]] || die "the addresses $network.0.0/16 are in use: ${taken%%$'\n'*}" \
		"choose another range: make up COLLAB_NETWORK=10.88 (the first two numbers of a free private /16)"
}

# allow_bridge_traffic: where the kernel passes bridged packets through the firewall and the firewall drops what it
# does not know (machines with Docker), the nodes could not talk to each other.
allow_bridge_traffic() {
	[[ $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null) == 1 ]] || return 0
	iptables -C FORWARD -i "$bridge" -o "$bridge" -j ACCEPT 2>/dev/null ||
		iptables -I FORWARD -i "$bridge" -o "$bridge" -j ACCEPT
}

# network_down removes what network_up made; the routes and the nodes' iptables rules go with their devices.
network_down() {
	local node namespace
	for node in "${nodes[@]}"; do
		namespace=$(node_namespace "$node")
		# The link before the namespace: the kernel removes what a deleted namespace held some time later.
		remove_link "collab-$node"
		[[ ! -e /run/netns/$namespace ]] || ip netns delete "$namespace"
	done
	remove_link "$bridge"
	while command -v iptables >/dev/null && iptables -D FORWARD -i "$bridge" -o "$bridge" -j ACCEPT 2>/dev/null; do :; done
}

# remove_link deletes a link, and is content when there is none, also when the kernel was faster.
remove_link() {
	local refused
	refused=$(ip link delete "$1" 2>&1) || ! ip link show "$1" >/dev/null 2>&1 ||
		die "the network link $1 stays: $refused" "try again; as root: ip link delete $1"
}
