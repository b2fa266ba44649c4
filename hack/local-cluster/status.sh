#!/usr/bin/env bash
# status.sh says what of the local cluster runs, and what Kubernetes says about it.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/daemons.sh"
source "$local_cluster_dir/control-plane.sh"

if [[ ! -d $state ]]; then
	echo "no local cluster runs; make up starts one"
	exit 1
fi
for name in "${control_plane[@]}" $(for node in "${nodes[@]}"; do node_name "$node"; echo; done); do
	if pid=$(daemon_pid "$name"); then
		printf '%-24s runs, pid %s\n' "$name" "$pid"
	else
		printf '%-24s does not run; its log: %s\n' "$name" "$logs/$name.log"
	fi
done
echo
kube get nodes -o wide
echo
kube get pods --all-namespaces -o wide
printf '\nexport KUBECONFIG=%s\n' "$kubeconfig"
