#!/usr/bin/env bash
# up.sh goes from a bare machine to a Ready CollabCluster: make up. On a cluster that runs already it builds, loads
# and applies what changed. PROVIDER=kind uses Docker and kind instead of building a cluster of its own.
source "$(dirname "${BASH_SOURCE[0]}")/../images/catalog.sh"
source "$local_cluster_dir/diagnose.sh"
source "$local_cluster_dir/kind.sh"

provider=${PROVIDER:-local}
sample_name=docs
sample_namespace=default
operator_namespace=collab-system
ready_timeout=${READY_TIMEOUT:-600}

steps=8 step=0 step_started=0 up_started=$SECONDS
# step TEXT ends the step before and begins the next one.
step() {
	finish_step
	step=$((step + 1)) step_started=$SECONDS
	say "[$step/$steps] $1"
}
finish_step() { ((step == 0)) || note "done in $((SECONDS - step_started)) s"; }

check_machine() {
	local free folder
	case $(uname -m) in
	x86_64 | aarch64) ;;
	*) die "this machine is a $(uname -m)" "use amd64 or arm64" ;;
	esac
	mkdir -p "$cache" "$state"
	for folder in "$cache" "$state"; do
		free=$(df --output=avail -BG "$folder" | tail -n 1 | tr -dc 0-9)
		((free >= 10)) || die "only $free GB are free for $folder" \
			"free some space (10 GB), or name another folder in COLLAB_CACHE (cache) or COLLAB_STATE (cluster)"
	done
	((free = $(awk '/^MemAvailable/ {print $2}' /proc/meminfo) / 1024 / 1024, free >= 3)) ||
		warn "only $free GB of memory are available; the cluster and the sample need about 3"
	command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "there is no go command" "install Go 1.26 or newer to /usr/local/go (https://go.dev/dl)"
}

# need_helm sets helm to a program: ours, built from the pinned module, or else the machine's.
need_helm() {
	local package
	helm=$cache/tools/helm
	[[ ! -x $helm ]] || return 0
	package=$(go -C "$repository/hack/tools" list tool 2>/dev/null | grep '/cmd/helm$' || true)
	if [[ -n $package ]]; then
		note "building helm (first time: about 2 minutes)"
		CGO_ENABLED=0 go -C "$repository/hack/tools" build -trimpath -o "$helm" "$package" >&2 ||
			die "helm could not be built (see above)" "check that your GOPROXY is reachable"
	else
		helm=$(command -v helm) || die "there is no helm" "install Helm (https://helm.sh)"
	fi
}

install_operator() {
	need_helm
	"$helm" --kubeconfig "$kubeconfig" upgrade --install collab-operator "$repository/charts/collab-operator" \
		--namespace "$operator_namespace" --create-namespace >/dev/null ||
		die "helm could not install charts/collab-operator (see above)" "fix the chart: $helm lint charts/collab-operator"
}

# operator_installed succeeds when an operator runs already, which a new image of the same tag does not replace.
operator_installed() { [[ -n $(kube -n "$operator_namespace" get deployments -o name 2>/dev/null) ]]; }

# restart_changed IMAGE... gives the workloads that run an image its new version: the images' tags stay the same.
restart_changed() {
	local name
	for name in "$@"; do
		case $name in
		operator) kube -n "$operator_namespace" rollout restart deployment >/dev/null 2>&1 || true ;;
		pause) ;;
		*) kube rollout restart deployment,statefulset -n "$sample_namespace" \
			--selector "app.kubernetes.io/managed-by=collab-operator,app.kubernetes.io/component=$name" \
			>/dev/null 2>&1 || true ;;
		esac
	done
}

await_operator() {
	local deployment
	for deployment in $(kube -n "$operator_namespace" get deployments -o name); do
		kube -n "$operator_namespace" rollout status "$deployment" --timeout=120s >/dev/null && continue
		explain_pods "$operator_namespace"
		die "the operator is not available after 120 s (what is known is above)" \
			"look further with: kubectl --kubeconfig $kubeconfig -n $operator_namespace describe pods"
	done
}

