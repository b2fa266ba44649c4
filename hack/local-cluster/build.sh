#!/usr/bin/env bash
# build.sh [binary...] builds the cluster's own programs from Go modules pinned in modules/*/go.sum.
# Without arguments it builds all of them. What is already built from the same inputs is skipped.
# The last line of stdout is the folder that holds the binaries.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
source "$local_cluster_dir/messages.sh"

kubernetes_ldflags="-X k8s.io/component-base/version.gitVersion=$kubernetes_version"
kubernetes_ldflags+=" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
kubernetes_ldflags+=" -X k8s.io/component-base/version.gitTreeState=clean"

# describe BINARY sets module (folder in modules/), package, cgo, and the flags that it is built with.
describe() {
	cgo=0 tags="" ldflags="-s -w"
	case $1 in
	etcd) module=etcd package=go.etcd.io/etcd/server/v3 ;;
	kube*) module=kubernetes package=k8s.io/kubernetes/cmd/$1 ldflags+=" $kubernetes_ldflags" ;;
	# The file systems of Btrfs and device mapper are snapshotters that nobody needs here; Btrfs would need cgo.
	containerd | ctr | containerd-shim-runc-v2)
		module=containerd package=github.com/containerd/containerd/v2/cmd/$1 tags="no_btrfs no_zfs no_devmapper"
		;;
	runc) module=runc package=github.com/opencontainers/runc cgo=1 tags=seccomp ;;
	coredns) module=coredns package=github.com/coredns/coredns ;;
	provisioner | pause) module=$1 package=. ;;
	*) die "there is no recipe for the binary $1" "choose from: ${binaries[*]}" ;;
	esac
	if [[ $module == containerd ]]; then
		ldflags+=" -X github.com/containerd/containerd/v2/version.Version=v2.4.2"
	elif [[ $module == runc ]]; then
		ldflags+=" -X main.version=1.5.2"
	fi
}

# fingerprint of everything that goes into a binary.
fingerprint() {
	{
		find "$local_cluster_dir/modules/$module" \( -name 'go.*' -o -name '*.go' \) -print0 | sort -z | xargs -0 cat
		printf '%s\n' "$(cd "$local_cluster_dir/modules/$module" && go version)" "$package" "$cgo" "$tags" "$ldflags"
	} | sha256sum | cut -d' ' -f1
}

build() {
	local name=$1 started=$SECONDS stamp=$bin/.$1.stamp inputs
	describe "$name"
	inputs=$(fingerprint)
	if [[ -x $bin/$name && -f $stamp && $(<"$stamp") == "$inputs" ]]; then
		return
	fi
	note "building $name"
	(
		cd "$local_cluster_dir/modules/$module"
		CGO_ENABLED=$cgo GOFLAGS=-mod=readonly GOWORK=off \
			go build -buildvcs=false -trimpath -tags "$tags" -ldflags "$ldflags" -o "$bin/.$name.new" "$package"
	) >&2 || die "$name was not built (its output is above)" \
		"check that your GOPROXY is reachable and that $cache has 5 GB free"
	mv "$bin/.$name.new" "$bin/$name"
	printf '%s\n' "$inputs" >"$stamp"
	note "built $name in $((SECONDS - started)) s"
}

command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || die "there is no go command" "install Go 1.26 or newer to /usr/local/go (https://go.dev/dl)"

mkdir -p "$bin"
[[ $# -gt 0 ]] || set -- "${binaries[@]}"
for name in "$@"; do
	# One builder per binary: two sessions that need the same one share the work.
	{
		flock 9
		build "$name"
	} 9>"$bin/.$name.lock"
done
printf '%s\n' "$bin"
