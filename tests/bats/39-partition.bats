#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# two halves that do not see each other import different content under one id, and meet again:
# no export ever mixes the two, one of them is left everywhere, and who lost is told in the log.
# PARTITION_N: nodes, 4 here and 8 in tests/long.

bats_require_minimum_version 1.5.0
load ../lib/netns

setup()
{
	netns_possible >"$BATS_TEST_TMPDIR/why" || skip "$(cat "$BATS_TEST_TMPDIR/why")"
	N=${PARTITION_N:-4}
	HALF=$((N / 2))
	W=$BATS_TEST_TMPDIR/work
	mkdir "$W"
	cd "$W" || return 1
	netns_begin "$BATS_TEST_TMPDIR/nodes" "$N"
}

teardown()
{
	[ -n "${W:-}" ] || return 0
	: >"$W/stop"
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show 20
	netns_end
}

sees() # N I...: these have so many live peers
{
	local n=$1 i
	shift
	for i in "$@"; do
		[ "$(netns_in "$i" curl -s -m 5 "http://$(node_ip "$i"):4002/metrics" |
			sed -n 's/^dfcachefiles_peers_live //p')" = "$n" ] || return 1
	done
}

has_replicas() # I ID N
{
	on "$1" stat --json "$2" | grep -q "\"replicas\": $3\b"
}

# Export again and again on a node: what comes is wholly one of the two, and in the halves the one of this half.
exporter() # I ID
{
	local out=$W/out.$1 is_split
	while [ ! -e "$W/stop" ]; do
		is_split=0
		[ -e "$W/joined" ] || is_split=1
		rm -f "$out"
		on "$1" export "$2" -O "$out" --timeout 60s >/dev/null 2>"$out.err" || continue
		if cmp -s "$out" older; then
			[ $is_split = 0 ] || [ "$1" -le "$HALF" ] || echo "node $1 has what the other half imported" >>bad
			echo "older on $1" >>seen
		elif cmp -s "$out" newer; then
			[ $is_split = 0 ] || [ "$1" -gt "$HALF" ] || echo "node $1 has what the other half imported" >>bad
			echo "newer on $1" >>seen
		else
			echo "node $1 exported a mixture" >>bad
		fi
	done
}

only_newer_is_left() # ID: in every store and for every caller
{
	local i f
	for i in $(seq "$N"); do
		rm -f final
		on "$i" export "$1" -O final --timeout 60s && cmp -s final newer || return 1
		while read -r f; do
			cmp -s "$f" newer || return 1
		done < <(find "$(node_dir "$i")/cache/pieces/tasks" -name data)
	done
}

@test "one id, two contents, two halves: never mixed, the newer is left, the losers are told" {
	local id i first second jobs=()
	mapfile -t first < <(seq "$HALF")
	mapfile -t second < <(seq $((HALF + 1)) "$N")
	nodes_start "$N"
	wait_until 60 sees $((N - 1)) "${first[@]}" "${second[@]}"
	# equal in the beginning, and of one length: a mixture would not show in the size
	head -c 12000000 /dev/urandom >older
	cp older newer
	head -c 7000000 /dev/urandom | dd of=newer bs=1000000 seek=5 conv=notrunc status=none
	: >bad
	: >seen
	netns_split "${second[@]}"
	wait_until 60 sees $((HALF - 1)) "${first[@]}" "${second[@]}"
	id=$(on 1 import older --content-for-calculating-task-id same --persistent-replica-count 2)
	[ "$(on "$N" import newer --content-for-calculating-task-id same --persistent-replica-count 2)" = "$id" ]
	wait_until 60 has_replicas 1 "$id" 2
	wait_until 60 has_replicas "$N" "$id" 2
	for i in $(seq "$N"); do
		grep -q . < <(find "$(node_dir "$i")/cache/pieces/tasks" -name data) && echo "$i" >>holders
		exporter "$i" "$id" 3>&- &
		jobs+=($!)
	done
	both_were_seen() { grep -q older seen && grep -q newer seen; }
	wait_until 60 both_were_seen
	: >joined
	netns_join
	wait_until 60 sees $((N - 1)) "${first[@]}" "${second[@]}"
	wait_until 120 only_newer_is_left "$id"
	: >stop
	wait "${jobs[@]}"
	cat bad
	[ ! -s bad ]
	only_newer_is_left "$id"
	for i in "${first[@]}"; do
		grep -qx "$i" holders || continue
		in_log "$i" dfdaemon "lost against a newer import"
		in_log "$i" dfdaemon "copy dropped id=$id"
	done
	echo "# exports: $(sort seen | uniq -c | xargs)" >&3
}
