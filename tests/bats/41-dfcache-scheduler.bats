#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# what a Dragonfly scheduler refuses reaches the user in the scheduler's own words
# shellcheck disable=SC2154 # bats sets stderr

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	PYTHON=${PYTHON-$TOP/build/venv/bin/python}
	if [ -z "$PYTHON" ] || ! "$PYTHON" -c 'import grpc, dragonfly_api' 2>/dev/null; then
		skip "no Python with the packages of tests/requirements.txt: ${PYTHON_REASON:-make check makes one}"
	fi
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	printf '[dfcache]\nlog_dir =\n' >"$BATS_TEST_TMPDIR/dfcache.conf"
	export DFCACHE_CONFIG=$BATS_TEST_TMPDIR/dfcache.conf
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	[ -z "${scheduler:-}" ] || kill "$scheduler" 2>/dev/null || :
	nodes_end
}

@test "a scheduler that wants a ttl of five minutes says so, and 5m is taken" {
	local log=$BATS_TEST_TMPDIR/scheduler.log f=$BATS_TEST_TMPDIR/f
	"$PYTHON" "$TOP/tests/interop/strict_scheduler.py" "$(node_ip 9):8002" >"$log" 2>&1 3>&- &
	scheduler=$!
	wait_until 20 grep -q ready "$log"
	export NODES_PEERS=""
	node_start 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 9):8002"
	head -c 5000000 /dev/urandom >"$f"
	run -3 --separate-stderr on 1 import "$f" --ttl 1m --persistent-replica-count 1
	[[ $stderr == *"ttl must be at least 5 minutes here"* ]]
	[ -z "$output" ]
	# nothing is left of what was refused
	run -0 on 1 ls --json
	[ "$output" = "[]" ]
	run -0 --separate-stderr on 1 import "$f" --ttl 5m --persistent-replica-count 1
	[ -z "$stderr" ]
	[ ${#output} -eq 64 ]
}
