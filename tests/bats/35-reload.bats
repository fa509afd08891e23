#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# SIGHUP: dfdaemon takes what can change from its configuration, names what cannot, and keeps the old one when
# the new one is wrong

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	cd "$BATS_TEST_TMPDIR" || return 1
	head -c 9000000 /dev/urandom >file
	conf=$(node_dir 1)/dfcache.conf
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

hup() # LOG-LINE: SIGHUP to node 1, until it says that
{
	kill -HUP "$(node_pid 1 dfdaemon)"
	wait_until 20 in_log 1 dfdaemon "$1"
}

@test "limits and places change, the rest is named, command line wins" {
	nodes_start 1 upload.bandwidth=7MB
	printf '[import]\nmax_ttl = 1h\n[upload]\nbandwidth = 9MB\n' >>"$conf"
	sed -i 's/^max_ttl/default_ttl = 30m\n&/' "$conf"
	hup "changed: import.max_ttl = 1h"
	run ! on 1 import file --ttl 2h --persistent-replica-count 1
	sed -i 's/^\[host\]/&\nidc = east/; s/^port = .*/port = 4444/; s/^max_ttl = .*/max_ttl = 1day/' "$conf"
	hup "changed: import.max_ttl = 1day"
	in_log 1 dfdaemon "changed: host.idc = east"
	in_log 1 dfdaemon "needs a restart: peer.port = 4444"
	run ! in_log 1 dfdaemon "upload.bandwidth"
	on 1 import file --ttl 2h --persistent-replica-count 1
}

@test "a wrong configuration: every error is named, nothing of it is taken" {
	nodes_start 1
	sed -i 's/^\[host\]/&\nidc = east/' "$conf"
	printf '[import]\nmax_ttl = soon\nmin_tll = 5m\n' >>"$conf"
	hup "the old configuration stays"
	in_log 1 dfdaemon "dfcache.conf:.*max_ttl"
	in_log 1 dfdaemon "dfcache.conf:.*min_tll"
	run ! in_log 1 dfdaemon "changed: "
	# good by itself, but not together; and a list whose items are wrong
	sed -i '/^max_ttl/d; /^min_tll/d' "$conf"
	printf 'max_ttl = 2m\nmin_ttl = 5m\n' >>"$conf"
	hup "max_ttl is shorter than min_ttl"
	sed -i '/^m.._ttl/d; s/^peer_networks = .*/peer_networks = 10.0.0.0\/99/' "$conf"
	hup 'peer_networks: "10.0.0.0/99" is not a network'
	run ! in_log 1 dfdaemon "changed: "
	on 1 import file --persistent-replica-count 1
}

@test "a peer that is added is found" {
	local id
	export NODES_PEERS=1
	node_start 1
	export NODES_PEERS="1 2"
	node_start 2
	sed -i "s/^peers = .*/peers = $(node_ip 1):4000, $(node_ip 2):4000/" "$conf"
	hup "the configuration was read again"
	wait_until 20 in_log 1 dfdaemon "peers: .*node2 is here"
	id=$(on 1 import file --persistent-replica-count 2 --wait --timeout 60s)
	on 2 export "$id" -O out
	cmp file out
}
