#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# store.sh - the piece store: open with a lease, by itself, during a scan of OBJECTS (50000) objects of the
# kernel's cache (the fake device's; left out where there is no FUSE), and while all of them that fit in one table and
# TASKS (5000) tasks are culled; a small task from create to commit beside a bare write + fdatasync + rename + fsync(dir),
# alternating in the same run. Exit status 1 when a goal is missed.
set -eu
dir=$(mktemp -d)
pid='' fake='' missed=0
trap 'set +e; [ -z "$pid" ] || { kill -KILL $(pgrep -P "$pid") "$pid"; wait "$pid"; } 2>/dev/null
	[ -z "$fake" ] || { kill "$fake"; wait "$fake"; } 2>/dev/null; umount -q "$dir/dev"; rm -rf "$dir"' EXIT
export PATH=$BUILD/bin:$PATH
tool=$BUILD/tests/bin/storetool
mkdir "$dir/c" "$dir/dev"
kernel=nokernel
if [ "$(id -u)" = 0 ] && [ -c /dev/fuse ] && [ -x "$BUILD/tests/bin/fakedev" ]; then
	"$BUILD/tests/bin/fakedev" -l /dev/null "$dir/dev" &
	fake=$!
	until [ -e "$dir/dev/control" ]; do
		kill -0 "$fake" 2>/dev/null || { fake=''; break; }
		read -r -t 0.01 <> <(:) || :
	done
	[ -z "$fake" ] || kernel=$'store\ntag bench'
fi
printf 'dir %s\n%s\ngrace 0s\nsocket %s\n' "$dir/c" "$kernel" "$dir/sock" >"$dir/conf"
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>"$dir/conf"

start()
{
	: >"$dir/log"
	CACHEFILESD_DEVICE=$dir/dev/cachefiles cachefilesd -n -s -f "$dir/conf" 2>"$dir/log" &
	pid=$!
	until grep -q 'Daemon Started' "$dir/log"; do
		kill -0 "$pid" || { cat "$dir/log"; exit 1; }
		read -r -t 0.01 <> <(:) || :
	done
}

stop()
{
	kill -TERM "$pid"
	wait "$pid" || :
	pid=''
}

goal() # TEXT, CONDITION of awk
{
	if awk "BEGIN {exit !($2)}"; then echo "$1"; else
		echo "$1: MISSED ($2)"
		missed=1
	fi
}

opens() # TEXT [PID]: 20000 opens, and on as long as the process is there
{
	local median p99 n
	read -r median p99 n < <("$tool" "$dir/sock" opens b 20000 ${2:+"$2"})
	goal "open and lease $1, $n times: median $median us, p99 $p99 us" "$median < 50 && $p99 < 1000"
}

start
"$tool" "$dir/sock" put b 100000 >/dev/null
"$tool" "$dir/sock" pin b >/dev/null
opens "by itself"
stop
"$tool" - fabricate "$dir/c" "${TASKS:-5000}"
if [ -n "$fake" ]; then
	mkdir -p "$dir/c/cache/Ibench"
	seq "${OBJECTS:-50000}" | awk -v d="$dir/c/cache/Ibench" '{p = sprintf("%s/@%02x", d, $1 % 256)
		if ($1 <= 256) system("mkdir " p); printf "%s/D%d\n", p, $1}' | xargs touch
	start
	until cachefilesctl -f "$dir/conf" --json status | grep -q '"kernel_scans_total": *[1-9]'; do :; done &
	opens "during a scan" $!
else
	start
fi
cachefilesctl -f "$dir/conf" cull --free 1000TiB >"$dir/culled" 2>&1 &
culling=$!
opens "during a cull" "$culling"
wait "$culling" || : # more was asked for than there is
echo "  $(head -n 1 "$dir/culled")"
ours='' bare=''
for _ in 1 2 3 4 5; do
	bare="$bare $("$tool" - bare "$dir/c" 100 4096 | cut -d' ' -f1)"
	ours="$ours $("$tool" "$dir/sock" commits 100 4096 | cut -d' ' -f1)"
	cachefilesctl -f "$dir/conf" cull --free 1000TiB >/dev/null 2>&1 || :
done
stop
middle() { tr ' ' '\n' <<<"$1" | grep . | sort -n | sed -n 3p; }
o=$(middle "$ours") b=$(middle "$bare")
goal "small task: $o us, bare: $b us, ratio $(awk "BEGIN {printf \"%.2f\", $o / $b}")" "$o / $b < 3"
exit $missed
