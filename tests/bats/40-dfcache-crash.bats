#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# SIGKILL of dfcache at every system call of the last stage of an export, and of dfdaemon while it
# serves one: the output is the old file, the new file, or absent
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

load ../lib/dfcache

setup_file() { dfcache_file_traced 1; }
teardown_file() { dfcache_file_end; }

setup()
{
	dfcache_test
	head -c 300000 /dev/urandom >new
	head -c 1000 /dev/urandom >old
}

# every N of the calls of one export, from @1 on: kill it there and look
kill_everywhere() # FIRST SETUP-COMMAND ALLOWED-OLD EXPORT-ARGS...
{
	local n=$1 setup=$2 old=$3 r is_new=0 was_killed=0
	shift 3
	while :; do
		rm -rf d
		mkdir d
		$setup
		r=0
		"$BUILD/tests/tools/killat" "$n" dfcache export "$id" -e "$(node_socket 1)" -O d/out "$@" >/dev/null 2>&1 || r=$?
		[ $r -eq 0 ] || [ $r -eq 3 ]
		if [ ! -e d/out ]; then
			[ "$old" = absent ] || { echo "call $n: the old file is gone"; return 1; }
		elif cmp -s d/out new; then
			is_new=1
		elif [ "$old" = absent ] || ! cmp -s d/out old; then
			echo "call $n: the output is neither old nor new"
			return 1
		fi
		# what else is there is hidden, and only where a name had to be taken for a moment
		if [ "$(find d -type f ! -name out ! -name '.out.*' | wc -l)" -ne 0 ]; then
			echo "call $n: $(ls -A d)"
			return 1
		fi
		[ $r -eq 0 ] || break
		was_killed=$((was_killed + 1))
		n=$((n + 1))
	done
	echo "# $was_killed points from call $((n - was_killed)) to $((n - 1)), new at the end: $is_new" >&3
	# the last one ran to its end
	[ "$is_new" -eq 1 ] && [ "$was_killed" -gt 20 ]
}

make_old() { cp old d/out; }

# how many calls an export makes in all; the last stage is what follows the answer
calls()
{
	"$BUILD/tests/tools/killat" 0 dfcache export "$id" -e "$(node_socket 1)" "$@" 2>&1 >/dev/null |
		sed -n 's/^calls \([0-9]*\)$/\1/p'
}

@test "a new output" {
	id=$(on 1 import new)
	total=$(calls -O count)
	kill_everywhere $((total > 120 ? total - 120 : 1)) : absent
}

@test "an output that is replaced" {
	id=$(on 1 import new)
	cp old count
	total=$(calls -O count --overwrite)
	kill_everywhere $((total > 120 ? total - 120 : 1)) make_old old --overwrite
}

@test "content over the socket" {
	id=$(on 1 import new)
	total=$(calls -O count --transfer-from-dfdaemon)
	kill_everywhere $((total > 120 ? total - 120 : 1)) make_old old --overwrite --transfer-from-dfdaemon
}

is_traced_or_gone() { is_gone "$1" || grep -q 'TracerPid:.*[1-9]' "/proc/$1/status"; }
nobody_listens() { [ -z "$(ss -Hltn src "$(node_ip 1)")" ]; }

nothing_hidden() { [ -z "$(find d -name '.out.*')" ]; }

@test "a daemon that is killed leaves the old file, or none" {
	local n pid is_over=0 killed=0
	id=$(on 1 import new)
	# every call of the daemon from the request on, until an export is over before its turn. Its broker
	# lives on and cleans up; what is left when that one dies is in 42-dfcache-crash-path.bats.
	for ((n = 1; !is_over; n++)); do
		for old in absent old; do
			rm -rf d
			mkdir d
			[ "$old" = absent ] || make_old
			pid=$(node_pid 1 dfdaemon)
			"$BUILD/tests/tools/killat" -p "$pid" "$n" 2>/dev/null &
			tracer=$!
			wait_until 10 is_traced_or_gone "$pid"
			# shellcheck disable=SC2086 # none, or one option (tests/long/dfcache-crash.sh)
			run on 1 export "$id" -O d/out --overwrite --timeout 10s ${CRASH_EXPORT:-}
			kill "$tracer" 2>/dev/null || :
			wait "$tracer" 2>/dev/null || :
			if [ -e d/out ]; then
				cmp -s d/out new || { [ "$old" = old ] && cmp d/out old; }
			else
				[ "$old" = absent ]
			fi
			wait_until 10 nothing_hidden # a broker may still be at it
			[ "$status" -ne 0 ] || { cmp d/out new && is_over=$((n > 20)); }
			if ! is_running "$pid"; then
				killed=$((killed + 1))
				# the sockets of a ring go a moment after their process
				wait_until 10 nobody_listens
				rm -f "$(node_socket 1)"
				node_start_peer 1
			fi
		done
	done
	echo "# dfdaemon was killed $killed times, up to call $((n - 1))" >&3
	[ "$killed" -gt 20 ]
}
