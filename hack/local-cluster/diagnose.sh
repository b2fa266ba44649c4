# shellcheck shell=bash
# shellcheck disable=SC2154  # The settings are those of settings.sh.
# diagnose.sh: what went wrong with the pods, for somebody who has not looked yet. Sourced, never run.

# explain_pods prints, for every pod of the namespaces given that is not ready, its state, last events and log.
explain_pods() {
	local namespace pod
	for namespace in "$@"; do
		while read -r pod; do
			[[ -n $pod ]] || continue
			say ""
			say "pod $namespace/$pod is not ready:"
			kube -n "$namespace" get pod "$pod" -o wide --no-headers >&2 || true
			kube -n "$namespace" get pod "$pod" -o jsonpath='{range .status.containerStatuses[*]}{.name}{": "}{.state}{"\n"}{end}' \
				2>/dev/null | indent || true
			say "  events:"
			kube -n "$namespace" get events --field-selector "involvedObject.name=$pod" --sort-by=.lastTimestamp \
				-o custom-columns=REASON:.reason,MESSAGE:.message --no-headers 2>/dev/null | tail -n 5 | indent || true
			say "  log:"
			{ kube -n "$namespace" logs "$pod" --all-containers --tail=12 2>/dev/null ||
				kube -n "$namespace" logs "$pod" --all-containers --tail=12 --previous 2>/dev/null; } | indent || true
		done < <(not_ready_pods "$namespace")
	done
}

not_ready_pods() {
	kube -n "$1" get pods -o \
		jsonpath='{range .items[*]}{.metadata.name}{" "}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' \
		2>/dev/null | awk '$2 != "True" {print $1}'
}

indent() { cut -c1-300 | sed 's/^/    /' >&2; }
