#!/usr/bin/env bash
# supervise.sh NAME COMMAND... runs a program and starts it again, a second later, whenever it ends.
set -uo pipefail
name=$1
shift
while true; do
	"$@"
	printf '%s: %s ended with status %s; starting it again\n' "$(date -Is)" "$name" "$?"
	sleep 1
done
