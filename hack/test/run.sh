#!/usr/bin/env bash
# run.sh [stage...] runs the test stages one after the other (all of them without arguments), tells how long each took,
# and ends with how many passed. A stage is a target of the Makefile. Programs that a later stage needs are built in the
# background meanwhile, because the first build of Kubernetes takes longer than everything else.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

stages=("$@")
[[ $# -gt 0 ]] || stages=(verify lint test-unit test-controlplane test-stores test-clients test-fuzz test-e2e)

log=$(mktemp)
builder=
if [[ " ${stages[*]} " == *" test-e2e "* ]]; then
	hack/local-cluster/packages.sh
	hack/local-cluster/build.sh >"$log" 2>&1 &
	builder=$!
fi
cleanup() {
	[[ -z $builder ]] || kill "$builder" 2>/dev/null || true
	rm -f "$log"
}
trap cleanup EXIT

passed=0 failed=0 table=
for stage in "${stages[@]}"; do
	if [[ $stage == test-e2e && -n $builder ]]; then
		printf '\n==> waiting for the programs of the local cluster (first time: about 20 minutes)\n'
		wait "$builder" || {
			tail -n 20 "$log" >&2
			printf 'the programs of the local cluster could not be built: see above, then run make test again\n' >&2
		}
		builder=
	fi
	printf '\n==> %s\n' "$stage"
	started=$SECONDS
	if make --no-print-directory "$stage"; then
		passed=$((passed + 1)) result=passed
	else
		failed=$((failed + 1)) result=FAILED
	fi
	table+=$(printf '%-20s %-8s %5d s' "$stage" "$result" $((SECONDS - started)))$'\n'
done

printf '\n%s%-20s %-8s %5d s\n\n' "$table" total "" "$SECONDS"
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed == 0 ]]
