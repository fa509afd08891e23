#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# the address of a host changes while its daemon runs; and which address connections come from

bats_require_minimum_version 1.5.0
load ../lib/netns

setup()
{
	netns_possible >"$BATS_TEST_TMPDIR/why" || skip "$(cat "$BATS_TEST_TMPDIR/why")"
	cd "$BATS_TEST_TMPDIR" || return 1
	netns_begin "$BATS_TEST_TMPDIR/nodes" 3
	NODES_PEERS="1 2 3"
	head -c 9000000 /dev/urandom >file
}

teardown()
{
	[ -n "${NODES:-}" ] || return 0
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show 20
	netns_end
}

@test "another address on the interface: the listeners follow, the others are told, pieces are served from there" {
	local id
	node_start 1 peer.peer_networks=10.77.0.0/24
	node_start 2 peer.peer_networks=10.77.0.0/24
	node_start 3 peer.peer_networks=10.77.0.0/24 host.ip=
	nodes_meet 3
	id=$(on 3 import file --persistent-replica-count 1)
	netns_in 3 ip addr del 10.77.0.3/24 dev eth0
	netns_in 3 ip addr add 10.77.0.33/24 dev eth0
	wait_until 60 in_log 3 dfdaemon "address of this host has changed from=10.77.0.3 to=10.77.0.33"
	wait_until 60 in_log 3 dfdaemon "listened for at another address from=10.77.0.3 to=10.77.0.33"
	comes() { rm -f out; on 1 export "$id" -O out --timeout 20s && cmp file out; }
	wait_until 60 comes
	# and the other way: the moved one finds the others, and is trusted by them
	echo other >other
	id=$(on 3 import other --persistent-replica-count 3 --wait --timeout 60s)
	on 2 export "$id" -O out.2
	cmp other out.2
}

@test "connections come from the configured address, though the route prefers another" {
	local id
	# the first address of the interface is the one that the kernel would choose
	netns_in 2 ip addr del 10.77.0.2/24 dev eth0
	netns_in 2 ip addr add 10.77.0.22/24 dev eth0
	netns_in 2 ip addr add 10.77.0.2/24 dev eth0
	export NODES_PEERS="1 2"
	# nobody but the listed addresses is trusted
	node_start 1 peer.peer_networks=
	node_start 2 peer.peer_networks=
	nodes_meet 2
	id=$(on 2 import file --persistent-replica-count 2 --wait)
	on 1 export "$id" -O out
	cmp file out
	run ! in_log 1 dfdaemon 10.77.0.22
}
