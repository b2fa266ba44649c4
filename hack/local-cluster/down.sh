#!/usr/bin/env bash
# down.sh removes the cluster of make up, whichever provider made it, and all that it left; the cache stays.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/messages.sh"
source "$local_cluster_dir/kind.sh"

if [[ ${PROVIDER:-local} == kind ]]; then
	kind_stop
else
	"$local_cluster_dir/stop.sh"
fi
say "nothing of the cluster is left; what was built stays in $cache"
