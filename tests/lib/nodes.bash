# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# nodes.bash - N nodes on this machine: cachefilesd (nokernel) and dfdaemon each, with directories,
# sockets and loopback addresses of their own. Everything waits with a deadline; nothing sleeps and
# hopes.
#
#   nodes_begin DIR            where they live; picks a loopback network of its own
#   node_start I [S.KEY=V...]  one node (1..99), joined to the nodes in $NODES_PEERS (default 1 2 3)
#   nodes_start N [S.KEY=V...] nodes 1..N, waited for until they know each other
#   node_stop I                both daemons, in order
#   nodes_end                  all, by force; fails when a daemon died by itself or a sanitizer spoke
#   on I COMMAND...            dfcache of that node: "on 2 export ID -O out"
#   node_pid I dfdaemon|cachefilesd, node_log I dfdaemon|cachefilesd, node_dir I
#   wait_until SECONDS COMMAND...

nodes_begin()
{
	NODES=$1
	mkdir -p "$NODES"
	# 127.A.B.0: tests that run at the same time do not meet
	NODES_NET=127.$((1 + $$ / 250 % 250)).$((1 + $$ % 250))
	NODES_PEERS="1 2 3"
	NODES_PORT=4000 NODES_PIECE_PORT=4005
	export NODES NODES_NET
	unset DFCACHE_CONFIG
}

node_dir() { printf '%s/%s' "$NODES" "$1"; }
node_ip() { printf '%s.%s' "$NODES_NET" "$1"; }
node_log() { printf '%s/%s/%s.log' "$NODES" "$1" "$2"; }
node_socket() { printf '%s/%s/dfdaemon.sock' "$NODES" "$1"; }

# NODE_IN: what stands before the daemons of a node; netns.bash puts a namespace there
node_enter() # I
{
	read -ra NODE_IN <<<"${NODES_WRAP:-}"
}

node_pid() # I NAME: the process that does the work
{
	cat "$NODES/$1/$2.pid"
}

wait_until() # SECONDS COMMAND...
{
	local end=$((SECONDS + $1 * ${NODES_SCALE:-1}))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "# gave up waiting for: $*" >&2
			return 1
		fi
		read -r -t 0.05 <> <(:) || :
	done
}

in_log() # I NAME PATTERN
{
	grep -q -- "$3" "$(node_log "$1" "$2")"
}

node_write_config() # I [S.KEY=V...]
{
	local d peers="" p
	d=$(node_dir "$1")
	mkdir -p "$d/cache"
	{
		echo "dir $d/cache"
		echo "tag node$1"
		echo "nokernel"
		echo "socket $d/store.sock"
		# the disk of a test machine may be nearly full
		printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n'
		echo "allow_foreign"
	} >"$d/cachefilesd.conf"
	for p in $NODES_PEERS; do
		peers="${peers}peers = $(node_ip "$p"):$NODES_PORT"$'\n'
	done
	cat >"$d/dfcache.conf" <<-EOF
		[host]
		hostname = node$1
		ip = $(node_ip "$1")
		[local]
		socket = $(node_socket "$1")
		[peer]
		listen = $(node_ip "$1")
		port = $NODES_PORT
		piece_port = $NODES_PIECE_PORT
		$peers
		peer_networks = 127.0.0.1/32
		heartbeat = 500ms
		[metrics]
		listen = $(node_ip "$1")
		[health]
		listen = $(node_ip "$1")
		[store]
		socket = $d/store.sock
		[daemon]
		loop = ${NODES_LOOP:-auto}
		log_level = debug
	EOF
}

node_start_store() # I
{
	local d NODE_IN
	d=$(node_dir "$1")
	node_enter "$1"
	"${NODE_IN[@]}" cachefilesd -n -s -f "$d/cachefilesd.conf" >>"$d/cachefilesd.log" 2>&1 3>&- &
	echo $! >"$d/cachefilesd.pid"
	wait_until 20 test -S "$d/store.sock"
}

node_start_peer() # I [S.KEY=V...]
{
	local d i=$1 args=() NODE_IN
	d=$(node_dir "$i")
	node_enter "$i"
	shift
	while [ $# -gt 0 ]; do
		args+=(--set "$1")
		shift
	done
	# what an earlier run said is not taken for readiness
	[ ! -e "$d/dfdaemon.log" ] || cat "$d/dfdaemon.log" >>"$d/dfdaemon-before.log"
	: >"$d/dfdaemon.log"
	"${NODE_IN[@]}" dfdaemon --allow-root --config "$d/dfcache.conf" "${args[@]}" \
		>>"$d/dfdaemon.log" 2>&1 3>&- &
	echo $! >"$d/dfdaemon.pid"
	wait_until 20 test -S "$(node_socket "$i")" || { tail -20 "$d/dfdaemon.log" >&2; return 1; }
	wait_until 20 in_log "$i" dfdaemon "the store is there"
}

node_start() # I [S.KEY=V...]
{
	local i=$1
	shift
	node_write_config "$i"
	node_start_store "$i" || return 1
	node_start_peer "$i" "$@"
}

nodes_start() # N [S.KEY=V...]
{
	local n=$1 i
	shift
	NODES_PEERS=$(seq -s ' ' "$n")
	for i in $NODES_PEERS; do
		node_start "$i" "$@" || return 1
	done
	[ "$n" -eq 1 ] || nodes_meet "$n"
}

# every node hears all others
nodes_meet() # N
{
	local i j
	for i in $(seq "$1"); do
		for j in $(seq "$1"); do
			[ "$i" = "$j" ] || wait_until 20 in_log "$i" dfdaemon "peer.*$(node_ip "$j")" ||
				return 1
		done
	done
}

on() # I COMMAND [ARG...]
{
	local i=$1 c=$2
	shift 2
	dfcache "$c" -e "$(node_socket "$i")" "$@"
}

is_running() # PID
{
	[ -n "$1" ] && kill -0 "$1" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}

is_gone() { ! is_running "$1"; }

node_end_process() # I NAME SIGNAL
{
	local d pid
	d=$(node_dir "$1")
	[ -e "$d/$2.pid" ] || return 0
	pid=$(cat "$d/$2.pid")
	kill -CONT "$pid" 2>/dev/null || :
	kill "-$3" "$pid" 2>/dev/null || :
	wait_until 20 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || :
	rm -f "$d/$2.pid"
}

node_stop() # I
{
	node_end_process "$1" dfdaemon TERM
	node_end_process "$1" cachefilesd TERM
}

node_kill_peer() { node_end_process "$1" dfdaemon KILL; }

nodes_end()
{
	local d bad=0
	[ -n "${NODES:-}" ] || return 0
	for d in "$NODES"/*/; do
		d=$(basename "$d")
		node_end_process "$d" dfdaemon TERM
		node_end_process "$d" cachefilesd TERM
		if grep -E "ERROR: (Address|Leak)Sanitizer|runtime error:|SUMMARY: " \
			"$NODES/$d"/*.log >&2; then
			bad=1
		fi
	done
	return $bad
}

# what to show when a test fails
nodes_show()
{
	tail -n "${1:-15}" "$NODES"/*/*.log | sed 's/^/# /' >&2
}

private_kib() # PID: RssAnon + RssShmem
{
	awk '/^RssAnon:|^RssShmem:/ { n += $2 } END { print n }' "/proc/$1/status"
}
