#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 300
# peers that talk by mutual TLS: what they do among themselves, whom they refuse, and certificates renewed
# shellcheck disable=SC2154,SC2034 # stderr: bats sets it; NODES_*: nodes.bash reads them

bats_require_minimum_version 1.5.0
load ../lib/nodes
load ../lib/certs

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	C=$BATS_TEST_TMPDIR/certs
	f=$BATS_TEST_TMPDIR/f
	mkdir "$C"
	certs_ca "$C" ca
	head -c 13000000 /dev/urandom >"$f"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	[ -z "${scheduler:-}" ] || kill "$scheduler" 2>/dev/null || :
	nodes_end
}

need_python()
{
	PYTHON=${PYTHON-$TOP/build/venv/bin/python}
	if [ -z "$PYTHON" ] || ! "$PYTHON" -c 'import grpc, dragonfly_api' 2>/dev/null; then
		skip "no Python with the packages of tests/requirements.txt: ${PYTHON_REASON:-make check makes one}"
	fi
}

tls() # I: the options of that node
{
	echo "tls.ca_cert=$C/ca.pem" "tls.cert=$C/node$1.pem" "tls.key=$C/node$1.key"
}

start_three() # [S.KEY=V...]: three nodes with certificates of one CA
{
	local i
	NODES_PEERS="1 2 3"
	for i in 1 2 3; do
		certs_issue "$C" ca "node$i" "IP:$(node_ip "$i")"
		# shellcheck disable=SC2046 # words
		node_start "$i" $(tls "$i") "$@"
	done
	nodes_meet 3
}

has_replicas() # I ID N
{
	on "$1" stat --json "$2" | grep -q "\"replicas\": $3\b"
}

travel() # import at 1, replicas everywhere, export at each
{
	local id i
	id=$(on 1 import --persistent-replica-count 2 "$f")
	wait_until 30 has_replicas 1 "$id" 2
	for i in 1 2 3; do
		on "$i" export "$id" -O "$f.$i"
		cmp "$f" "$f.$i"
	done
}

first_bytes() # HOST PORT TEXT: what is answered to these bytes, in hex
{
	local reply
	exec 9<>"/dev/tcp/$1/$2"
	(printf '%b' "$3" >&9) || : # it may have hung up after the first line
	reply=$(timeout 15 head -c 64 <&9 | od -An -tx1 | tr -d ' \n') || :
	exec 9>&-
	echo "$reply"
}

@test "import, replicas and export by TLS" {
	start_three
	travel
	for i in 1 2 3; do
		in_log "$i" dfdaemon "TLS is on towards peers"
	done
}

@test "the same on epoll" {
	NODES_LOOP=epoll
	start_three
	travel
}

