# shellcheck shell=bash
# messages.sh: how the scripts speak to the person in front of them. Sourced, never run.
# Progress goes to stderr, so that a script's stdout stays usable by another script.

say() { printf '%s\n' "$*" >&2; }
note() { printf '      %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# die "what went wrong" "what to do about it"
die() {
	printf '\nerror: %s\n' "$1" >&2
	[[ $# -lt 2 ]] || printf '   do: %s\n' "$2" >&2
	exit 1
}

# await SECONDS COMMAND... runs the command until it succeeds; fails when the time is over.
await() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || return 1
		sleep 0.2
	done
}

need_root() {
	[[ $EUID == 0 ]] || die "this makes network namespaces and mounts, which only root may" "run it again with sudo -E"
}
