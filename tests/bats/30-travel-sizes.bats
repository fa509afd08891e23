#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# one file travels between two nodes: every size at which something changes, both loop back ends

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

travel() # FILE: import at 1, export at 2, compare
{
	local id
	id=$(on 1 import "$1")
	rm -f "$1.out"
	on 2 export "$id" -O "$1.out"
	cmp "$1" "$1.out"
	on 1 export "$id" -O "$1.out1"
	cmp "$1" "$1.out1"
}

sizes()
{
	local f=$BATS_TEST_TMPDIR piece=$((4 << 20)) n
	nodes_start 2
	for n in 0 1 $piece $((piece + 1)) $((3 * piece - 7)); do
		head -c "$n" /dev/urandom >"$f/of-$n"
		travel "$f/of-$n"
	done
}

@test "0 bytes, 1 byte, one piece, one piece + 1 byte and more travel (epoll)" {
	NODES_LOOP=epoll sizes
	in_log 1 dfdaemon "loop=epoll"
}

@test "0 bytes, 1 byte, one piece, one piece + 1 byte and more travel (io_uring)" {
	NODES_LOOP=auto nodes_start 1
	in_log 1 dfdaemon "loop=io_uring" || skip "io_uring is not allowed here"
	node_stop 1
	NODES_LOOP=io_uring sizes
}

@test "a sparse file of 5 GiB travels and stays sparse in every store" {
	local f=$BATS_TEST_TMPDIR/sparse i id used
	nodes_start 2
	truncate -s 5G "$f"
	for i in 0 1000000000 2500000000 5368709119; do
		printf 'data at %s' $i | dd of="$f" bs=1 seek=$i conv=notrunc status=none
	done
	truncate -s 5G "$f"
	id=$(on 1 import "$f")
	on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	for i in 1 2; do
		used=$(du -sm "$(node_dir $i)/cache" | cut -f1)
		echo "# node $i holds $used MiB"
		[ "$used" -lt 200 ]
	done
	used=$(du -sm "$f.out" | cut -f1)
	[ "$used" -lt 200 ]
}

@test "a tag, an application and a piece length make other tasks of the same bytes" {
	local f=$BATS_TEST_TMPDIR/f a b c d
	nodes_start 2
	head -c 9000000 /dev/urandom >"$f"
	a=$(on 1 import "$f")
	b=$(on 1 import --tag t "$f")
	c=$(on 1 import --application app "$f")
	d=$(on 1 import --piece-length 8MiB "$f")
	[ "$(printf '%s\n' "$a" "$b" "$c" "$d" | sort -u | wc -l)" = 4 ]
	on 2 export "$d" -O "$f.out"
	cmp "$f" "$f.out"
}

@test "the id of a file is its CRC-32 in decimal" {
	local f=$BATS_TEST_TMPDIR/f
	nodes_start 1
	printf 'This is a test file' >"$f"
	# dragonfly-p2p.md (a): worked example
	[ "$(on 1 import "$f")" = 656996176 ]
	[ "$(on 1 import --application app1 "$f")" = 735741469 ]
	[ "$(on 1 import --tag tag1 "$f")" = 3954905097 ]
}