@test "plaintext is refused on both ports, and nothing of HTTP/2 or Vortex is answered" {
	NODES_PEERS=1
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	# shellcheck disable=SC2046
	node_start 1 $(tls 1)
	# an alert (21) and the end, at most; no SETTINGS, no frame of a piece
	reply=$(first_bytes "$(node_ip 1)" "$NODES_PORT" 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0')
	[[ $reply == "" || $reply == 15* ]]
	wait_until 10 in_log 1 dfdaemon "rpc: refused: the other side speaks plaintext"
	reply=$(first_bytes "$(node_ip 1)" "$NODES_PIECE_PORT" '\0\4\0\0\0\104')
	[[ $reply == "" || $reply == 15* ]]
	wait_until 10 in_log 1 dfdaemon "vortex: connection dropped, the other side speaks plaintext"
}

@test "a peer without TLS, and one of another CA, are not let in, and both sides say why" {
	local id
	certs_ca "$C" other
	mkdir "$C/other"
	NODES_PEERS="1 2 3"
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	# shellcheck disable=SC2046
	node_start 1 $(tls 1)
	id=$(on 1 import --persistent-replica-count 1 "$f")
	node_start 2
	certs_issue "$C" other node3 "IP:$(node_ip 3)"
	node_start 3 "tls.ca_cert=$C/other.pem" "tls.cert=$C/node3.pem" "tls.key=$C/node3.key"
	wait_until 20 in_log 1 dfdaemon "rpc: refused: the other side speaks plaintext"
	wait_until 20 in_log 1 dfdaemon "rpc: refused: .* our certificate is not from its CA"
	wait_until 20 in_log 1 dfdaemon "rpc: no TLS with $(node_ip 2):$NODES_PORT: .*plaintext"
	wait_until 20 in_log 3 dfdaemon "rpc: no TLS with $(node_ip 1):$NODES_PORT: .*not from the CA in ca_cert"
	run ! on 2 export "$id" -O "$f.2"
	run ! on 3 export "$id" -O "$f.3"
	[ ! -e "$f.2" ] && [ ! -e "$f.3" ]
	run ! in_log 1 dfdaemon "peers: .*node3"
}

@test "a certificate that names another host is refused" {
	NODES_PEERS="1 2"
	certs_issue "$C" ca node1 "IP:$(node_ip 9)"
	certs_issue "$C" ca node2 "IP:$(node_ip 2)"
	# shellcheck disable=SC2046
	node_start 1 $(tls 1)
	# shellcheck disable=SC2046
	node_start 2 $(tls 2)
	wait_until 20 in_log 2 dfdaemon "no TLS with $(node_ip 1):$NODES_PORT: .*not for the name $(node_ip 1)"
	# one name for all is as good as addresses
	node_stop 1
	node_stop 2
	for i in 1 2; do
		certs_issue "$C" ca "node$i" "DNS:peers.test"
		# shellcheck disable=SC2046
		node_start "$i" $(tls "$i") tls.peer_name=peers.test
	done
	nodes_meet 2
	id=$(on 1 import --persistent-replica-count 1 "$f")
	on 2 export "$id" -O "$f.2"
	cmp "$f" "$f.2"
}

serves() # I SERIAL
{
	[ "$(certs_served "$(node_ip "$1"):$NODES_PORT" "$C" node2)" = "$2" ]
}

@test "a renewed certificate is taken, when told and unasked; a bad one is not" {
	local serial
	start_three tls.check_interval=200ms
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	serial=$(certs_serial "$C/node1.pem")
	wait_until 20 serves 1 "$serial"
	travel
	node_stop 1
	# shellcheck disable=SC2046
	node_start 1 $(tls 1) tls.check_interval=1h
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	run ! serves 1 "$(certs_serial "$C/node1.pem")"
	kill -HUP "$(node_pid 1 dfdaemon)"
	serial=$(certs_serial "$C/node1.pem")
	wait_until 20 serves 1 "$serial"
	cp "$C/node2.key" "$C/node1.key"
	kill -HUP "$(node_pid 1 dfdaemon)"
	wait_until 20 in_log 1 dfdaemon "not taken, the old ones stay: .*does not belong to the certificate"
	serves 1 "$serial"
}

@test "what is wrong with the files is said at the start" {
	NODES_PEERS=1
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	chmod 644 "$C/node1.key"
	node_write_config 1
	# shellcheck disable=SC2046
	run -1 --separate-stderr dfdaemon --allow-root --config "$(node_dir 1)/dfcache.conf" \
		--set "tls.ca_cert=$C/ca.pem" --set "tls.cert=$C/node1.pem" --set "tls.key=$C/node1.key"
	[[ $stderr == *"node1.key has mode 0644"* ]]
	run -3 --separate-stderr dfdaemon --allow-root --config "$(node_dir 1)/dfcache.conf" \
		--set "tls.ca_cert=$C/ca.pem"
	[[ $stderr == *"[tls] ca_cert, cert and key go together: 1 of them"* ]]
}

@test "Dragonfly's scheduler is dialled by TLS, and its name is compared" {
	local log=$BATS_TEST_TMPDIR/scheduler.log
	need_python
	certs_issue "$C" ca scheduler "IP:$(node_ip 9)"
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	"$PYTHON" "$TOP/tests/interop/strict_scheduler.py" "$(node_ip 9):8002" \
		"$C/ca.pem" "$C/scheduler.pem" "$C/scheduler.key" >"$log" 2>&1 3>&- &
	scheduler=$!
	wait_until 20 grep -q ready "$log"
	node_write_config 1
	sed -i '/^peers =/d; /^peer_networks =/d' "$(node_dir 1)/dfcache.conf"
	node_start_store 1
	node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 9):8002" \
		"scheduler_tls.ca_cert=$C/ca.pem" "scheduler_tls.cert=$C/node1.pem" \
		"scheduler_tls.key=$C/node1.key"
	on 1 import --ttl 10m "$f"
	node_end_process 1 dfdaemon TERM
	node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 9):8002"
	run ! on 1 import --ttl 10m --tag another "$f"
}

@test "Python's gRPC: with a certificate it is served and trusted, without it is not" {
	local id
	need_python
	NODES_PEERS=1
	certs_issue "$C" ca node1 "IP:$(node_ip 1)"
	certs_issue "$C" ca client "DNS:somebody"
	# the caller's address is nobody's
	# shellcheck disable=SC2046
	node_start 1 $(tls 1) peer.peer_networks=10.255.0.0/24
	id=$(on 1 import --persistent-replica-count 1 "$f")
	run timeout 100 "$PYTHON" "$TOP/tests/interop/tls_client.py" "$(node_ip 1):$NODES_PORT" "$id" \
		"$C/ca.pem" "$C/client.pem" "$C/client.key"
	echo "$output"
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = ok ]
	[ "$(on 1 ls --json)" = "[]" ]
}
