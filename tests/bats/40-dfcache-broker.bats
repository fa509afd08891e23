#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# the shape of production: dfdaemon as a user without any right, dfdaemon-broker as root behind a
# socket; how the broker is started, and what it keeps
# shellcheck disable=SC2154,SC2164,SC2119,SC2030,SC2031 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup()
{
	. "$TOP/tests/lib/nodes.bash"
	[ "$(id -u)" -eq 0 ] || skip "needs root to be several users"
	dir=$(mktemp -d /tmp/bats-broker.XXXXXX)
	chmod 755 "$dir"
}

teardown()
{
	. "$TOP/tests/lib/nodes.bash"
	[ -z "${broker:-}" ] || kill "$broker"
	[ -z "${NODES:-}" ] || nodes_end
	rm -rf "${dir:?}"
}

start_broker()
{
	dfdaemon-broker --socket "$dir/broker" --owner nobody 2>"$dir/broker.log" 3>&- &
	broker=$!
	wait_until 10 test -S "$dir/broker"
}

@test "paths of root and of others are opened as them, though dfdaemon may open nothing" {
	[ -n "${PYTHON:-}" ] || skip "the published Python schemas are not there: ${PYTHON_REASON:-}"
	cp "$(command -v dfdaemon)" "$(command -v dfcache)" "$dir/"
	nodes_begin "$dir/nodes"
	export NODES_PEERS=1
	node_write_config 1
	d=$(node_dir 1)
	chmod 755 "$dir/nodes" "$d"
	printf 'socket_group nogroup\nstore_user nobody\n' >>"$d/cachefilesd.conf"
	node_start_store 1
	start_broker
	chown nobody "$d"
	PATH=$dir:$PATH NODES_WRAP="setpriv --reuid nobody --regid nogroup --clear-groups" \
		node_start_peer 1 local.broker_socket="$dir/broker" || { nodes_show; false; }
	[ "$(awk '/^CapEff/ { print $2 }' "/proc/$(node_pid 1 dfdaemon)/status")" = 0000000000000000 ]
	client() { "$PYTHON" "$TOP/tests/interop/path_client.py" "$(node_socket 1)" "$@"; }
	mkdir -m 700 "$dir/private"
	echo content >"$dir/private/in"
	chmod 600 "$dir/private/in"
	run -0 client import "$dir/private/in"
	id=$output
	run -0 client export "$id" "$dir/private/out"
	cmp "$dir/private/in" "$dir/private/out"
	[ "$(stat -c %u:%a "$dir/private/out")" = 0:644 ]
	run -0 client export "$id" "$dir/private/linked" hardlink
	cmp "$dir/private/in" "$dir/private/linked"
	grep -q 'served operation=read uid=0 .*path=.*/private/in' "$dir/broker.log"
	# the same by descriptor needs no broker
	kill "$broker"
	wait_until 10 is_gone "$broker"
	broker=
	run -0 on 1 export "$id" -O "$dir/private/fd" --log-dir= --config /dev/null
	run -1 --separate-stderr client import "$dir/private/in"
	[[ $stderr == *"UNAVAILABLE"*"no broker to open a path"*"descriptor"* ]]
}

@test "the listening broker keeps six capabilities, none in effect, and gains none" {
	start_broker
	grep -E '^(Cap|NoNewPrivs)' "/proc/$broker/status" >"$dir/caps"
	# DAC_OVERRIDE 1, DAC_READ_SEARCH 2, FOWNER 3, SETGID 6, SETUID 7, SYS_PTRACE 19
	[ "$(awk '/^CapPrm/ { print $2 }' "$dir/caps")" = 00000000000800ce ]
	[ "$(awk '/^CapBnd/ { print $2 }' "$dir/caps")" = 00000000000800ce ]
	[ "$(awk '/^CapEff/ { print $2 }' "$dir/caps")" = 0000000000000000 ]
	[ "$(awk '/^NoNewPrivs/ { print $2 }' "$dir/caps")" = 1 ]
	[ "$(stat -c %a:%U "$dir/broker")" = 600:nobody ]
}

@test "started by systemd's protocol, with a connection and with a listening socket" {
	run -0 "${PYTHON:-python3}" - <<-'END'
		import os, socket, struct, sys

		def start(fd):
		    pid = os.fork()
		    if pid == 0:
		        os.dup2(fd, 3)
		        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
		        os.execvp("dfdaemon-broker", ["dfdaemon-broker"])
		    return pid

		def ask(s):
		    # an import of /etc/hostname by the process at the other end of a socket pair: ourselves
		    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
		    path = b"/etc/passwd"
		    socket.send_fds(s, [b"dfb1" + struct.pack("<BBH", 1, 0, len(path)) + path], [b.fileno()])
		    data, fds, _, _ = socket.recv_fds(s, 5000, 1)
		    status, = struct.unpack("<I", data[4:8])
		    assert status == 0 and len(fds) == 1, data
		    assert os.pread(fds[0], 5, 0) == b"root:"

		ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		pid = start(theirs.fileno())
		theirs.close()
		ask(ours)
		assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

		listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		listener.bind("\0broker-%d" % os.getpid())
		listener.listen()
		pid = start(listener.fileno())
		for _ in range(3):
		    c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		    c.connect(listener.getsockname())
		    ask(c)
		os.kill(pid, 15)
		os.waitpid(pid, 0)
	END
	run -2 --separate-stderr dfdaemon-broker
	[[ $stderr == *"no socket was passed"* ]]
	run -2 dfdaemon-broker --connection x
	run -1 dfdaemon-broker --connection 99
	run -1 --separate-stderr dfdaemon-broker --socket "$dir/none/broker"
	[[ $stderr == *"No such file"* ]]
}
