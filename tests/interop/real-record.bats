#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 600
# what Dragonfly's own programs and ours say to each other, written down, and read by our code as test_recorded reads
# the files of tests/data/recorded. With DRAGONFLY_RECORD=DIR that is where they go: this is how those files were made.

bats_require_minimum_version 1.5.0
load ../lib/dragonfly

setup()
{
	dragonfly_needs DRAGONFLY_SCHEDULER REDIS_SERVER
	dragonfly_begin "$BATS_TEST_TMPDIR/nodes"
	into=${DRAGONFLY_RECORD:-$BATS_TEST_TMPDIR/recorded}
	mkdir -p "$into"
	recorders=()
	f=$BATS_TEST_TMPDIR/f
	# one piece of 1000 bytes, the same in every recording
	seq 1000 | tr -d '\n' | head -c 1000 >"$f"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || dragonfly_show
	for pid in "${recorders[@]}"; do
		kill "$pid" 2>/dev/null || :
	done
	dragonfly_end
}

record() # NAME WHAT LISTEN TARGET...
{
	local log=$BATS_TEST_TMPDIR/record-$1.log
	"$PYTHON" "$TOP/tests/interop/record.py" "$into/$1" "$2, recorded $(date -u +%F)" "${@:3}" >"$log" 2>&1 3>&- &
	recorders+=($!)
	wait_until 20 grep -q ready "$log"
}

recorded() # NAME: is there, and understood; connections on which nothing was asked do not count
{
	local file n=0
	for file in "$into/$1"-*.txt; do
		if ! "$BUILD/tests/test_recorded" "$file" >"${file%.txt}.expected"; then
			return 1
		fi
		if [ -s "${file%.txt}.expected" ]; then
			n=$((n + 1))
		else
			rm -f "$file" "${file%.txt}.expected"
		fi
	done
	[ "$n" -gt 0 ]
}

understood() # NAME TEXT: one of its recordings says that
{
	grep -q -- "$2" "$into/$1"-*.expected
}

@test "the scheduler, and our daemons as its clients" {
	local id
	record their-server-scheduler "dragonfly scheduler to our dfdaemon" "$(node_ip 98):8002" "$(node_ip 99):8002"
	node_start 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 98):8002"
	wait_until 20 knows_host 1
	node_start 2 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 98):8002" peer.disable_shared=yes
	wait_until 20 knows_host 2
	cli ours 1 import "$f" --tag recorded --ttl 1h --persistent-replica-count 1
	id=$(task_of "$f" recorded)
	run ! cli ours 1 stat 0000000000000000000000000000000000000000000000000000000000000000
	cli ours 2 export "$id" --transfer-from-dfdaemon -O "$f.out"
	cmp "$f" "$f.out"
	: >"$f.empty"
	cli ours 1 import "$f.empty" --tag recorded --ttl 1h --persistent-replica-count 1
	cli ours 2 export "$(task_of "$f.empty" recorded)" --transfer-from-dfdaemon -O "$f.out2"
	node_stop 2
	node_stop 1
	recorded their-server-scheduler
	understood their-server-scheduler "UploadPersistentCacheTaskFinished ends OK"
	understood their-server-scheduler "AnnouncePersistentCachePeer answers .*candidate_cache_parents"
	understood their-server-scheduler "AnnouncePersistentCachePeer ends OK"
	understood their-server-scheduler "StatPersistentCacheTask ends NOT_FOUND"
	understood their-server-scheduler "DeleteHost ends OK"
}

@test "their command line, on our daemon" {
	local id version
	dragonfly_needs DRAGONFLY_DFCACHE
	ours_start 1
	version=$("$DRAGONFLY_DFCACHE" --version)
	record their-client-dfcache "$version to our dfdaemon" "$NODES/s" "$(node_socket 1)"
	theirs_says() { HOME=$CLUSTER timeout 60 "$DRAGONFLY_DFCACHE" "$1" -e "$NODES/s" "${@:2}"; }
	# a path that is the same wherever it is recorded
	(cd / && cp "$f" /tmp/dfcache-recorded.$$ && theirs_says import "/tmp/dfcache-recorded.$$" \
		--tag recorded --ttl 1h --persistent-replica-count 1)
	rm -f /tmp/dfcache-recorded.$$
	id=$(task_of "$f" recorded)
	theirs_says stat "$id"
	theirs_says export "$id" --transfer-from-dfdaemon -O "$f.out"
	cmp "$f" "$f.out"
	recorded their-client-dfcache
	understood their-client-dfcache "UploadPersistentCacheTask"
	understood their-client-dfcache "need_piece_content=yes"
}

@test "their daemon as our child, and as our parent" {
	local id
	dragonfly_needs DRAGONFLY_DFDAEMON DRAGONFLY_DFCACHE
	version=$("$DRAGONFLY_DFDAEMON" --version)
	# node 1 advertises .1 and listens at .11: what stands between is at .1
	record their-client-child "$version to our dfdaemon" "$(node_ip 1):$NODES_PORT" "$(node_ip 11):$NODES_PORT"
	record their-child-vortex "$version to our dfdaemon" "$(node_ip 1):$NODES_PIECE_PORT" \
		"$(node_ip 11):$NODES_PIECE_PORT"
	ours_start 1 "peer.listen=$(node_ip 11)"
	THEIRS_LISTEN=$(node_ip 12) theirs_start 2
	record their-server-parent "$version to our dfdaemon" "$(node_ip 2):$NODES_PORT" "$(node_ip 12):$NODES_PORT"
	record their-parent-vortex "$version to our dfdaemon" "$(node_ip 2):$NODES_PIECE_PORT" \
		"$(node_ip 12):$NODES_PIECE_PORT"
	cli ours 1 import "$f" --tag one --ttl 1h --persistent-replica-count 1
	id=$(task_of "$f" one)
	cli theirs 2 export "$id" --transfer-from-dfdaemon -O "$f.out"
	cmp "$f" "$f.out"
	cli theirs 2 import "$f" --tag two --ttl 1h --persistent-replica-count 1
	id=$(task_of "$f" two)
	cli ours 1 export "$id" --transfer-from-dfdaemon -O "$f.out2"
	cmp "$f" "$f.out2"
	# what theirs imported by a hard link has no digests, and that is counted
	curl -s --max-time 5 "http://$(node_ip 1):4002/metrics" | grep -q '^dfcachefiles_pieces_without_digest_total 1$'
	recorded their-client-child
	recorded their-child-vortex
	recorded their-server-parent
	recorded their-parent-vortex
	understood their-client-child "SyncPersistentCachePieces"
	understood their-child-vortex "tag 4 asks for piece 0"
	understood their-server-parent "SyncPersistentCachePieces answers .*tcp_port"
	understood their-parent-vortex "1000 bytes"
}
