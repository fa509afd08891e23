#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# replicas of real daemons: made, replaced when a holder is killed, counted when it returns, deleted,
# and one content for one id whatever happened in between

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	cd "$BATS_TEST_TMPDIR" || return 1
	head -c 9000000 /dev/urandom >file
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

field() # NODE ID NAME: of dfcache stat --json
{
	on "$1" stat "$2" --json 2>/dev/null |
		python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$3"
}

holders() # NODE ID: the nodes with a complete copy that is a counted replica, in order
{
	on "$1" stat "$2" --json 2>/dev/null | python3 -c '
import json, sys
print(*sorted(h["hostname"][4:] for h in json.load(sys.stdin)["holders"]
              if h["persistent"] and h["state"] == "COMPLETE"))'
}

has_replicas() # NODE ID N
{
	[ "$(field "$1" "$2" replicas)" = "$3" ] && [ "$(holders "$1" "$2" | wc -w)" = "$3" ]
}

owner() # NODE ID: the number of the node that schedules it
{
	local o
	o=$(field "$1" "$2" owner)
	printf '%s' "${o##*node}"
}

kill_node() # I: without a word
{
	local p
	for p in dfdaemon cachefilesd; do
		kill -9 "$(node_pid "$1" $p)" || return 1
		wait "$(node_pid "$1" $p)" 2>/dev/null || :
		rm "$(node_dir "$1")/$p.pid"
	done
	rm -f "$(node_dir "$1")/store.sock" "$(node_socket "$1")"
	DEAD="$DEAD $1"
}

alive_one() # a live node
{
	local i
	for i in $NODES_PEERS; do
		case " ${DEAD:-} " in *" $i "*) ;; *) printf '%s' "$i"; return ;; esac
	done
	return 1
}

here() # I ID: is a copy on this node?
{
	[[ "$(on "$1" ls --json)" == *"\"$2\""* ]]
}
gone() # I ID: the node answers, and has none
{
	local all
	all=$(on "$1" ls --json) && [[ "$all" != *"\"$2\""* ]]
}

# The limits here are for a busy machine; how soon it is done is measured in tests/long and tests/bench.
@test "a killed holder is replaced, and counts again when it returns" {
	local id watcher killed i
	DEAD=
	nodes_start 5
	id=$(on 1 import file --persistent-replica-count 3)
	wait_until 30 has_replicas 2 "$id" 3
	killed=$(holders 1 "$id" | tr ' ' '\n' | grep -v "^$(owner 1 "$id")\$" | head -1)
	kill_node "$killed"
	watcher=$(alive_one)
	# asked once: between two questions the death may be noticed, and each would see half of it
	replaced()
	{
		local now
		now=$(holders "$watcher" "$id")
		[ "$(wc -w <<<"$now")" = 3 ] && [[ " $now " != *" $killed "* ]]
	}
	wait_until 60 replaced
	# back with its copy: four copies, of which three are counted after a while
	node_start "$killed"
	wait_until 60 here "$killed" "$id"
	four_copies_three_counted() { [ "$(field "$watcher" "$id" copies)" = 4 ] && has_replicas "$watcher" "$id" 3; }
	wait_until 60 four_copies_three_counted
	for i in $NODES_PEERS; do
		rm -f out
		on "$i" export "$id" -O out
		cmp file out
	done
}

@test "the owner is killed: the task is exported elsewhere, and is repaired" {
	local id o other
	DEAD=
	nodes_start 4
	id=$(on 1 import file)
	wait_until 30 has_replicas 1 "$id" 2
	o=$(owner 1 "$id")
	kill_node "$o"
	other=$(alive_one)
	on "$other" export "$id" -O out
	cmp file out
	wait_until 60 has_replicas "$other" "$id" 2
	[ "$(owner "$other" "$id")" != "$o" ]
}

@test "rm deletes every copy, also on a node that was away" {
	local id away i
	DEAD=
	nodes_start 4
	id=$(on 1 import file --persistent-replica-count 3)
	wait_until 30 has_replicas 1 "$id" 3
	away=$(holders 1 "$id" | tr ' ' '\n' | grep -v "^$(owner 1 "$id")\$" | head -1)
	kill_node "$away"
	i=$(alive_one)
	on "$i" rm "$id"
	run ! on "$i" stat "$id"
	for i in $NODES_PEERS; do
		[ "$i" = "$away" ] || wait_until 20 gone "$i" "$id"
	done
	node_start "$away"
	DEAD=
	wait_until 60 gone "$away" "$id"
	run ! on "$away" export "$id" -O out
	[ ! -e out ]
	# and it can come again
	[ "$(on "$away" import file)" = "$id" ]
	on 2 export "$id" -O out
	cmp file out
}

@test "one id, two contents: the second import is refused on every node, the first stays intact" {
	local id i
	DEAD=
	nodes_start 3
	head -c 5000000 /dev/urandom >other
	id=$(on 1 import file --content-for-calculating-task-id x)
	for i in 1 2 3; do
		run ! on "$i" import other --content-for-calculating-task-id x
		[[ "$output" == *"other content"* || "$output" == *"different content"* ]]
		rm -f out
		on "$i" export "$id" -O out
		cmp file out
	done
	[ "$(on 2 import file --content-for-calculating-task-id x)" = "$id" ]
}

@test "one id imported on two halves that did not see each other: the newer content is left" {
	local id i
	DEAD=
	head -c 5000000 /dev/urandom >newer
	NODES_PEERS="1 2 3 4"
	node_start 1
	node_start 2
	id=$(on 1 import file --content-for-calculating-task-id y)
	wait_until 60 has_replicas 2 "$id" 2
	node_stop 1
	node_stop 2
	node_start 3
	node_start 4
	[ "$(on 3 import newer --content-for-calculating-task-id y)" = "$id" ]
	wait_until 60 has_replicas 4 "$id" 2
	node_start 1
	node_start 2
	nodes_meet 4
	said() { in_log 1 dfdaemon "lost against a newer import" && in_log 2 dfdaemon "lost against a newer import"; }
	wait_until 60 said
	for i in 1 2 3 4; do
		rm -f out
		on "$i" export "$id" -O out
		cmp newer out
	done
}

@test "a new ttl holds at the same moment on every holder" {
	local id i before moment
	DEAD=
	nodes_start 3
	id=$(on 1 import file --persistent-replica-count 3)
	wait_until 30 has_replicas 1 "$id" 3
	before=$(date +%s)
	# the answer shows it already
	moment=$(on 2 ttl "$id" 2m --json | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["expires"])')
	moment=${moment%.*}
	[ "$moment" -ge $((before + 119)) ]
	[ "$moment" -le $(($(date +%s) + 121)) ]
	ends_then() # NODE
	{
		local e
		e=$(field "$1" "$id" expires)
		e=$((${e%.*} - moment))
		[ "$e" -ge -2 ] && [ "$e" -le 2 ]
	}
	for i in 1 2 3; do
		wait_until 20 ends_then "$i"
	done
}

# The store is away just when a copy must go.
@test "a deletion that finds the store away is done when it is back" {
	local id
	DEAD=
	nodes_start 2
	id=$(on 1 import file --persistent-replica-count 2)
	wait_until 30 has_replicas 1 "$id" 2
	kill -STOP "$(node_pid 2 cachefilesd)"
	on 1 rm "$id"
	wait_until 20 gone 1 "$id"
	node_end_process 2 cachefilesd KILL
	rm -f "$(node_dir 2)/store.sock"
	node_start_store 2
	wait_until 60 gone 2 "$id"
}
