#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# peers by a name: it is looked up again and again, so that hosts that are added to it join the swarm
# shellcheck disable=SC2154,SC2164 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	[ "$(id -u)" -eq 0 ] || skip "needs root for a view of /etc/hosts of its own"
	unshare -m true 2>/dev/null || skip "no mount namespaces here"
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	cd "$BATS_TEST_TMPDIR"
	cp /etc/hosts hosts
	cat >wrap <<-EOF
		#!/bin/sh
		exec unshare -m sh -c 'mount --bind "$PWD/hosts" /etc/hosts && exec "\$@"' sh "\$@"
	EOF
	chmod +x wrap
	export NODES_WRAP=$PWD/wrap
	printf '[dfcache]\nlog_dir =\n' >dfcache.conf
	export DFCACHE_CONFIG=$PWD/dfcache.conf
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

replicas() { [ "$(on 1 stat "$id" --json | jq .replicas)" -eq "$1" ]; }

@test "peers that know nobody but themselves meet when the name has both" {
	local i
	head -c 5000000 /dev/urandom >file
	export NODES_PEERS=
	echo "$(node_ip 9) swarm.test" >>hosts # nobody is there
	for i in 1 2; do
		node_start "$i" peer.peers="swarm.test:$NODES_PORT" peer.resolve_interval=1s
	done
	id=$(on 1 import file)
	run -4 --separate-stderr on 2 export "$id" -O out --timeout 20s
	for i in 1 2; do echo "$(node_ip "$i") swarm.test"; done >>hosts
	wait_until 30 in_log 1 dfdaemon "peer.*$(node_ip 2)"
	wait_until 30 in_log 2 dfdaemon "peer.*$(node_ip 1)"
	# the replica that was missing is made
	wait_until 60 replicas 2
	on 2 export "$id" -O out
	cmp file out
}
