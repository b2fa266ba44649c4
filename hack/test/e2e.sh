#!/usr/bin/env bash
# e2e.sh [flag...] runs the end-to-end tests on the local cluster; the flags go to the tests. It starts the cluster when
# none runs, and removes what it started, however the tests end; a cluster that ran already is brought up to date and
# left running.
source "$(dirname "${BASH_SOURCE[0]}")/../local-cluster/settings.sh"
source "$local_cluster_dir/messages.sh"
source "$local_cluster_dir/diagnose.sh"
cd "$repository"

need_root
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
node=$(hack/test/node.sh)
PATH=$node:$PATH
npm --prefix test/e2e/clients ci --no-audit --no-fund --loglevel=error >/dev/null ||
	die "npm could not install the clients (see above)" \
		"check that npm's registry is reachable: npm config get registry"

started=yes
! kube get --raw /readyz >/dev/null 2>&1 || started=
finish() {
	local result=$?
	trap - EXIT
	if ((result != 0)); then
		explain_pods collab-system collab-e2e || true
		say "the end of the operator's log:"
		kube -n collab-system logs deployment/collab-operator --tail=40 2>/dev/null | indent || true
		[[ -n $started ]] || say "the namespace collab-e2e is left as it is: export KUBECONFIG=$kubeconfig"
	fi
	[[ -z $started ]] || hack/local-cluster/down.sh || result=1
	exit "$result"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

hack/local-cluster/up.sh
# Without -v go test would swallow the figures of tests that pass.
KUBECONFIG=$kubeconfig go test -tags e2e -count=1 -timeout 45m -v ./test/e2e "$@"
