#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 600
# parents that stop, die or lie do not hang an export: it goes on elsewhere, or fails with a sentence
# shellcheck disable=SC2154 # stderr: bats sets it

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
	head -c 40M /dev/urandom >"$f"
	# slow enough that a transfer is still running when something happens to it
	slow=upload.bandwidth=12MB
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show 25
	nodes_end
}

has_replicas() # I ID N
{
	on "$1" stat --json "$2" | grep -q "\"replicas\": $3\b"
}

fetch_begun() # I
{
	[ -n "$(find "$(node_dir "$1")/cache" -name data -size +1k -print -quit)" ]
}

start_export() # I ID: in the background, as $exporter
{
	on "$1" export "$2" -O "$f.out" 2>"$f.err" 3>&- &
	exporter=$!
	wait_until 20 fetch_begun "$1"
}

two_holders() # nodes 1 and 2 hold $id, 3 does not
{
	nodes_start 3 "$slow" download.progress_timeout=10s
	id=$(on 1 import "$f")
	wait_until 60 has_replicas 1 "$id" 2
	NODES_THIRD=3
	[ -e "$(node_dir 2)" ]
	if on 3 ls --json | grep -q "$id"; then NODES_THIRD=2; fi
	NODES_OTHER=$((5 - NODES_THIRD))
}

ends_within() # SECONDS PID
{
	wait_until "$1" is_gone "$2"
}

@test "a parent that is stopped in mid-transfer: the other holder goes on within seconds" {
	local begin
	two_holders
	start_export "$NODES_THIRD" "$id"
	kill -STOP "$(node_pid "$NODES_OTHER" dfdaemon)"
	begin=$SECONDS
	ends_within 40 "$exporter"
	wait "$exporter"
	echo "# went on and ended in $((SECONDS - begin)) s"
	cmp "$f" "$f.out"
	kill -CONT "$(node_pid "$NODES_OTHER" dfdaemon)"
}

@test "the importer killed in mid-transfer: the replica goes on" {
	two_holders
	start_export "$NODES_THIRD" "$id"
	kill -KILL "$(node_pid 1 dfdaemon)"
	ends_within 40 "$exporter"
	wait "$exporter"
	cmp "$f" "$f.out"
}

@test "stopped, then killed: the export goes on from the other holder" {
	two_holders
	start_export "$NODES_THIRD" "$id"
	kill -STOP "$(node_pid 1 dfdaemon)"
	wait_until 20 in_log "$NODES_THIRD" dfdaemon "parent lost\|peers: .* is \(gone\|lost\)" || :
	kill -KILL "$(node_pid 1 dfdaemon)"
	ends_within 40 "$exporter"
	wait "$exporter"
	cmp "$f" "$f.out"
}

@test "the only holder stopped: the export fails in time, naming pieces and parents" {
	nodes_start 2 "$slow" download.progress_timeout=5s
	id=$(on 1 import --persistent-replica-count 1 "$f")
	start_export 2 "$id"
	kill -STOP "$(node_pid 1 dfdaemon)"
	ends_within 40 "$exporter"
	if wait "$exporter"; then return 1; fi
	cat "$f.err"
	grep -q "pieces are missing" "$f.err"
	grep -q "$(node_ip 1):$NODES_PORT" "$f.err"
	[ ! -e "$f.out" ]
	# and it works again when the holder does
	kill -CONT "$(node_pid 1 dfdaemon)"
	wait_until 60 on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}

@test "the only holder killed: the export fails in time, and nothing half is left" {
	nodes_start 2 "$slow" download.progress_timeout=5s
	id=$(on 1 import --persistent-replica-count 1 "$f")
	start_export 2 "$id"
	kill -KILL "$(node_pid 1 dfdaemon)"
	ends_within 40 "$exporter"
	if wait "$exporter"; then return 1; fi
	grep -q "pieces are missing" "$f.err"
	[ ! -e "$f.out" ]
}

@test "an export that is cancelled stops the fetch and leaves nothing" {
	nodes_start 2 "$slow"
	id=$(on 1 import --persistent-replica-count 1 "$f")
	start_export 2 "$id"
	pkill -TERM -P "$exporter" dfcache || kill -TERM "$exporter"
	wait "$exporter" || :
	wait_until 20 in_log 2 dfdaemon "fetch: failed.*nobody waits"
	wait_until 20 nothing_in_store 2
	[ ! -e "$f.out" ]
}

nothing_in_store() # I
{
	[ -z "$(find "$(node_dir "$1")/cache" -name data -print -quit)" ]
}

@test "two exports at once of one task share one fetch" {
	local a b
	nodes_start 2 "$slow"
	id=$(on 1 import --persistent-replica-count 1 "$f")
	on 2 export "$id" -O "$f.a" 3>&- &
	a=$!
	on 2 export "$id" -O "$f.b" 3>&- &
	b=$!
	wait "$a"
	wait "$b"
	cmp "$f" "$f.a"
	cmp "$f" "$f.b"
	[ "$(grep -c 'fetch: done' "$(node_log 2 dfdaemon)")" = 1 ]
}

@test "cachefilesd restarted in mid-transfer, at both ends: the transfer goes on" {
	nodes_start 2 "$slow"
	id=$(on 1 import --persistent-replica-count 1 "$f")
	start_export 2 "$id"
	for i in 1 2; do
		node_end_process $i cachefilesd KILL
		rm -f "$(node_dir $i)/store.sock"
		node_start_store $i
	done
	ends_within 60 "$exporter"
	wait "$exporter"
	cmp "$f" "$f.out"
	on 2 ls --json | grep -q "$id"
}

@test "cachefilesd restarted while importing: the import goes on" {
	local pid id
	nodes_start 1
	head -c 600M /dev/zero | tr '\0' 'q' >"$f.big"
	on 1 import "$f.big" >"$f.id" 3>&- &
	pid=$!
	wait_until 20 fetch_begun 1
	node_end_process 1 cachefilesd KILL
	rm -f "$(node_dir 1)/store.sock"
	node_start_store 1
	ends_within 60 "$pid"
	wait "$pid"
	id=$(cat "$f.id")
	on 1 export "$id" -O "$f.out"
	cmp "$f.big" "$f.out"
}
