#!/usr/bin/env bash
# packages.sh installs the Debian packages that the local cluster needs; those that are there already cost nothing.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/messages.sh"

packages=(
	ca-certificates curl git make openssl procps
	iproute2 iptables util-linux mount   # the nodes' namespaces and kube-proxy
	containernetworking-plugins          # CNI: ptp, host-local, portmap, loopback
	gcc libc6-dev libseccomp-dev pkg-config # runc is the one program that is not pure Go
	buildah mmdebstrap debian-archive-keyring # images
)

command -v apt-get >/dev/null || die "this machine has no apt-get" \
	"use Debian 12 or newer, or install Docker and kind and run make up PROVIDER=kind"

missing=()
for package in "${packages[@]}"; do
	[[ $(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

need_root
note "installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 \
		"${missing[@]}" >"$log" 2>&1
}
# A package list may be missing or old. One of the machine's other sources may be down: what counts is whether the
# packages can be installed after the update, not whether every source answered.
if ! install; then
	apt-get update -o DPkg::Lock::Timeout=120 >/dev/null 2>&1 || true
	install || {
		tail -n 20 "$log" >&2
		die "apt-get could not install ${missing[*]} (its output is above)" \
			"check that Debian's 'main' is in /etc/apt/sources.list.d and its mirror reachable, then run this again"
	}
fi
