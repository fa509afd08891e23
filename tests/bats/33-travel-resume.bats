#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 600
# what was transferred is not transferred again: a fetch goes on after its daemons were killed, and
# content that is here is imported again without room being made for it

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show 25
	nodes_end
}

pieces_at_least() # I N: received by dfdaemon number I so far and told to its store
{
	find "$(node_dir "$1")/cache/pieces/incoming" -name meta \
		-exec od -An -v -tx4 -w16 -j16384 {} + 2>/dev/null |
		awk -v n="$2" '$1 == "45434950" {got++} END {exit got < n}'
}

served() # I: bytes of pieces that it sent
{
	curl -s "http://$(node_ip "$1"):4002/metrics" |
		awk '$1 == "dragonfly_client_upload_traffic" {print $2}'
}

begin() # two nodes, and a slow fetch of 48 MiB with some of it done
{
	head -c 48M /dev/urandom >"$f"
	nodes_start 2 upload.bandwidth=15MB
	id=$(on 1 import --piece-length 4MiB --persistent-replica-count 1 "$f")
	on 2 export "$id" -O "$f.out" 2>"$f.err" 3>&- &
	exporter=$!
	wait_until 60 pieces_at_least 2 3
}

goes_on()
{
	local before all had
	before=$(served 1)
	wait_until 60 on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	all=$(($(served 1) - before))
	echo "# before $before, then $all of $(stat -c %s "$f") bytes"
	had=$(sed -n 's/.*fetch: goes on with what was here.* pieces=\([0-9]*\) of=12.*/\1/p' \
		"$(node_log 2 dfdaemon)")
	[ "$had" -ge 3 ]
	[ "$all" = $(((12 - had) << 22)) ]
	# and the incoming directory holds nothing any more
	[ -z "$(find "$(node_dir 2)/cache/pieces/incoming" -name data)" ]
}

@test "dfdaemon killed in mid-transfer: the next export transfers only the rest" {
	begin
	node_kill_peer 2
	wait "$exporter" || :
	node_start_peer 2
	wait_until 20 in_log 2 dfdaemon "peer.*$(node_ip 1)"
	goes_on
}

@test "both daemons of the node killed: the next export transfers only the rest" {
	begin
	node_end_process 2 dfdaemon KILL
	node_end_process 2 cachefilesd KILL
	wait "$exporter" || :
	rm -f "$(node_dir 2)/store.sock"
	node_start_store 2
	node_start_peer 2
	wait_until 20 in_log 2 dfdaemon "peer.*$(node_ip 1)"
	goes_on
}

@test "dfdaemon stopped in order: the next export transfers only the rest" {
	begin
	node_end_process 2 dfdaemon TERM
	wait "$exporter" || :
	node_start_peer 2
	wait_until 20 in_log 2 dfdaemon "peer.*$(node_ip 1)"
	goes_on
}

@test "a piece of what was here that does not match is fetched again, alone" {
	begin
	node_kill_peer 2
	wait "$exporter" || :
	data=$(find "$(node_dir 2)/cache/pieces/incoming" -name data)
	meta=${data%data}meta
	# the first piece in the table
	n=$(od -An -v -tx4 -w16 -j16384 "$meta" | awk '$1 == "45434950" {print NR - 1; exit}')
	printf 'damage' | dd of="$data" bs=1 seek=$((n * 4194304 + 4242)) conv=notrunc status=none
	node_start_peer 2
	wait_until 20 in_log 2 dfdaemon "peer.*$(node_ip 1)"
	wait_until 60 on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	in_log 2 dfdaemon "fetch: goes on with what was here"
}

@test "content that is here is imported again without anything going for it" {
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	# shellcheck disable=SC2034 # read by node_write_config
	NODES_PEERS=1
	node_write_config 1
	echo "tasks_max_size 40MiB" >>"$(node_dir 1)/cachefilesd.conf"
	node_start_store 1
	node_start_peer 1
	head -c 20M /dev/urandom >"$f.a"
	head -c 15M /dev/urandom >"$f.b"
	head -c 20M /dev/urandom >"$f.c"
	a=$(on 1 import --persistent-replica-count 1 "$f.a")
	b=$(on 1 import --persistent-replica-count 1 "$f.b")
	ctl() { cachefilesctl -f "$(node_dir 1)/cachefilesd.conf" "$@"; }
	# replicas are pinned; for once they are not
	for id in "$a" "$b"; do
		"$BUILD/tests/bin/storetool" "$(node_dir 1)/store.sock" unpin "$id"
	done
	[ "$(on 1 import "$f.a")" = "$a" ]
	ctl ls | tee /dev/stderr | grep -q "$b"
	in_log 1 dfdaemon "import: .*$a"
	# other content of the same length is imported, and something goes
	"$BUILD/tests/bin/storetool" "$(node_dir 1)/store.sock" unpin "$a"
	c=$(on 1 import "$f.c")
	on 1 export "$c" -O "$f.out"
	cmp "$f.c" "$f.out"
}
