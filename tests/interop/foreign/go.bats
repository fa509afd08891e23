#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# grpc-go and the published Go API: at our dfdaemon, and as the scheduler and the parent of ours

bats_require_minimum_version 1.5.0
load ../../lib/nodes

setup()
{
	peer=$BUILD/interop-go/dfinterop
	[ ! -e "$BUILD/interop-go/reason" ] || skip "$(cat "$BUILD/interop-go/reason")"
	[ -x "$peer" ] || skip "not built: make check-interop does"
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
	log=$BATS_TEST_TMPDIR/go.log
	head -c 13000000 /dev/urandom >"$f"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || { nodes_show; [ ! -e "$log" ] || sed 's/^/# /' "$log" >&2; }
	for pid in ${cluster:-} ${pieces:-}; do
		kill "$pid" 2>/dev/null || :
	done
	nodes_end
}

@test "grpc-go as a client: health, import, 200 calls at once, content in the stream, deadline" {
	nodes_start 1
	run timeout 100 "$peer" client "$(node_socket 1)" "$(node_ip 1):$NODES_PORT" "$f"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = ok ]
}

@test "a scheduler and a parent in Go, pieces from Rust: our dfdaemon is their child" {
	local rust=$BUILD/interop-rust/dfinterop id=91ae5d9d7ea8763cc482e9999a6d5edac534a6000599777d6a26d1c66d2bab16
	[ -x "$rust" ] || skip "needs the Rust program for the pieces: $(cat "$BUILD/interop-rust/reason" 2>/dev/null)"
	"$rust" parent "$(node_ip 8):4005" "$f" 4194304 >"$BATS_TEST_TMPDIR/rust.log" 2>&1 3>&- &
	pieces=$!
	"$peer" cluster "$(node_ip 9):8002" "$(node_ip 8):4000" 4005 "$f" "$id" 4194304 >"$log" 2>&1 3>&- &
	cluster=$!
	wait_until 20 grep -q ready "$log"
	wait_until 20 grep -q ready "$BATS_TEST_TMPDIR/rust.log"
	node_write_config 1
	sed -i '/^peers =/d; /^peer_networks =/d' "$(node_dir 1)/dfcache.conf"
	node_start_store 1
	# announcements every second: connections of that scheduler end every two, by GOAWAY
	node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 9):8002" \
		peer.announce_interval=1s
	wait_until 20 grep -q "^host $(node_ip 1)-node1" "$log"
	on 1 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	wait_until 20 grep -q "^finished" "$log"
	count=$(grep -c ^host "$log")
	more() { [ "$(grep -c ^host "$log")" -ge $((count + 5)) ]; }
	wait_until 30 more
	run ! grep -q "^failed" "$log"
	run ! grep -qi "invalid" "$log"
}
