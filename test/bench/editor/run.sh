#!/usr/bin/env bash
# run.sh [flags] builds this service and the benchmark, installs what it is compared with, and runs the benchmark: the
# servers on one processor, the load and the stores on another one.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

hack/test/stores.sh
servers=test/bench/editor/servers
if ! cmp -s "$servers/package-lock.json" "$servers/node_modules/.installed"; then
	printf 'installing Hocuspocus and y-websocket (some minutes if SQLite has to be compiled)\n'
	npm --prefix "$servers" ci --no-audit --no-fund --loglevel=error
	cp "$servers/package-lock.json" "$servers/node_modules/.installed"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/" ./cmd/editor ./test/bench/editor/floor
CGO_ENABLED=0 go build -o "$work/bench" ./test/bench/editor
(($(ulimit -Hn) >= 12000)) || printf 'the limit of open files, %s, is too low for 10,000 connections\n' "$(ulimit -Hn)" >&2
load=1
(($(nproc) > 1)) || load=0
taskset --cpu-list "$load" "$work/bench" -editor "$work/editor" -floor "$work/floor" \
	-load-cpus "$load" "$@"
