#!/usr/bin/env bash
# stores.sh installs the PostgreSQL and Redis servers that the stores tests start on loopback.
source "$(dirname "${BASH_SOURCE[0]}")/../local-cluster/settings.sh"
source "$local_cluster_dir/messages.sh"
missing=()
for package in postgresql redis-server; do
	[[ $(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0
need_root
note "installing ${missing[*]}"
# The tests start servers of their own: Debian's need not run. Another source of packages may be down: what counts is
# whether these can be installed.
apt-get update >/dev/null 2>&1 || true
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null ||
	die "apt-get could not install ${missing[*]}" "check that Debian's mirror is reachable, then run this again"
