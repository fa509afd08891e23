#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# programs on the published crates (vortex-protocol, dragonfly-api with tonic) at our dfdaemon

bats_require_minimum_version 1.5.0
load ../../lib/nodes

setup()
{
	peer=$BUILD/interop-rust/dfinterop
	[ ! -e "$BUILD/interop-rust/reason" ] || skip "$(cat "$BUILD/interop-rust/reason")"
	[ -x "$peer" ] || skip "not built: make check-interop does"
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

@test "an upstream child gets every piece of ours over Vortex, sizes around a piece" {
	local size id
	nodes_start 1 import.task_id=sha256
	for size in 1 4194303 4194304 4194305 13000000; do
		head -c "$size" /dev/urandom >"$f"
		id=$(on 1 import "$f")
		timeout 60 "$peer" child "$(node_ip 1):$NODES_PORT" "$id" "$f"
	done
}

@test "tonic on the unix socket: import by path, stat, export to a path, content in the stream" {
	local id
	nodes_start 1
	head -c 13000000 /dev/urandom >"$f"
	id=$(timeout 60 "$peer" cli "$(node_socket 1)" "$f" "$f.out")
	cmp "$f" "$f.out"
	timeout 60 "$peer" stream "$(node_socket 1)" "$id" "$f"
}
