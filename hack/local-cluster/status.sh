#!/usr/bin/env bash
# status.sh says what of the local cluster runs, and what Kubernetes says about it.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/daemons.sh"
source "$local_cluster_dir/control-plane.sh"

if [[ ! -d $state ]]; then
	echo "no local cluster runs; make up starts one"
	exit 1
fi
# memory PID prints the megabytes of a process and its descendants; a page that several share counts once.
memory() {
	local pid
	ps -e -o pid=,ppid= | awk -v root="$1" '
		{ parent[$1] = $2 }
		END { for (pid in parent) { for (p = pid; p > 1 && p != root; ) p = parent[p]; if (p == root) print pid } }' |
		while read -r pid; do
			cat "/proc/$pid/smaps_rollup" 2>/dev/null || true
		done | awk '/^Pss:/ { kilobytes += $2 } END { printf "%d", kilobytes / 1024 }'
}

total=0
for name in "${control_plane[@]}" $(for node in "${nodes[@]}"; do node_name "$node"; echo; done); do
	if pid=$(daemon_pid "$name"); then
		megabytes=$(memory "$pid")
		total=$((total + megabytes))
		printf '%-24s runs, pid %-7s %6d MB\n' "$name" "$pid" "$megabytes"
	else
		printf '%-24s does not run; its log: %s\n' "$name" "$logs/$name.log"
	fi
done
printf '%-24s %20d MB, pods included\n\n' "all together" "$total"
kube get nodes -o wide
echo
kube get pods --all-namespaces -o wide
printf '\nexport KUBECONFIG=%s\n' "$kubeconfig"