# await_ready prints the CollabCluster's conditions whenever one changes, until Ready is True.
await_ready() {
	local deadline=$((SECONDS + ready_timeout)) conditions line generation
	declare -A seen=()
	while ((SECONDS < deadline)); do
		conditions=$(kube -n "$sample_namespace" get collabcluster "$sample_name" -o jsonpath='{range '\
'.status.conditions[*]}{.type}{"="}{.status}{" "}{.reason}{": "}{.message}{"\n"}{end}' 2>/dev/null || true)
		while IFS= read -r line; do
			[[ -n $line && ${seen[${line%%=*}]:-} != "$line" ]] || continue
			seen[${line%%=*}]=$line
			note "$((SECONDS - step_started)) s  $line"
		done <<<"$conditions"
		# A Ready that speaks of an older generation is not about what was just applied.
		generation=$(kube -n "$sample_namespace" get collabcluster "$sample_name" -o \
			jsonpath='{.metadata.generation}={.status.conditions[?(@.type=="Ready")].observedGeneration}' 2>/dev/null || true)
		[[ ${seen[Ready]:-} != Ready=True* || ${generation%%=*} != "${generation##*=}" ]] || return 0
		sleep 1
	done
	explain_pods "$sample_namespace" "$operator_namespace"
	die "the CollabCluster $sample_name is not Ready after $ready_timeout s (what is known is above)" \
		"look further with: kubectl --kubeconfig $kubeconfig describe collabcluster $sample_name"
}

url() {
	kube -n "$sample_namespace" get service "$sample_name-editor" \
		-o jsonpath='http://{.spec.clusterIP}:{.spec.ports[0].port}'
}

[[ $provider == local || $provider == kind ]] || die "there is no provider '$provider'" "use PROVIDER=local or PROVIDER=kind"
step "checking the machine"
if [[ $provider == local ]]; then
	need_root
	check_machine
	"$local_cluster_dir/packages.sh"
else
	check_machine
	kind_check
fi

if [[ $provider == local ]]; then
	step "building Kubernetes, containerd, etcd and CoreDNS (first time: about 20 minutes on 2 cores)"
	"$local_cluster_dir/build.sh" >/dev/null
else
	step "asking kind for a cluster"
	kind_start
fi

step "building the operator and the editor"
make -C "$repository" --no-print-directory build >&2 || die "make build failed (see above)" "fix the build"

step "building the images (first time: about 3 minutes)"
changed=()
if [[ $provider == local ]]; then
	"$repository/hack/images/build.sh"
else
	# In a variable first: a failure in <(...) would go unseen.
	missing=$(kind_images)
	mapfile -t changed < <(grep . <<<"$missing" || true)
fi

if [[ $provider == local ]]; then
	step "starting three nodes"
	"$local_cluster_dir/start.sh"
else
	step "the nodes run already"
fi

step "loading the images into the nodes"
if [[ $provider == local ]]; then
	loaded=$("$repository/hack/images/load.sh")
	mapfile -t changed < <(grep . <<<"$loaded" || true)
else
	kind_load "${changed[@]}"
fi
[[ ${#changed[@]} == 0 ]] || note "new: ${changed[*]}"

step "installing the operator"
if operator_installed; then
	install_operator
	restart_changed "${changed[@]}"
else
	install_operator
fi
await_operator

step "creating the CollabCluster $sample_name of config/samples and waiting until it is Ready"
kube -n "$sample_namespace" apply -k "$repository/config/samples" >/dev/null ||
	die "config/samples could not be applied (see above)" "fix the sample that the API server refused"
await_ready
# A restart for a new image shows in the conditions only a moment later.
kube -n "$sample_namespace" rollout status "deployment/$sample_name-editor" --timeout=180s >/dev/null || {
	explain_pods "$sample_namespace"
	die "the editors do not become available (what is known is above)" "look at their logs"
}
finish_step

say ""
say "The CollabCluster is Ready after $((SECONDS - up_started)) s."
if [[ $provider == local ]]; then
	printf '\n  %s\n' "$(url)"
else
	printf '\n  http://127.0.0.1:8080 while this runs:  kubectl port-forward service/%s-editor 8080:80\n' "$sample_name"
fi
printf '\n  look:  export KUBECONFIG=%s\n         kubectl get collabclusters,pods\n  stop:  make down%s\n' \
	"$kubeconfig" "$([[ $provider == local ]] || printf ' PROVIDER=kind')"
