#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# readers over the socket that take nothing: they hold memory of dfdaemon's streams, 32 MiB in all, until
# others need it; one user holds half of it at most
# shellcheck disable=SC2154,SC2164 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	nodes_start 2
	cd "$BATS_TEST_TMPDIR"
	head -c 4000000 /dev/urandom >file
	printf '[dfcache]\nlog_dir =\n' >dfcache.conf
	export DFCACHE_CONFIG=$PWD/dfcache.conf
	id=$(on 1 import file --persistent-replica-count 1)
	on 2 export "$id" -O here
	tos=() readers=()
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	local to
	for to in "${tos[@]}"; do exec {to}>&-; done
	wait "${readers[@]}" || :
	nodes_end
}

# 80 of them, until told to go by the end of their standard input
stall() # NODE KIND [COMMAND-BEFORE...]
{
	local node=$1 kind=$2 to
	shift 2
	mkfifo "go$node" "said$node"
	"$@" "${PYTHON:-python3}" "$TOP/tests/interop/stalled.py" "$(node_socket "$node")" "$id" 80 "$kind" \
		<"go$node" >"said$node" 3>&- &
	readers+=($!)
	exec {to}>"go$node"
	tos+=("$to")
	read -r -t 60 <"said$node"
}

export_works() # NODE
{
	on "$1" export "$id" -O "out$1" --transfer-from-dfdaemon
	cmp file "out$1"
}

@test "readers that take nothing for 10 s lose to one that waits for the memory" {
	stall 1 socket
	stall 2 window
	export_works 1 &
	export_works 2
	wait $!
	in_log 1 dfdaemon 'the reader took nothing for 10 s while others waited'
	in_log 2 dfdaemon 'the reader took nothing for 10 s while others waited'
}

@test "one user's readers leave half to others" {
	[ "$(id -u)" -eq 0 ] || skip "needs root to be several users"
	chmod 711 "$BATS_RUN_TMPDIR" "$BATS_TEST_TMPDIR" "$NODES" "$(node_dir 1)"
	chmod 666 "$(node_socket 1)"
	PYTHON=python3
	stall 1 socket setpriv --reuid 12345 --regid 12345 --clear-groups
	export_works 1
	run -1 in_log 1 dfdaemon 'the reader took nothing'
}
