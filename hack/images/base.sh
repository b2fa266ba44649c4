#!/usr/bin/env bash
# base.sh [--force] makes the image docker.io/library/debian:trixie-slim from Debian's packages, where there is no
# registry to pull it from: what mmdebstrap resolves, without documentation, manuals and translations. With Docker and
# a registry the Dockerfiles get the real one.
source "$(dirname "${BASH_SOURCE[0]}")/catalog.sh"

base=docker.io/library/debian:trixie-slim
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}

if [[ ${1:-} != --force ]] && buildah_ inspect --type image "$base" >/dev/null 2>&1; then
	exit
fi
note "making $base from $mirror"
mkdir -p "$cache"
work=$(mktemp -d "$cache/base.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The hook's $1 is the finished root file system: mmdebstrap expands it, not this shell.
# shellcheck disable=SC2016
mmdebstrap --quiet --variant=minbase --format=tar --components=main \
	--include=ca-certificates,tzdata \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--aptopt='Apt::Install-Recommends "false"' \
	--customize-hook='rm -rf "$1"/var/log/* "$1"/var/cache/ldconfig/*' \
	trixie "$work/rootfs.tar" \
	"deb $mirror trixie main" "deb $mirror trixie-updates main" "deb $security trixie-security main" ||
	die "mmdebstrap could not make the base image (its output is above)" \
		"check that $mirror is reachable, or name another one in DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR"

container=$(buildah_ from scratch)
buildah_ add --quiet "$container" "$work/rootfs.tar" / >/dev/null
buildah_ config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah_ commit --quiet --rm "$container" "$base" >/dev/null
