#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# damage costs one task on one node, and nobody notices: another peer has it

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
	head -c 20M /dev/urandom >"$f"
	head -c 5M /dev/urandom >"$f.2"
	nodes_start 2
	id=$(on 1 import --persistent-replica-count 1 "$f")
	id2=$(on 1 import --persistent-replica-count 1 "$f.2")
	for i in "$id" "$id2"; do
		on 2 export "$i" -O "$f.out"
		rm "$f.out"
	done
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show 25
	nodes_end
}

copy() { find "$(node_dir 2)/cache/pieces/tasks" -path "*/$id/$1"; }

traffic() # bytes that node 2 fetched from others
{
	exec 5<>"/dev/tcp/$(node_ip 2)/4002"
	printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' >&5
	tr -d '\r' <&5 | sed -n 's/^dragonfly_client_download_traffic{type="REMOTE_PEER"} //p'
	exec 5>&-
}

is_fetched_again() # and alone
{
	local before
	before=$(traffic)
	on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	[ "$(($(traffic) - before))" = 20971520 ]
	on 2 export "$id2" -O "$f.out2"
	cmp "$f.2" "$f.out2"
	[ "$(($(traffic) - before))" = 20971520 ]
}

@test "a flipped bit in the data: scrub finds it, the next export fetches it again" {
	data=$(copy data)
	chmod 600 "$data"
	printf 'damage' | dd of="$data" bs=1 seek=5000000 conv=notrunc status=none
	run -1 cachefilesctl -f "$(node_dir 2)/cachefilesd.conf" scrub --rate 0
	[[ "$output" == *"task $id"*"piece 1 does not match"* ]]
	is_fetched_again
}

@test "a damaged record found at start: the next export fetches it again" {
	node_stop 2
	record=$(copy meta)
	printf 'x' | dd of="$record" bs=1 seek=40 conv=notrunc status=none
	printf 'x' | dd of="$record" bs=1 seek=8232 conv=notrunc status=none
	node_start_store 2
	node_start_peer 2
	in_log 2 cachefilesd "a task does not verify and is dropped name=$id"
	wait_until 20 in_log 2 dfdaemon "peer.*$(node_ip 1)"
	is_fetched_again
}

@test "a damaged record found while it runs: the next export fetches it again" {
	# a lease that is kept for a moment has the record open
	node_kill_peer 2
	record=$(copy meta)
	printf 'x' | dd of="$record" bs=1 seek=40 conv=notrunc status=none
	printf 'x' | dd of="$record" bs=1 seek=8232 conv=notrunc status=none
	node_start_peer 2
	wait_until 20 in_log 2 dfdaemon "peer.*$(node_ip 1)"
	wait_until 20 on 2 export "$id2" -O "$f.out2"
	before=$(traffic)
	on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	grep -q "task does not verify and is dropped id=$id" "$(node_log 2 cachefilesd)"
	[ "$(($(traffic) - before))" = 20971520 ]
}
