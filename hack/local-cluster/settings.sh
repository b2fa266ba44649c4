# shellcheck shell=bash
# settings.sh: what the scripts of the local cluster agree on: folders, versions, addresses. Sourced, never run.
# It must not do anything: no output, no files.
# shellcheck disable=SC2034  # The variables are used by the scripts that source this one.

set -euo pipefail

local_cluster_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$local_cluster_dir/../.." && pwd)

# Everything that is worth keeping between two clusters: binaries, the base image, built images.
cache=${COLLAB_CACHE:-$HOME/.cache/collab-operator}
bin=$cache/bin

# Everything that belongs to the running cluster. stop.sh removes it. With kind that is little, and nobody need be root.
if [[ ${PROVIDER:-local} == kind ]]; then
	state=${COLLAB_STATE:-$cache/kind}
else
	state=${COLLAB_STATE:-/var/lib/collab-operator/local-cluster}
fi
kubeconfig=$state/kubeconfig
logs=$state/logs
pki=$state/pki
volumes=$state/volumes

kubernetes_version=v1.36.1

# The binaries, in the order of building: the control-plane tests wait for the first two only.
binaries=(
	etcd kube-apiserver
	kubelet kube-controller-manager kube-scheduler kube-proxy
	containerd ctr containerd-shim-runc-v2 runc
	coredns provisioner pause kubectl
)

# One private /16 holds everything. The machine is .0.1 on a bridge and runs the control plane; each node is a network
# namespace on that bridge; the pods of node N have N's own /24.
network=${COLLAB_NETWORK:-10.77}
bridge=collab0
host_ip=$network.0.1
pod_cidr=$network.96.0/19
service_cidr=$network.192.0/18
kubernetes_service_ip=$network.192.1
sandbox_image=collab.dev/pause:1
nodes=(1 2 3)

node_name() { printf 'node-%s' "$1"; }
node_namespace() { printf 'collab-node-%s' "$1"; }
node_ip() { printf '%s.0.%s' "$network" "$((10 + $1))"; }
node_pod_cidr() { printf '%s.%s.0/24' "$network" "$((100 + $1))"; }
node_dir() { printf '%s/nodes/%s' "$state" "$1"; }
node_cgroup() { printf 'collab-node-%s' "$1"; }

# kubectl as the cluster's administrator.
kube() {
	local kubectl=$bin/kubectl
	[[ -x $kubectl ]] || kubectl=kubectl
	"$kubectl" --kubeconfig "$kubeconfig" "$@"
}
