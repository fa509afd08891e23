#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# cachefilesd as a process: background, pid file, signals, reload, rights, memory

bats_require_minimum_version 1.5.0
load ../lib/cachefilesd.bash

teardown()
{
	cleanup
	[ ! -s "$BATS_TEST_TMPDIR/pid" ] || kill -KILL "$(cat "$BATS_TEST_TMPDIR/pid")" 2>/dev/null || :
}

@test "in the background: status 0 when it serves, pid file, gone after the stop" {
	config
	run -0 cachefilesd -s -f "$CONF" -p "$BATS_TEST_TMPDIR/pid"
	pid=$(cat "$BATS_TEST_TMPDIR/pid")
	[ "$(cat "/proc/$pid/comm")" = cachefilesd ]
	# it serves already
	STORETOOL_WAIT=1 tool put a 100
	kill -TERM "$pid"
	wait_until 10 test ! -e "/proc/$pid"
	[ ! -e "$BATS_TEST_TMPDIR/pid" ]
	[ ! -e "$SOCK" ]
}

@test "in the background: a failure of the daemon is the status of the command" {
	config
	run -1 cachefilesd -s -f "$CONF" -p "$BATS_TEST_TMPDIR/no/such/pid"
	[[ "$output" == *"errno 2"* ]]
	mkdir "$SOCK"
	run -1 cachefilesd -s -f "$CONF" -p "$BATS_TEST_TMPDIR/pid"
	[[ "$output" == *"is no socket"* ]]
}

@test "SIGINT stops, SIGUSR1 does not, SIGHUP reads the configuration again" {
	config
	start
	kill -USR1 "$PID"
	config 'pins_max 30%' 'culltable 14'
	kill -HUP "$PID"
	wait_until 10 grep -q 'configuration read again' "$LOG"
	grep -q 'pins_max changed from "0" to "30"' "$LOG"
	grep -q 'a change of culltable needs a restart' "$LOG"
	# a bad one changes nothing
	config 'pins_max 30' 'tag x'
	kill -HUP "$PID"
	wait_until 10 grep -q 'the old one stays' "$LOG"
	grep -q "$CONF:10:pins_max" "$LOG"
	tool put a 10
	kill -INT "$PID"
	wait "$PID"
	PID=''
	grep -q 'Daemon Terminated' "$LOG"
}

@test "two daemons do not share a directory or a socket" {
	config
	start
	run -1 cachefilesd -n -s -f "$CONF"
	[[ "$output" == *"another daemon uses this directory"* ]]
	mkdir "$D.2"
	sed "s|^dir .*|dir $D.2|" "$CONF" >"$CONF.2"
	run -1 cachefilesd -n -s -f "$CONF.2"
	[[ "$output" == *"another daemon listens there"* ]]
	stop
}

@test "a stale socket is replaced" {
	config
	start
	kill -KILL "$PID"
	wait "$PID" || :
	[ -S "$SOCK" ]
	start
	tool put a 10
	stop
}

@test "without a kernel cache no capability is left, and no new ones come" {
	config
	start
	grep -q '^CapPrm:.0*$' "/proc/$PID/status"
	grep -q '^CapEff:.0*$' "/proc/$PID/status"
	grep -q '^NoNewPrivs:.1' "/proc/$PID/status"
	grep -q '^Seccomp:.2' "/proc/$PID/status"
	tool put a 5000
	tool get a
	tool rm a
	stop
}

@test "only the owner may connect, others are told why" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	open_directory
	SOCK=$OPEN/sock
	config
	start
	[ "$(stat -c %a "$SOCK")" = 600 ]
	stop
	config 'socket_group nogroup'
	start
	[ "$(stat -c '%a %G' "$SOCK")" = '660 nogroup' ]
	cp "$TOOL" "$OPEN/tool"
	as() { setpriv --reuid 12345 --regid "$1" --clear-groups "$OPEN/tool" "$SOCK" "${@:2}"; }
	run -0 as nogroup put mine 10
	tool put theirs 10
	run -0 as nogroup get theirs
	run -1 as nogroup rm theirs
	[[ "$output" == *"belongs to uid 0, not to uid 12345"* ]]
	run -0 as nogroup rm mine
	# not in the group, but the file would let them in
	chmod 666 "$SOCK"
	STORETOOL_WAIT=1 run -3 as 12345 stat theirs
	grep -q 'client refused' "$LOG"
	cp "$(command -v cachefilesctl)" "$OPEN/ctl"
	run -3 setpriv --reuid 12345 --regid 12345 --clear-groups "$OPEN/ctl" -S "$SOCK" status
	[[ "$output" == *"this user may not use the store"* ]]
	stop
}

@test "idle memory: RssAnon + RssShmem below 4 MiB" {
	config
	start
	tool put a 1000
	read -r kb < <(awk '/^Rss(Anon|Shmem)/ {s += $2} END {print s}' "/proc/$PID/status")
	echo "# idle cachefilesd: $kb KiB private" >&3
	case $BUILD in *address*) skip "a build with sanitizers" ;; esac
	[ "$kb" -lt 4096 ]
	stop
}

@test "nothing is left open, and nothing is leaked, by a thousand clients" {
	config
	start
	tool put a 1000
	open_fds() { find "/proc/$PID/fd" -mindepth 1 | wc -l; }
	as_before() { [ "$(open_fds)" -le "$before" ]; }
	before=$(open_fds)
	for _ in $(seq 50); do tool get a >/dev/null; done
	tool opens a 1000 >/dev/null
	wait_until 5 as_before
	stop
}
