#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# store.sh - the piece store: open with a lease, also while TASKS (5000) tasks are culled; a small task from create to commit beside a bare
# write + fdatasync + rename + fsync(dir), alternating in the same run
set -eu
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL "$pid"; rm -rf "$dir"' EXIT
export PATH=$BUILD/bin:$PATH
tool=$BUILD/tests/bin/storetool
mkdir "$dir/c"
printf 'dir %s\nnokernel\ngrace 0s\nsocket %s\n' "$dir/c" "$dir/sock" >"$dir/conf"
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>"$dir/conf"
cachefilesd -n -s -f "$dir/conf" 2>"$dir/log" &
pid=$!
"$tool" "$dir/sock" put a 100000 >/dev/null
read -r median p99 < <("$tool" "$dir/sock" opens a 20000)
echo "open and lease: median $median us, p99 $p99 us"
kill -TERM "$pid"
wait "$pid"
"$tool" - fabricate "$dir/c" "${TASKS:-5000}"
: >"$dir/log"
cachefilesd -n -s -f "$dir/conf" 2>"$dir/log" &
pid=$!
"$tool" "$dir/sock" put b 100000 >/dev/null
"$tool" "$dir/sock" pin b >/dev/null
cachefilesctl -f "$dir/conf" cull --free 1000TiB >"$dir/culled" &
culling=$!
: >"$dir/opens"
while kill -0 "$culling" 2>/dev/null; do
	"$tool" "$dir/sock" opens b 2000 >>"$dir/opens"
done
wait "$culling" || :
echo "$(cut -d' ' -f1-4 "$dir/culled") meanwhile $(grep -c . "$dir/opens") times 2000 opens: $(sort -n "$dir/opens" |
	awk '{m[NR] = $1; if ($2 > p) p = $2} END {print "median " m[int((NR + 1) / 2)] " us, worst p99 " p " us"}')"
ours='' bare=''
for _ in 1 2 3 4 5; do
	bare="$bare $("$tool" - bare "$dir/c" 100 4096 | cut -d' ' -f1)"
	ours="$ours $("$tool" "$dir/sock" commits 100 4096 | cut -d' ' -f1)"
	cachefilesctl -f "$dir/conf" cull --free 1000TiB >/dev/null
done
middle() { tr ' ' '\n' <<<"$1" | grep . | sort -n | sed -n 3p; }
awk -v o="$(middle "$ours")" -v b="$(middle "$bare")" \
	'BEGIN {printf "small task: %.0f us, bare: %.0f us, ratio %.2f\n", o, b, o / b}'
