# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# dragonfly.bash - the real Dragonfly beside nodes of ours. Its programs are not part of this project: their
# paths come from the environment, and what is not given is a reason to skip.
#
#   DRAGONFLY_SCHEDULER  scheduler            REDIS_SERVER     redis-server
#   DRAGONFLY_DFDAEMON   dfdaemon             DRAGONFLY_DFCACHE  dfcache
#   DRAGONFLY_DFCACHE_OLD  dfcache of the 1.0 line (asks for the health first)
#   DRAGONFLY_MANAGER    manager
#
#   dragonfly_needs NAME...     skips with a reason when one of these variables names no program
#   dragonfly_begin DIR         nodes_begin, Redis and the scheduler at node_ip 99
#   redis_start, redis_stop SIGNAL, scheduler_start, scheduler_stop SIGNAL
#   ours_start I [S.KEY=V...]   a node of ours that is a member of that cluster
#   theirs_start I [YAML]       a dfdaemon of theirs; YAML is one more block of dfdaemon.yaml;
#                               THEIRS_DISABLE_SHARED=true, THEIRS_UPLOAD_BANDWIDTH=40MB, THEIRS_WRAP=COMMAND,
#                               THEIRS_LISTEN=IP of the two servers for peers
#   peer_stop I SIGNAL          either
#   cli ours|theirs|old I COMMAND...    dfcache of that make at the socket of node I
#   task_of FILE TAG            the id that an import of FILE with --tag TAG must have
#   wait_holder I ID            until the copy of node I is complete and counted
#   dragonfly_end, dragonfly_show

# shellcheck source-path=SCRIPTDIR source=nodes.bash
. "$(dirname "${BASH_SOURCE[0]}")/nodes.bash"

dragonfly_needs()
{
	local name
	for name in "$@"; do
		[ -n "${!name:-}" ] || skip "$name does not name a program (see tests/lib/dragonfly.bash)"
		[ -x "$(command -v "${!name}")" ] || skip "$name: ${!name} cannot be run"
	done
	PYTHON=${PYTHON-$TOP/build/venv/bin/python}
	if [ -z "$PYTHON" ] || ! "$PYTHON" -c 'import grpc, dragonfly_api' 2>/dev/null; then
		skip "no Python with the packages of tests/requirements.txt: ${PYTHON_REASON:-make check makes one}"
	fi
}

# started NAME COMMAND...: in the background, its output in a file, its number in NAME.pid
started()
{
	local name=$1
	shift
	# HOME: none of them may read or write what is configured on this machine
	HOME=$CLUSTER "$@" >>"$CLUSTER/$name.log" 2>&1 3>&- &
	echo $! >"$CLUSTER/$name.pid"
}

stopped() # NAME SIGNAL
{
	local pid
	[ -e "$CLUSTER/$1.pid" ] || return 0
	pid=$(cat "$CLUSTER/$1.pid")
	kill -CONT "$pid" 2>/dev/null || :
	kill "-$2" "$pid" 2>/dev/null || :
	wait_until 30 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || :
	wait "$pid" 2>/dev/null || :
	rm -f "$CLUSTER/$1.pid"
}

answers() # ADDRESS PORT
{
	(exec 4<>"/dev/tcp/$1/$2") 2>/dev/null
}

redis_start()
{
	# a restarted one knows what it acknowledged
	started redis "$REDIS_SERVER" --bind "$(node_ip 99)" --port 6379 --dir "$CLUSTER" --save '' \
		--appendonly yes --appendfsync always --daemonize no
	wait_until 20 answers "$(node_ip 99)" 6379
}
redis_stop() { stopped redis "$1"; }

scheduler_start()
{
	cat >"$CLUSTER/scheduler.yaml" <<-EOF
		server:
		  advertiseIP: $(node_ip 99)
		  listenIP: $(node_ip 99)
		  port: 8002
		  advertisePort: 8002
		  host: scheduler
		  logDir: $CLUSTER/log
		  pluginDir: $CLUSTER/plugins
		database:
		  redis:
		    addrs: [$(node_ip 99):6379]
		    brokerDB: 1
		    backendDB: 2
		job:
		  enable: false
		${DRAGONFLY_SCHEDULER_YAML:-}
	EOF
	started scheduler "$DRAGONFLY_SCHEDULER" --config "$CLUSTER/scheduler.yaml" \
		--dynconfig "$CLUSTER/scheduler-dynconfig.yaml" --console
	wait_until 30 answers "$(node_ip 99)" 8002
}
scheduler_stop() { stopped scheduler "$1"; }

dragonfly_begin() # DIR
{
	nodes_begin "$1"
	NODES_PEERS=""
	CLUSTER=$1.cluster
	mkdir -p "$CLUSTER"
	printf '[dfcache]\nlog_dir =\n' >"$CLUSTER/dfcache.conf"
	export DFCACHE_CONFIG=$CLUSTER/dfcache.conf
	redis_start
	scheduler_start
}

dragonfly_end()
{
	local name bad=0
	[ -n "${CLUSTER:-}" ] || return 0
	for name in "$CLUSTER"/theirs-*.pid; do
		[ -e "$name" ] || continue
		stopped "$(basename "$name" .pid)" TERM
	done
	nodes_end || bad=1
	scheduler_stop KILL
	redis_stop KILL
	return $bad
}

