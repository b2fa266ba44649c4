#!/usr/bin/env bash
# node.sh installs Node.js and npm where they are missing: the tests compare with the real Yjs.
source "$(dirname "${BASH_SOURCE[0]}")/../local-cluster/settings.sh"
source "$local_cluster_dir/messages.sh"

if command -v node >/dev/null && command -v npm >/dev/null; then
	exit 0
fi
need_root
note "installing nodejs and npm"
apt-get update -o DPkg::Lock::Timeout=120 >/dev/null 2>&1 || true
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 nodejs npm \
	>/dev/null || die "apt-get could not install nodejs and npm" \
	"install Node.js 18 or newer with npm, then run this again"
