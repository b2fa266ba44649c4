# shellcheck shell=bash
# shellcheck disable=SC2154  # The settings are those of settings.sh.
# daemons.sh: programs that go on after the script that started them. Sourced, never run.
# A daemon is a process group whose leader restarts the program when it dies (supervise.sh). Its file in $state/run
# holds the leader's pid and start time, so that a pid that the kernel has given to somebody else is never killed.

daemon_file() { printf '%s/run/%s.pid' "$state" "$1"; }

# started_at PID prints the process's start time in clock ticks since boot, nothing when there is no such process.
started_at() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	# The second field is the program's name in parentheses and may hold spaces; the start time is the 22nd field.
	cut -d' ' -f20 <<<"${stat##*) }"
}

# daemon_pid NAME prints the leader's pid; fails when it does not run.
daemon_pid() {
	local pid start
	read -r pid start 2>/dev/null <"$(daemon_file "$1")" || return 1
	[[ -n $start && $(started_at "$pid") == "$start" ]] || return 1
	printf '%s' "$pid"
}

# start_daemon NAME COMMAND... does nothing when the daemon runs.
start_daemon() {
	local name=$1
	shift
	! daemon_pid "$name" >/dev/null || return 0
	mkdir -p "$state/run" "$logs"
	setsid bash "$local_cluster_dir/supervise.sh" "$name" "$@" </dev/null >>"$logs/$name.log" 2>&1 9>&- &
	record_daemon "$name" $!
}

record_daemon() { printf '%s %s\n' "$2" "$(started_at "$2")" >"$(daemon_file "$1")"; }

# stop_daemon NAME kills the whole group: no daemon has anything to say that outlives the cluster.
stop_daemon() {
	local pid
	if pid=$(daemon_pid "$1"); then
		kill -KILL -- "-$pid" 2>/dev/null || true
		await 10 group_gone "$pid" || warn "$1 (process group $pid) does not end"
	fi
	rm -f "$(daemon_file "$1")"
}

# group_gone PGID: a zombie counts as gone, it only waits for the machine's process 1 to take notice.
group_gone() { ! ps -eo pgid=,stat= | awk -v group="$1" '$1 == group && $2 !~ /^Z/ {alive = 1} END {exit !alive}'; }

# last_words NAME prints the end of the daemon's log, for an error message.
last_words() {
	say "the last lines of $logs/$1.log:"
	tail -n 15 "$logs/$1.log" 2>/dev/null | cut -c1-400 | sed 's/^/      /' >&2 || true
}
