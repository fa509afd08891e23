# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# floor.sh — N objects (100000), culled down to frun: wall and processor time of the daemon against one
# walk plus a bare loop of cull writes in the same guest; the order exact, in one scan.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
n=${N:-100000}
culltable=${CULLTABLE:-17}

best_floor_wall='' best_floor_cpu='' best_wall='' best_cpu=''
modprobe cachefiles
mkfifo /tmp/never
prepare()
{
	umount /var/cache/fscache 2>/dev/null
	cache_disk ext4 strictatime -N $((n + n / 5)) && cullfloor populate /var/cache/fscache "$n" &&
		sync && echo 2 >/proc/sys/vm/drop_caches
}
keep_least() # VARIABLE VALUE
{
	if [ -z "${!1:-}" ] || [ "$2" -lt "${!1}" ]; then
		printf -v "$1" %s "$2"
	fi
}
value() # NAME in "wall X cpu Y"
{
	sed -n "s/.*$1 \([0-9.]*\).*/\1/p" "$2"
}

limits_config 7 5 1 /etc/cachefilesd.conf "culltable $culltable"
sed -i 's/^frun .*/frun 90%/; s/^fcull .*/fcull 80%/; s/^fstop .*/fstop 1%/' /etc/cachefilesd.conf
for round in $(seq 1 "${ROUNDS:-3}"); do
	check "$n objects" prepare
	cullfloor walk /var/cache/fscache >/tmp/walk
	# as many as the daemon will have to: until frun, which the kernel computes dividing first
	files=$(stat -f -c %c /var/cache/fscache)
	# shellcheck disable=SC2017
	todo=$((files / 100 * 90 - $(stat -f -c %d /var/cache/fscache)))
	cullfloor cull /var/cache/fscache "$todo" >/tmp/cull
	ok "the floor: a walk $(cat /tmp/walk), $todo culls $(cat /tmp/cull)"
	wait_for 10 withdrawn
	prepare
	: >/results/ours.log
	began=${EPOCHREALTIME/./}
	start_daemon ours /etc/cachefilesd.conf -d
	# rarely, and without a process: on two emulated processors the looking costs as much as the work
	over() { [[ $(</results/ours.log) == *'cull: over'* ]]; }
	until over; do
		[ $((${EPOCHREALTIME/./} - began)) -gt 180000000 ] && break
		read -r -t 0.25 <>/tmp/never
	done
	wall=$(((${EPOCHREALTIME/./} - began) / 1000))
	check "culled down to frun" over
	cpu=$(for p in $(pidof cachefilesd); do cat "/proc/$p/stat"; done | awk '{ t += $14 + $15 } END { print t * 10 }')
	rss=$(for p in $(pidof cachefilesd); do sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$p/status"; done | sort -n | tail -n 1)
	floor_wall=$(awk -v a="$(value wall /tmp/walk)" -v b="$(value wall /tmp/cull)" 'BEGIN { printf "%d", (a + b) * 1000 }')
	floor_cpu=$(awk -v a="$(value cpu /tmp/walk)" -v b="$(value cpu /tmp/cull)" 'BEGIN { printf "%d", (a + b) * 1000 }')
	note "round $round: floor wall $floor_wall ms cpu $floor_cpu ms; daemon wall $wall ms cpu $cpu ms, peak $rss KiB"
	left=$(cullfloor check /var/cache/fscache "$n")
	ok "exactly the youngest are left"
	note "$left left, $((n - left)) culled, wanted $todo"
	is "$(grep -c 'scan: complete' /results/ours.log)" 1 "one scan"
	stop_daemon
	keep_least best_floor_wall "$floor_wall"
	keep_least best_floor_cpu "$floor_cpu"
	keep_least best_wall "$wall"
	keep_least best_cpu "$cpu"
done
# other work on the host makes everything slower, never faster: so the best of each
note "best: floor wall $best_floor_wall ms cpu $best_floor_cpu ms; daemon wall $best_wall ms cpu $best_cpu ms"
check "wall time within 1.4 of the floor" [ $((best_wall * 10)) -le $((best_floor_wall * 14)) ]
check "processor time within 1.4 of the floor" [ $((best_cpu * 10)) -le $((best_floor_cpu * 14)) ]
finish
