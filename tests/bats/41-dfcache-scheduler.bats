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

start_scheduler()
{
	log=$BATS_TEST_TMPDIR/scheduler.log
	rm -f "$log"
	"$PYTHON" "$TOP/tests/interop/strict_scheduler.py" "$(node_ip 9):8002" >"$log" 2>&1 3>&- &
	scheduler=$!
	wait_until 20 grep -q ready "$log"
}

stop_scheduler()
{
	kill "$scheduler"
	wait "$scheduler" || :
	scheduler=""
}

start_node()
{
	export NODES_PEERS=""
	node_start 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 9):8002" "$@"
	wait_until 20 grep -q "^host $(node_ip 1)-node1" "$log"
}

@test "a scheduler that wants a ttl of five minutes says so, and 5m is taken" {
	local f=$BATS_TEST_TMPDIR/f
	start_scheduler
	start_node
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

@test "what the scheduler has already is imported when its shape is the same" {
	local f=$BATS_TEST_TMPDIR/f
	start_scheduler
	start_node
	head -c 100000 /dev/urandom >"$f"
	id=$(on 1 import "$f" --ttl 10m)
	[ "$(on 1 import "$f" --ttl 10m)" = "$id" ]
	# of another node, too: its copy is not kept, because the scheduler does not know it
	node_start 2 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 9):8002"
	[ "$(on 2 import "$f" --ttl 10m)" = "$id" ]
	run -0 on 2 ls --json
	[ "$output" = "[]" ]
	id=$(on 1 import "$f" --ttl 10m --content-for-calculating-task-id words)
	truncate -s 99999 "$f"
	run ! --separate-stderr on 2 import "$f" --ttl 10m --content-for-calculating-task-id words
	[[ $stderr == *"exists already with other content"* ]]
}

@test "the trace of a caller goes on to the scheduler" {
	start_scheduler
	start_node
	export TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
	on 1 import "$log" --ttl 10m
	grep -qx "trace $TRACEPARENT" "$log"
	in_log 1 dfdaemon "import: done .* trace=$TRACEPARENT"
	# what is no such header stays here
	TRACEPARENT=$'x\n' on 1 import "$0" --ttl 10m
	[ "$(grep '^trace' "$log" | tail -1)" = "trace None" ]
}

@test "an orderly stop takes the host out of the scheduler's list, for good" {
	start_scheduler
	start_node peer.announce_interval=1s
	node_stop 1
	wait_until 20 grep -q "^gone $(node_ip 1)-node1" "$log"
	[ "$(tail -n 1 "$log")" = "gone $(node_ip 1)-node1" ]
}

@test "a scheduler that is away for a moment, and comes back without its memory" {
	local f=$BATS_TEST_TMPDIR/f
	start_scheduler
	# so long that only being asked tells the new one of this host
	start_node peer.announce_interval=1h
	head -c 100000 /dev/urandom >"$f"
	stop_scheduler
	on 1 import "$f" --ttl 10m >"$BATS_TEST_TMPDIR/id" 3>&- &
	import=$!
	wait_until 20 in_log 1 dfdaemon "does not answer, trying again"
	start_scheduler
	wait "$import"
	[ -s "$BATS_TEST_TMPDIR/id" ]
	grep -q "^host $(node_ip 1)-node1" "$log"
}
