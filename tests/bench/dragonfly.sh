#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# dragonfly.sh - our dfdaemon and Dragonfly's own, side by side in one run: one is the parent of a transfer, one its
# child, each on one processor of its own, over the loopback, under the real scheduler. The child only fetches
# (no output), so that both do the same work. Prints the median of RUNS as lines of a Markdown table.
#
#   MIB=1024 RUNS=5 DIR=/somewhere/fast
#   and the programs that tests/lib/dragonfly.bash names, in the environment; without them it says so and ends well
set -euo pipefail

TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$TOP/build}
export PATH=$BUILD/bin:$PATH
MIB=${MIB:-1024} RUNS=${RUNS:-5}

skip()
{
	echo "dragonfly.sh: skipped: $*"
	exit 0
}

# shellcheck source-path=SCRIPTDIR source=../lib/dragonfly.bash
. "$TOP/tests/lib/dragonfly.bash"
dragonfly_needs DRAGONFLY_SCHEDULER REDIS_SERVER DRAGONFLY_DFDAEMON DRAGONFLY_DFCACHE
[ "$(nproc)" -ge 2 ] || skip "needs two processors"
work=$(mktemp -d "${DIR:-${TMPDIR:-/tmp}}/dragonfly-bench.XXXXXX")

end()
{
	dragonfly_end || :
	rm -rf "$work"
}
trap end EXIT

pids_of() # ours|theirs I: all processes that work for it
{
	if [ "$1" = ours ]; then
		echo "$(node_pid "$2" dfdaemon) $(node_pid "$2" cachefilesd)"
	else
		peer_pid "$2"
	fi
}

ticks_of() # PID...
{
	local pid n=0
	for pid; do
		n=$((n + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')))
	done
	echo "$n"
}

peak_of() # PID...: MiB
{
	local pid
	for pid; do
		cat "/proc/$pid/status"
	done | awk '/^VmHWM:/ { n += $2 } END { printf "%.0f\n", n / 1024 }'
}

median() # of lines
{
	sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

parent_i() { [ "$1" = ours ] && echo 1 || echo 2; }
child_i() { [ "$1" = ours ] && echo 3 || echo 4; }

dragonfly_begin "$work/nodes"
export THEIRS_DISABLE_SHARED=false
for i in 1 2 3 4; do
	cpu=0
	[ "$i" -lt 3 ] || cpu=1
	export NODES_WRAP="taskset -c $cpu" THEIRS_WRAP="taskset -c $cpu"
	case $i in
	1 | 3) ours_start "$i" daemon.log_level=info ;;
	*) theirs_start "$i" ;;
	esac
done
head -c "${MIB}M" /dev/urandom >"$work/f"
hz=$(getconf CLK_TCK)

echo "ours: $(dfdaemon --version); theirs: $("$DRAGONFLY_DFDAEMON" --version); $MIB MiB, median of $RUNS"
echo
echo "| parent | child | GiB/s | parent, CPU s per GiB | child, CPU s per GiB | parent, peak MiB | child, peak MiB |"
echo "|---|---|---|---|---|---|---|"
for parent in ours theirs; do
	for child in ours theirs; do
		rm -f "$work/rate" "$work/parent" "$work/child"
		p=$(parent_i "$parent") c=$(child_i "$child")
		read -ra parent_pids <<<"$(pids_of "$parent" "$p")"
		read -ra child_pids <<<"$(pids_of "$child" "$c")"
		for run in $(seq "$RUNS"); do
			tag=$parent-$child-$run
			cli "$parent" "$p" import "$work/f" --tag "$tag" --ttl 1h --persistent-replica-count 1 >/dev/null
			id=$(task_of "$work/f" "$tag")
			p0=$(ticks_of "${parent_pids[@]}") c0=$(ticks_of "${child_pids[@]}") t0=$(date +%s%N)
			asks fetch "$(node_socket "$c")" "$id"
			t1=$(date +%s%N) p1=$(ticks_of "${parent_pids[@]}") c1=$(ticks_of "${child_pids[@]}")
			awk -v ns=$((t1 - t0)) -v mib="$MIB" 'BEGIN { printf "%.2f\n", mib / 1024 / (ns / 1e9) }' >>"$work/rate"
			awk -v t=$((p1 - p0)) -v hz="$hz" -v mib="$MIB" 'BEGIN { printf "%.2f\n", t / hz / mib * 1024 }' >>"$work/parent"
			awk -v t=$((c1 - c0)) -v hz="$hz" -v mib="$MIB" 'BEGIN { printf "%.2f\n", t / hz / mib * 1024 }' >>"$work/child"
			asks delete "$(node_ip 99):8002" "$id" || :
		done
		echo "| $parent | $child | $(median <"$work/rate") | $(median <"$work/parent") | $(median <"$work/child") |" \
			"$(peak_of "${parent_pids[@]}") | $(peak_of "${child_pids[@]}") |"
	done
done
