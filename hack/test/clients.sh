#!/usr/bin/env bash
# clients.sh runs unmodified providers from npm against two editors in single-process mode: one that takes everybody, and
# one that wants tokens. It ends what it started.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

hack/test/node.sh
npm --prefix test/clients ci --no-audit --no-fund --loglevel=error >/dev/null || {
	printf 'npm could not install the providers (see above); is its registry reachable? npm config get registry\n' >&2
	exit 1
}
folder=$(mktemp -d)
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$folder"
}
trap cleanup EXIT

go build -race -o "$folder/editor" ./cmd/editor
mkdir "$folder/keys"
secret=$(head -c 32 /dev/urandom | base64 -w 0)
printf '%s\n' "$secret" >"$folder/keys/jwt-secret"

# port prints a port of the loopback that nobody listens on.
port() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })'; }

# start NAME FLAG... starts an editor, and sets address when it is ready.
start() {
	local name=$1 internal
	shift
	address=127.0.0.1:$(port) internal=127.0.0.1:$(port)
	"$folder/editor" --data "$folder/$name" --listen "$address" --internal-listen "$internal" --drain-over 10ms \
		--operations-per-second 1000 --operation-burst 10000 "$@" 2>"$folder/$name.log" &
	pids+=($!)
	for _ in {1..200}; do
		! node -e "fetch('http://$internal/readyz').then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))" || return 0
		sleep 0.05
	done
	cat "$folder/$name.log" >&2
	printf 'the editor %s does not become ready (see above)\n' "$name" >&2
	exit 1
}
start open
open=$address
start guarded --auth-secret-dir "$folder/keys"
guarded=$address

result=0
OPEN=$open GUARDED=$guarded SECRET=$secret timeout 300 node --test --test-force-exit --test-reporter=spec test/clients/ || result=$?
if ((result != 0)) || grep -q "DATA RACE" "$folder"/*.log; then
	tail -n 100 "$folder"/*.log >&2
	exit 1
fi
