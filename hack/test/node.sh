#!/usr/bin/env bash
# node.sh installs Node.js and npm where they are missing: the tests compare with the real Yjs. Where they are too old
# for the clients, as Debian 12's are, it installs newer ones from npm's registry into the cache.
# The last line of stdout is the folder that holds node and npm.
source "$(dirname "${BASH_SOURCE[0]}")/../local-cluster/settings.sh"
source "$local_cluster_dir/messages.sh"

needed=20.14 # node --test --test-force-exit, and the newest provider
ours=$cache/node/node_modules/.bin

# new_enough FOLDER succeeds when the folder's node is what is needed or newer.
new_enough() {
	local version
	version=$("$1/node" --version 2>/dev/null) || return 1
	[[ $(printf '%s\n' "$needed" "${version#v}" | sort --version-sort | head -n 1) == "$needed" ]]
}

install_debians() {
	need_root
	note "installing nodejs and npm"
	apt-get update -o DPkg::Lock::Timeout=120 >/dev/null 2>&1 || true
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 nodejs npm \
		>/dev/null || die "apt-get could not install nodejs and npm" \
		"install Node.js $needed or newer with npm, then run this again"
}

command -v node >/dev/null && command -v npm >/dev/null || install_debians
folder=$(dirname "$(command -v node)")
if ! new_enough "$folder"; then
	folder=$ours
	mkdir -p "$cache"
	exec 9>"$cache/node.lock"
	flock 9
	if ! new_enough "$folder"; then
		note "installing Node.js 22 from npm's registry: this machine's is $(node --version), $needed is needed"
		# Debian's npm runs on Debian's Node.js only.
		npm --prefix "$cache/node" install --no-save --no-audit --no-fund --loglevel=error node@22.20.0 npm@10.9.4 \
			>/dev/null || die "npm could not install Node.js (see above)" \
			"check that npm's registry is reachable (npm config get registry), or install Node.js $needed or newer yourself"
	fi
fi
printf '%s\n' "$folder"
