# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# floor.sh — N objects (100000), culled down to frun: wall and processor time of the daemon against one
# walk plus a bare loop of cull writes in the same guest; the order exact, in one scan.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
n=${N:-100000}
culltable=${CULLTABLE:-17}

modprobe cachefiles
prepare()
{
	umount /var/cache/fscache 2>/dev/null
	cache_disk ext4 strictatime -N $((n + n / 5)) && cullfloor populate /var/cache/fscache "$n" &&
		sync && echo 2 >/proc/sys/vm/drop_caches
}
value() # NAME in "wall X cpu Y"
{
	sed -n "s/.*$1 \([0-9.]*\).*/\1/p" "$2"
}

limits_config 7 5 1 /etc/cachefilesd.conf "culltable $culltable"
sed -i 's/^frun .*/frun 90%/; s/^fcull .*/fcull 80%/; s/^fstop .*/fstop 1%/' /etc/cachefilesd.conf
for round in $(seq 1 "${ROUNDS:-1}"); do
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
	enough() { [ "$(stat -f -c %d /var/cache/fscache)" -ge $((files / 100 * 90)) ]; }
	check "culled down to frun" wait_for 120 enough
	wall=$(((${EPOCHREALTIME/./} - began) / 1000))
	usleep 300000
	cpu=$(for p in $(pidof cachefilesd); do cat "/proc/$p/stat"; done | awk '{ t += $14 + $15 } END { print t * 10 }')
	rss=$(for p in $(pidof cachefilesd); do sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$p/status"; done | sort -n | tail -n 1)
	floor_wall=$(awk -v a="$(value wall /tmp/walk)" -v b="$(value wall /tmp/cull)" 'BEGIN { printf "%d", (a + b) * 1000 }')
	floor_cpu=$(awk -v a="$(value cpu /tmp/walk)" -v b="$(value cpu /tmp/cull)" 'BEGIN { printf "%d", (a + b) * 1000 }')
	note "round $round: floor wall $floor_wall ms cpu $floor_cpu ms; daemon wall $wall ms cpu $cpu ms, peak $rss KiB"
	left=$(cullfloor check /var/cache/fscache "$n")
	ok "exactly the youngest are left"
	note "$left left, $((n - left)) culled, wanted $todo"
	is "$(grep -c 'scan: complete' /results/ours.log)" 1 "one scan"
	[ $((wall * 10)) -le $((floor_wall * 14)) ]
	ok "wall time within 1.4 of the floor"
	[ $((cpu * 10)) -le $((floor_cpu * 14)) ]
	ok "processor time within 1.4 of the floor"
	stop_daemon
done
finish
