#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# store-100k.sh - 100 000 tasks of 64 pieces: start warm under 2 s, memory under 48 MiB, open with a
# lease under 50 us (median), p99 under 1 ms while everything is culled (TAP)
set -u
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid"; rm -rf "$dir"' EXIT
mkdir "$dir/c"
printf 'dir %s\nnokernel\ngrace 0s\nsocket %s\n' "$dir/c" "$dir/sock" >"$dir/conf"
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>"$dir/conf"
tool=$BUILD/tests/bin/storetool

start()
{
	: >"$dir/log"
	cachefilesd -n -s -f "$dir/conf" 2>"$dir/log" &
	pid=$!
	until grep -q 'Daemon Started' "$dir/log"; do
		kill -0 "$pid" || exit 1
		read -r -t 0.01 <> <(:) || :
	done
}

stop()
{
	kill -TERM "$pid"
	wait "$pid"
	pid=
}

n=0
result() # TEXT, CONDITION of the arithmetic kind
{
	n=$((n + 1))
	if awk "BEGIN {exit !($2)}"; then echo "ok $n - $1"; else echo "not ok $n - $1"; fi
}

echo 1..4
start
stop
"$tool" - fabricate "$dir/c" 100000 || exit 1
start
stop
before=$(date +%s%N)
start
ms=$((($(date +%s%N) - before) / 1000000))
result "start with 100000 tasks: $ms ms" "$ms < 2000"
kib=$(awk '/^VmRSS/ {print $2}' "/proc/$pid/status")
result "memory: $kib KiB" "$kib < 49152"
read -r median p99 < <("$tool" "$dir/sock" opens 3000000007 20000)
result "open: median $median us, p99 $p99 us" "$median < 50"
cachefilesctl -f "$dir/conf" cull --free 1000TiB >"$dir/culled" &
culling=$!
read -r median p99 < <("$tool" "$dir/sock" opens 3000099999 20000)
wait "$culling"
result "open during a cull of everything: median $median us, p99 $p99 us" "$p99 < 1000"
stop
