#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# schedulers and block lists from a manager; a strict one is played with the published schemas
# shellcheck disable=SC2154 # bats sets stderr

bats_require_minimum_version 1.5.0
load ../lib/nodes
load ../lib/certs

setup()
{
	PYTHON=${PYTHON-$TOP/build/venv/bin/python}
	if [ -z "$PYTHON" ] || ! "$PYTHON" -c 'import grpc, dragonfly_api' 2>/dev/null; then
		skip "no Python with the packages of tests/requirements.txt: ${PYTHON_REASON:-make check makes one}"
	fi
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	printf '[dfcache]\nlog_dir =\n' >"$BATS_TEST_TMPDIR/dfcache.conf"
	export DFCACHE_CONFIG=$BATS_TEST_TMPDIR/dfcache.conf
	log=$BATS_TEST_TMPDIR/manager.log
	f=$BATS_TEST_TMPDIR/f
	head -c 100000 /dev/urandom >"$f"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || { nodes_show; sed 's/^/# /' "$log" >&2; }
	[ -z "${manager:-}" ] || kill "$manager" 2>/dev/null || :
	nodes_end
}

one() # IP STATE CLUSTER: a scheduler in the manager's words
{
	printf '{"ip": "%s", "port": 8002, "state": "%s", "cluster": %s}' "$(node_ip "$1")" "$2" "$3"
}

state() # [MEMBER...]: what the manager says from now on
{
	local IFS=,
	printf '{"serve": ["%s:8002", "%s:8002"], %s}' "$(node_ip 8)" "$(node_ip 9)" "$*" \
		>"$BATS_TEST_TMPDIR/state.new"
	mv "$BATS_TEST_TMPDIR/state.new" "$BATS_TEST_TMPDIR/state"
}

start_manager() # [CA CERT KEY]
{
	rm -f "$log"
	"$PYTHON" "$TOP/tests/interop/strict_manager.py" "$(node_ip 7):65003" "$BATS_TEST_TMPDIR/state" "$@" \
		>"$log" 2>&1 3>&- &
	manager=$!
	wait_until 20 grep -q ready "$log"
}

start_node() # [S.KEY=V...]
{
	node_write_config 1
	sed -i '/^peers =/d; /^peer_networks =/d' "$(node_dir 1)/dfcache.conf"
	node_start_store 1
	node_start_peer 1 peer.scheduler=dragonfly "manager.address=$(node_ip 7):65003" \
		manager.refresh_interval=1s host.idc=hall2 "$@"
}

@test "the healthy schedulers of one cluster are used; a change is noticed; silence changes nothing" {
	# 5 does not answer, 6 is out of service, 9 is of another cluster
	state "\"schedulers\": [$(one 5 active 1), $(one 6 inactive 1), $(one 8 active 1), $(one 9 active 2)]"
	start_manager
	start_node
	wait_until 20 in_log 1 dfdaemon "manager: schedulers n=1 cluster=1"
	grep -q "^asked node1 hall2 0" "$log"
	on 1 import --ttl 10m "$f"
	grep -q "^import $(node_ip 8):8002" "$log"
	run ! grep -q "$(node_ip 9)" "$log"
	# the host is told to every scheduler at once
	state "\"schedulers\": [$(one 9 active 1)]"
	wait_until 20 grep -q "^host $(node_ip 9):8002" "$log"
	on 1 import --ttl 10m --tag another "$f"
	grep -q "^import $(node_ip 9):8002" "$log"
	# an answer without a healthy one, an error, and no answer at all leave the last one in force
	state "\"schedulers\": [$(one 5 active 1)]"
	wait_until 20 in_log 1 dfdaemon "none of its 1 schedulers is healthy; 1 schedulers are known"
	on 1 import --ttl 10m --tag third "$f"
	state "\"schedulers\": []" '"refuse": "the database is away"'
	kill "$manager"
	wait "$manager" || :
	start_manager
	on 1 import --ttl 10m --tag fourth "$f"
}

@test "a manager that comes later is found" {
	state "\"schedulers\": [$(one 8 active 1)]"
	start_node
	wait_until 20 in_log 1 dfdaemon "manager: it does not tell the schedulers: .*; 0 schedulers are known"
	run ! on 1 import --ttl 10m "$f"
	start_manager
	wait_until 20 in_log 1 dfdaemon "manager: schedulers n=1"
	on 1 import --ttl 10m "$f"
}

@test "the manager's block list is honoured, and lifted" {
	state "\"schedulers\": [$(one 8 active 1)]" '"client_config": "{\"block_list\": {\"persistent_cache_task\": {\"upload\": {\"tags\": [\"secret\"]}, \"download\": {\"applications\": [\"game\"]}}}}"'
	start_manager
	start_node
	wait_until 20 in_log 1 dfdaemon "the block list has 2 entries"
	run ! --separate-stderr on 1 import --ttl 10m --tag secret "$f"
	[[ $stderr == *"upload rejected by blocklist policy"* ]]
	id=$(on 1 import --ttl 10m --tag open "$f")
	run ! --separate-stderr on 1 export --application game "$id" -O "$f.out"
	[[ $stderr == *"download blocked by block list"* ]]
	on 1 export "$id" -O "$f.out"
	state "\"schedulers\": [$(one 8 active 1)]"
	wait_until 20 in_log 1 dfdaemon "the block list has 0 entries"
	on 1 import --ttl 10m --tag secret "$f"
}

@test "manager and schedulers by mutual TLS" {
	C=$BATS_TEST_TMPDIR/certs
	mkdir "$C"
	certs_ca "$C" ca
	certs_issue "$C" ca cluster "IP:$(node_ip 7),IP:$(node_ip 8),IP:$(node_ip 9)"
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	state "\"schedulers\": [$(one 8 active 1), $(one 9 active 1)]"
	start_manager "$C/ca.pem" "$C/cluster.pem" "$C/cluster.key"
	start_node "manager.ca_cert=$C/ca.pem" "manager.cert=$C/node1.pem" "manager.key=$C/node1.key" \
		"scheduler_tls.ca_cert=$C/ca.pem" "scheduler_tls.cert=$C/node1.pem" \
		"scheduler_tls.key=$C/node1.key"
	wait_until 20 in_log 1 dfdaemon "manager: schedulers n=2"
	on 1 import --ttl 10m "$f"
}
