#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# store-100k.sh - 100 000 tasks of 64 pieces: start warm under 2 s, memory under 48 MiB and under 200 bytes each
# in the index beyond the id, open with a lease under 50 us (median), p99 under 1 ms while everything is culled
# (TAP). On a file system of its own when we may mount one: where the machine's discards each freed block at
# once, a cull is as slow as its device. WRAP: a command put before the daemon; "chrt -r 5" gives it a processor
# where others take them.
set -u
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid"; wait; umount -q "$dir/c"; rm -rf "$dir"' EXIT
mkdir "$dir/c"
truncate -s 4G "$dir/image"
if [ "$(id -u)" = 0 ] && mkfs.ext4 -q -F -m 0 -N 400000 -E lazy_itable_init=0 "$dir/image"; then
	mount -o loop,noatime "$dir/image" "$dir/c" || :
fi
printf 'dir %s\nnokernel\ngrace 0s\nsocket %s\n' "$dir/c" "$dir/sock" >"$dir/conf"
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>"$dir/conf"
tool=$BUILD/tests/bin/storetool

start()
{
	: >"$dir/log"
	${WRAP-} cachefilesd -n -s -f "$dir/conf" 2>"$dir/log" &
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

echo 1..6
start
empty=$(awk '/^RssAnon/ {print $2}' "/proc/$pid/status")
stop
"$tool" - fabricate "$dir/c" 100000 || exit 1
start
stop
before=$(date +%s%N)
start
ms=$((($(date +%s%N) - before) / 1000000))
cpu=$(awk -v hz="$(getconf CLK_TCK)" '{print ($14 + $15) * 1000 / hz}' "/proc/$pid/stat")
result "start with 100000 tasks: $ms ms, of them $cpu ms of processor time" "$ms < 2000"
kib=$(awk '/^VmRSS/ {print $2}' "/proc/$pid/status")
result "memory: $kib KiB" "$kib < 49152"
anon=$(awk '/^RssAnon/ {print $2}' "/proc/$pid/status")
# an id has ten characters and its end
each=$(awk "BEGIN {printf \"%.0f\", ($anon - $empty) * 1024 / 100000 - 11}")
result "a task in the index, beyond its id: $each bytes" "$each < 200"
read -r median p99 _ < <("$tool" "$dir/sock" opens 3000000007 20000)
result "open: median $median us, p99 $p99 us" "$median < 50"
"$tool" "$dir/sock" pin 3000099999 >"$dir/pinned"
cachefilesctl -f "$dir/conf" cull --free 1000TiB >"$dir/culled" 2>&1 &
culling=$!
read -r median p99 opens < <("$tool" "$dir/sock" opens 3000099999 20000 "$culling")
wait "$culling"
result "open during a cull of everything, $opens times: median $median us, p99 $p99 us" "$p99 < 1000"
left=$(find "$dir/c/pieces/tasks" -mindepth 2 -maxdepth 2 | wc -l)
result "the pinned task is what is left: $left" "$left == 1"
stop
