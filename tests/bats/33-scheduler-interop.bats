#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# the embedded scheduler as foreign peers see it: the published Python package of the API at a real dfdaemon

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
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

@test "foreign peers import, replicate, fetch, reschedule and delete" {
	nodes_start 1 peer.disable_shared=yes
	run timeout 120 "$PYTHON" "$TOP/tests/interop/scheduler_client.py" "$(node_ip 1):$NODES_PORT"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = ok ]
}
