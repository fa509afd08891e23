#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# SIGKILL of dfdaemon-broker at every system call of an export to a path, as clients of the documented
# tool ask for it: the output is the old file, the new file, or absent
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

load ../lib/dfcache

setup_file()
{
	[ -n "${PYTHON:-}" ] || { export WHY_NOT="the published Python schemas are not there: ${PYTHON_REASON:-}"; return 0; }
	# the number of the call is read at each start
	export N_FILE=$BATS_FILE_TMPDIR/n
	echo 0 >"$N_FILE"
	cat >"$BATS_FILE_TMPDIR/broker" <<-EOF
		#!/bin/sh
		exec '$BUILD/tests/tools/killat' "\$(cat '$N_FILE')" '$BUILD/bin/dfdaemon-broker' "\$@" 2>/dev/null
	EOF
	chmod +x "$BATS_FILE_TMPDIR/broker"
	dfcache_file_traced 1 local.broker_program="$BATS_FILE_TMPDIR/broker"
}

teardown_file() { dfcache_file_end; }

setup()
{
	dfcache_test
	head -c 300000 /dev/urandom >new
	head -c 1000 /dev/urandom >old
	id=$(on 1 import new)
}

killed_everywhere() # ARGS...
{
	local n
	n=$("$PYTHON" -B "$TOP/tests/interop/crash_paths.py" "$(node_socket 1)" "$id" new "$N_FILE" "$@")
	echo "# the broker was killed at its calls 1 to $n" >&3
	[ "$n" -gt 20 ]
}

@test "a new output" {
	killed_everywhere
}

@test "an output that is replaced" {
	killed_everywhere old
}

@test "a hard link, new and in place of a file" {
	killed_everywhere hardlink
	killed_everywhere old hardlink
}