dragonfly_show()
{
	nodes_show 12
	tail -n 12 "$CLUSTER"/*.log "$NODES"/*/log/*/*.log 2>/dev/null | cut -c1-600 | sed 's/^/# /' >&2
}

ours_start() # I [S.KEY=V...]
{
	local i=$1
	shift
	# connections of the loopback network come from 127.0.0.1: peer_networks of nodes.bash trusts it
	node_start "$i" peer.scheduler=dragonfly "peer.schedulers=$(node_ip 99):8002" "$@"
	wait_until 20 knows_host "$i"
}

theirs_start() # I [YAML]
{
	local d ip wrap
	d=$(node_dir "$1")
	ip=$(node_ip "$1")
	read -ra wrap <<<"${THEIRS_WRAP:-}"
	mkdir -p "$d"
	cat >"$d/dfdaemon.yaml" <<-EOF
		host:
		  hostname: node$1
		  ip: $ip
		server:
		  pluginDir: $d/plugins
		  cacheDir: $d/cache
		  # a busy test machine is not a reason to turn requests away
		  adaptiveRateLimit:
		    cpuThreshold: 100
		    memoryThreshold: 100
		download:
		  server:
		    socketPath: $(node_socket "$1")
		upload:
		  server:
		    ip: ${THEIRS_LISTEN:-$ip}
		    port: $NODES_PORT
		  disableShared: ${THEIRS_DISABLE_SHARED:-false}
		  bandwidthLimit: ${THEIRS_UPLOAD_BANDWIDTH:-50GB}
		scheduler:
		  announceInterval: 10s
		dynconfig:
		  refreshInterval: 2s
		storage:
		  dir: $d/storage
		  keep: true
		  server:
		    ip: ${THEIRS_LISTEN:-$ip}
		    tcpPort: $NODES_PIECE_PORT
		    quicPort: 4006
		gc:
		  interval: 900s
		  policy:
		    diskHighThresholdPercent: 99
		    diskLowThresholdPercent: 98
		proxy:
		  server:
		    ip: $ip
		    port: 4001
		health:
		  server:
		    ip: $ip
		metrics:
		  server:
		    ip: $ip
		stats:
		  server:
		    ip: $ip
		${2:-}
	EOF
	rm -f "$(node_socket "$1")" # left by one that was killed
	printf 'scheduler:\n  addrs:\n    - %s:8002\n' "$(node_ip 99)" >"$d/dynconfig.yaml"
	# after a kill its port may be taken for a minute (it listens without SO_REUSEADDR): whoever supervises it
	# starts it again and again
	wait_until 120 theirs_is_up "$1" "${wrap[@]}"
}

theirs_is_up() # I WRAP...
{
	local d i=$1
	d=$(node_dir "$i")
	shift
	if ! is_running "$(cat "$CLUSTER/theirs-$i.pid" 2>/dev/null)"; then
		started "theirs-$i" "$@" "$DRAGONFLY_DFDAEMON" --config "$d/dfdaemon.yaml" \
			--dynconfig "$d/dynconfig.yaml" --log-dir "$d/log" --log-level info
	fi
	test -S "$(node_socket "$i")" && answers "${THEIRS_LISTEN:-$(node_ip "$i")}" "$NODES_PIECE_PORT" &&
		knows_host "$i" && asks list "$(node_socket "$i")" -
}

peer_stop() # I SIGNAL
{
	if [ -e "$CLUSTER/theirs-$1.pid" ]; then
		stopped "theirs-$1" "$2"
	else
		node_end_process "$1" dfdaemon "$2"
	fi
}

peer_pid() # I
{
	cat "$CLUSTER/theirs-$1.pid" 2>/dev/null || node_pid "$1" dfdaemon
}

asks() # COMMAND...: of tests/interop/dragonfly_client.py
{
	timeout 60 "$PYTHON" "$TOP/tests/interop/dragonfly_client.py" "$@"
}

knows_host() { asks host "$(node_ip 99):8002" "$(node_ip "$1")-node$1"; }
knows_no_host() { ! knows_host "$1"; }
wait_holder() { wait_until 60 asks holds "$(node_socket "$1")" "$2"; }

cli() # ours|theirs|old I COMMAND...
{
	local program=dfcache i=$2 c=$3
	case $1 in
	theirs) program=$DRAGONFLY_DFCACHE ;;
	old) program=$DRAGONFLY_DFCACHE_OLD ;;
	esac
	shift 3
	HOME=$CLUSTER timeout "${CLI_SECONDS:-120}" "$program" "$c" -e "$(node_socket "$i")" "$@"
}

daemon_start() # ours|theirs I [OURS...]: the short form for loops
{
	local kind=$1
	shift
	"${kind}_start" "$@"
}

has_grown() # DIR KIB: what is in it takes that much
{
	[ "$(du -sk "$1" | cut -f1)" -ge "$2" ]
}

random_file() # FILE BYTES
{
	head -c "$2" /dev/urandom >"$1"
}

task_of() # FILE TAG
{
	{ cat "$1"; printf '%sPERSISTENT_CACHE' "$2"; } | sha256sum | cut -d' ' -f1
}
