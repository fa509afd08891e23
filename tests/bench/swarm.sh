#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# swarm.sh - one holder and N peers that all export the same file at once, each behind a cable of its
# own. What counts is when the last peer has every piece, verified and committed, beside the bound
# (1 + floor(log2 N) / M) · F / u for M pieces of a file of F bytes over cables of u bits a second.
#
#   N=8 RUNS=1 MIB=256 RATE=100mbit MTU=1500    the sizes; a piece is 4 MiB
#   KILL=5         per cent of the peers (rounded up) get SIGKILL when half of the bound has passed
#   SET="upload.slots=4 ..."                    options for dfdaemon
#   KEEP=DIR       logs stay there
set -u
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$TOP/build}
PATH=$BUILD/bin:$PATH
N=${N:-8} RUNS=${RUNS:-1} MIB=${MIB:-256} RATE=${RATE:-100mbit} KILL=${KILL:-0} SET=${SET:-}
export NETNS_MTU=${MTU:-1500}
# shellcheck source-path=SCRIPTDIR source=../lib/netns.bash
. "$TOP/tests/lib/netns.bash"

if ! why=$(netns_possible); then
	echo "not measured: $why"
	exit 0
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/swarm.XXXXXX")
trap 'netns_end; rm -rf "$work"' EXIT

# what a node counted so far: "bytes_sent busy cpu_ticks" and private memory
count() # I
{
	local pid t
	pid=$(node_pid "$1" dfdaemon)
	read -ra t <"/proc/$pid/stat"
	netns_in "$1" python3 - "http://$(node_ip "$1"):4002/metrics" $((t[13] + t[14])) "$(private_kib "$pid")" <<-'END'
		import sys, urllib.request
		m = {}
		for l in urllib.request.urlopen(sys.argv[1], timeout=20).read().decode().splitlines():
		    if not l.startswith("#"):
		        k, v = l.rsplit(" ", 1)
		        m[k] = v
		print(m.get("dfcachefiles_upload_busy_total", 0), m.get("dfcachefiles_parents_lost_total", 0),
		      *sys.argv[2:])
	END
}

fetched() { in_log "$1" dfdaemon "fetch: done"; }

run() # NUMBER
{
	local dir=$work/$1 i id t0 victims="" n_dead=0 all pids=()
	all=$(seq 2 $((N + 1)))
	netns_begin "$dir" $((N + 1)) "$RATE" || return 1
	# shellcheck disable=SC2086 # words
	nodes_start $((N + 1)) peer.heartbeat=3s daemon.log_level=info $SET || return 1
	head -c $((MIB * 1048576)) /dev/urandom >"$dir/file"
	id=$(on 1 import "$dir/file" --piece-length 4MiB --persistent-replica-count 1) || return 1
	for i in 1 $all; do
		echo "$i $(count "$i") $(netns_bytes "$i" tx)"
	done >"$dir/before"
	if [ "$KILL" -gt 0 ]; then
		n_dead=$(((N * KILL + 99) / 100))
		victims=$(echo "$all" | shuf -n "$n_dead" --random-source=<(yes "$1") | tr '\n' ' ')
	fi
	t0=$EPOCHREALTIME
	for i in $all; do
		(
			on "$i" export "$id" -O "$dir/out$i" --force-hard-link >"$dir/out$i.log" 2>&1
			echo "$EPOCHREALTIME" >"$dir/end$i"
		) &
		pids+=($!)
	done
	if [ -n "$victims" ]; then
		read -r -t "$(python3 -c "import sys; print(float(sys.argv[1]) * 8.388608 / 2 / float(sys.argv[2]))" \
			"$MIB" "$(numfmt --from=si "$(r=${RATE%bit}; echo "${r^^}")" --to-unit=1000000)")" <> <(:)
		for i in $victims; do
			kill -KILL "$(node_pid "$i" dfdaemon)"
			rm -f "$(node_dir "$i")/dfdaemon.pid"
		done
	fi
	wait "${pids[@]}"
	for i in 1 $all; do
		case " $victims " in *" $i "*) continue ;; esac
		echo "$i $(count "$i") $(netns_bytes "$i" tx)"
		[ "$i" = 1 ] || cmp -s "$dir/file" "$dir/out$i" || echo "node $i: $(cat "$dir/out$i.log")" >&2
	done >"$dir/after"
	python3 - "$dir" "$t0" "$N" "$MIB" "$RATE" "$1" "$victims" <<-'END'
		import math, os, re, sys
		dir, t0, n, mib, rate, number, victims = sys.argv[1:]
		t0, n, f = float(t0), int(n), int(mib) << 20
		v, unit = re.fullmatch(r"([0-9.]+)([kmg]?)bit", rate).groups()
		u = float(v) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[unit] / 8
		pieces = f // (4 << 20)
		bound = (1 + math.floor(math.log2(n)) / pieces) * f / u
		before = {l.split()[0]: list(map(float, l.split()[1:])) for l in open(dir + "/before")}
		after = {l.split()[0]: list(map(float, l.split()[1:])) for l in open(dir + "/after")}
		ends = sorted(float(open(f"{dir}/end{i}").read()) - t0 for i in after if i != "1")
		def pct(p):
		    return ends[min(len(ends) - 1, math.ceil(p * len(ends)) - 1)]
		d = {i: [a - b for a, b in zip(after[i], before[i])] for i in after}
		kids = [d[i] for i in d if i != "1"]
		hz = os.sysconf("SC_CLK_TCK")
		print(f"run {number}: worst {ends[-1]:.2f} s / bound {bound:.2f} s = {ends[-1] / bound:.3f}; "
		      f"p50 {pct(.5):.2f} s, p99/p50 {pct(.99) / pct(.5):.3f}; "
		      f"holder sent {d['1'][4] / f:.2f} F; "
		      f"busy/piece {sum(x[0] for x in d.values()) / (len(kids) * pieces):.2f}; "
		      f"parents lost {sum(x[1] for x in d.values()):.0f}; "
		      f"cpu {sum(x[2] for x in d.values()) / hz:.1f} s for {len(kids) * f / 2**30:.2f} GiB "
		      f"(holder {d['1'][2] / hz:.1f} s); private {max(a[3] for a in after.values()) / 1024:.0f} MiB"
		      + (f"; killed {victims}" if victims else ""))
	END
	[ -z "${KEEP:-}" ] || { mkdir -p "$KEEP/$1" && cp "$dir"/*/dfdaemon.log --parents "$KEEP/$1/" 2>/dev/null; }
	netns_end || return 1
	export NODES="" NETNS_N=0
	rm -rf "$dir"
}

echo "N=$N MIB=$MIB RATE=$RATE MTU=$NETNS_MTU KILL=$KILL% SET=$SET, $(nproc) processors, kernel $(uname -r)"
for r in $(seq "$RUNS"); do
	run "$r" || { nodes_show 5; exit 1; }
done
