#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 600
# our daemons alone under Dragonfly's real scheduler, and what happens when that or its Redis goes away
# shellcheck disable=SC2154 # bats sets stderr

bats_require_minimum_version 1.5.0
load ../lib/dragonfly

setup()
{
	dragonfly_needs DRAGONFLY_SCHEDULER REDIS_SERVER
	dragonfly_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || dragonfly_show
	dragonfly_end
}

imported() # I FILE TAG [ARG...]: the id
{
	local i=$1 file=$2 tag=$3
	shift 3
	cli ours "$i" import "$file" --tag "$tag" --ttl 1h "$@"
}

has_nothing() # I
{
	[ "$(cli ours "$1" ls --json)" = "[]" ]
}

@test "replicas where the scheduler wants them, exported elsewhere, every size" {
	local i size id
	for i in 1 2 3; do
		ours_start "$i"
	done
	ours_start 4 peer.disable_shared=yes
	for size in 0 1 4194304 4194305 30000000; do
		random_file "$f" "$size"
		id=$(imported 1 "$f" "$size" --persistent-replica-count 4)
		[ "$id" = "$(task_of "$f" "$size")" ]
		wait_holder 2 "$id"
		wait_holder 3 "$id"
		cli ours 4 export "$id" -O "$f.out"
		cmp "$f" "$f.out"
		rm -f "$f.out"
	done
	# the replicas do without the one that imported
	node_stop 1
	wait_until 20 knows_no_host 1
	ours_start 5
	cli ours 5 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}

@test "what is imported again is the same task" {
	ours_start 1
	ours_start 2
	random_file "$f" 5000000
	id=$(imported 1 "$f" again --persistent-replica-count 2)
	wait_holder 2 "$id"
	[ "$(imported 1 "$f" again)" = "$id" ]
	[ "$(imported 2 "$f" again)" = "$id" ]
	cli ours 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}

@test "a task deleted at the scheduler goes away at the holders" {
	ours_start 1
	ours_start 2
	random_file "$f" 5000000
	id=$(imported 1 "$f" gone --persistent-replica-count 2)
	wait_holder 2 "$id"
	asks delete "$(node_ip 99):8002" "$id"
	wait_until 30 has_nothing 1
	wait_until 30 has_nothing 2
}

@test "the scheduler is killed and comes back, in the middle of an import and of an export" {
	ours_start 1
	ours_start 2 peer.disable_shared=yes
	random_file "$f" 100000000
	# it hears nothing, then it is dead: the import waits for the next one
	kill -STOP "$(cat "$CLUSTER/scheduler.pid")"
	imported 1 "$f" mid --persistent-replica-count 1 >"$f.id" 3>&- &
	import=$!
	scheduler_stop KILL
	scheduler_start
	wait "$import"
	id=$(cat "$f.id")
	[ "$id" = "$(task_of "$f" mid)" ]
	# an export that has its parents goes on without it
	ours_start 3 upload.bandwidth=20MB
	node_stop 2
	random_file "$f" 100000000
	id=$(imported 3 "$f" export --persistent-replica-count 1)
	ours_start 4 peer.disable_shared=yes
	cli ours 4 export "$id" -O "$f.out" 3>&- &
	export=$!
	wait_until 20 has_grown "$(node_dir 4)" 5000
	scheduler_stop KILL
	wait_until 20 has_grown "$(node_dir 4)" 40000
	scheduler_start
	wait "$export"
	cmp "$f" "$f.out"
	# and all is as before
	imported 1 "$f" after --persistent-replica-count 1
}

@test "Redis is killed and comes back: clear errors meanwhile, nothing is lost" {
	ours_start 1
	ours_start 2 peer.disable_shared=yes
	random_file "$f" 5000000
	id=$(imported 1 "$f" redis --persistent-replica-count 1)
	redis_stop KILL
	run ! --separate-stderr imported 1 "$f" other --persistent-replica-count 1
	[ -n "$stderr" ]
	run ! --separate-stderr cli ours 2 export "$id" -O "$f.out"
	[ -n "$stderr" ]
	[ ! -e "$f.out" ]
	redis_start
	wait_until 60 cli ours 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	wait_until 60 imported 1 "$f" other2 --persistent-replica-count 1
}

@test "Redis comes back empty: this host is announced again at once, and imports work" {
	ours_start 1 peer.announce_interval=1h
	random_file "$f" 5000000
	redis_stop KILL
	rm -rf "$CLUSTER/appendonlydir"
	redis_start
	wait_until 60 imported 1 "$f" empty --persistent-replica-count 1
}
