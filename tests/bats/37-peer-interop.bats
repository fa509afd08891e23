#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# shellcheck disable=SC2034 # NODES_PEERS is read by nodes.bash
# dfdaemon's services as foreign programs see them: the published Python package of the API

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	PYTHON=${PYTHON-$TOP/build/venv/bin/python}
	if [ -z "$PYTHON" ] || [ ! -x "$PYTHON" ]; then
		skip "no Python with the packages of tests/requirements.txt: ${PYTHON_REASON:-make check makes one}"
	fi
	"$PYTHON" -c 'import grpc, dragonfly_api' 2>/dev/null || skip "no grpcio or dragonfly-api"
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
	head -c 13000000 /dev/urandom >"$f"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

foreign() # CASE ARG...
{
	run timeout 100 "$PYTHON" "$TOP/tests/interop/peer_client.py" "$@"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = ok ]
}

@test "an upstream child is told the pieces and gets them over Vortex, ids of both forms" {
	local id
	nodes_start 1
	id=$(on 1 import "$f")
	foreign parent "$(node_ip 1):$NODES_PORT" "$id" "$f"
	node_stop 1
	node_start 1 import.task_id=sha256
	id=$(on 1 import "$f")
	[ ${#id} = 64 ]
	foreign parent "$(node_ip 1):$NODES_PORT" "$id" "$f"
}

@test "events of an export: started, local pieces in order, their digests, their content" {
	local id
	nodes_start 2
	id=$(on 1 import --persistent-replica-count 1 "$f")
	foreign stream "$(node_socket 1)" "$id" "$f" local
	foreign stream "$(node_socket 2)" "$id" "$f" remote
	foreign stream "$(node_socket 2)" "$id" "$f" local
}

@test "a request over the network names no path and no output, and cannot import" {
	local id
	nodes_start 1
	id=$(on 1 import "$f")
	foreign refused "$(node_ip 1):$NODES_PORT" "$id"
	[ ! -e /tmp/never ]
}

@test "a stranger may not make us fetch, pin or delete" {
	local id
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	# shellcheck disable=SC2034 # nodes.bash reads it
	NODES_PEERS=1
	node_start 1 peer.peer_networks=10.255.0.0/24
	id=$(on 1 import --persistent-replica-count 1 "$f")
	foreign stranger "$(node_ip 1):$NODES_PORT" "$id"
	on 1 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}

@test "a trusted peer makes us fetch and hold, takes the pin off, deletes" {
	local id
	nodes_start 2
	id=$(on 1 import --persistent-replica-count 1 "$f")
	foreign trusted "$(node_ip 2):$NODES_PORT" "$id"
	[ "$(on 2 ls --json)" = "[]" ]
	on 1 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}

@test "requests that make no sense are refused, each with a sentence" {
	nodes_start 1
	foreign nonsense "$(node_socket 1)"
}
