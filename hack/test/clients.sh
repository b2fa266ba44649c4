#!/usr/bin/env bash
# clients.sh runs unmodified providers from npm against editors, which the suites start and end themselves.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

node=$(hack/test/node.sh)
PATH=$node:$PATH
hack/test/stores.sh
# What y-websocket 2 lists as optional is its server's.
npm --prefix test/clients ci --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null || {
	printf 'npm could not install the providers (see above); is its registry reachable? npm config get registry\n' >&2
	exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
go build -race -o "$folder/editor" ./cmd/editor

# The suites run side by side; most of their time is waiting.
EDITOR=$folder/editor timeout 900 node --test --test-force-exit --test-concurrency=6 --test-reporter=spec \
	"$@" test/clients/*.test.mjs
