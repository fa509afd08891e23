#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1500
# the whole journey with the programs built with sanitizers, on both loop back ends, and under
# valgrind on epoll: not one complaint, not one leak

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	SAN_BIN=$TOP/build-address-undefined/bin
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	export NODES_SCALE=6
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show 40
	nodes_end
}

sanitized()
{
	[ -x "$SAN_BIN/dfdaemon" ] || skip "there is no build with sanitizers (make SAN=address,undefined)"
	PATH=$SAN_BIN:$PATH
	export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1
}

# stop both daemons of every node in order: each must end with status 0
nodes_end_well()
{
	local i p
	for i in "$@"; do
		for p in dfdaemon cachefilesd; do
			kill -TERM "$(node_pid "$i" $p)"
			wait "$(node_pid "$i" $p)" || {
				echo "# node $i: $p ended with status $?" >&2
				return 1
			}
			rm -f "$(node_dir "$i")/$p.pid"
		done
	done
}

# import, same content again, replicas, export by descriptor, by path, as a stream, stat, remove; and
# what is refused
journey() # BYTES
{
	local f=$BATS_TEST_TMPDIR/file id
	head -c "$1" /dev/urandom >"$f"
	id=$(on 1 import "$f")
	[ "$(on 1 import "$f")" = "$id" ]
	on 2 stat "$id" >/dev/null
	on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	on 3 export "$id" --transfer-from-dfdaemon -O "$f.stream"
	cmp "$f" "$f.stream"
	run -4 on 3 export 4294967295 -O "$f.none"
	run ! on 1 import "$BATS_TEST_TMPDIR"
	: >"$f.empty"
	id=$(on 2 import "$f.empty")
	on 1 export "$id" -O "$f.empty.out"
	[ -e "$f.empty.out" ] && [ ! -s "$f.empty.out" ]
}

@test "with address and undefined behaviour sanitizers on epoll" {
	sanitized
	NODES_LOOP=epoll nodes_start 3
	journey $(((4 << 20) * 3 + 1))
	nodes_end_well 1 2 3
}

@test "with address and undefined behaviour sanitizers on io_uring" {
	sanitized
	nodes_start 1
	in_log 1 dfdaemon "loop=io_uring" || skip "io_uring is not allowed here"
	nodes_end_well 1
	NODES_LOOP=io_uring nodes_start 3
	journey $(((4 << 20) * 3 + 1))
	nodes_end_well 1 2 3
}

@test "under valgrind on epoll with a file of 64 MiB" {
	command -v valgrind >/dev/null || skip "valgrind is not installed"
	export NODES_WRAP="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite"
	NODES_LOOP=epoll nodes_start 3
	journey $((64 << 20))
	nodes_end_well 1 2 3
	run ! grep -h '^==[0-9]*==' "$NODES"/*/*.log
}
