# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# pinned.sh — every object is held by an open file while culling is wanted: the daemon waits cheaply, says
# so once, and culls within 5 s after the kernel lets the objects go.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh

modprobe cachefiles
cache_disk ext4 strictatime
limits_config 60 50 5 /etc/cachefilesd.conf
start_daemon ours /etc/cachefilesd.conf
ok "our daemon binds"
mkdir -p /export
mount -t tmpfs export /export
nfs_server /export && nfs_mount /mnt
# fill to below the cull limit, then hold every file open
i=0
while [ "$(free_percent)" -gt 45 ]; do
	i=$((i + 1))
	dd if=/dev/zero of="/export/f$i" bs=1M count=8 2>/dev/null
	cat "/mnt/f$i" >/dev/null
	exec {fd}<"/mnt/f$i"
	[ $i -gt 200 ] && break
done
note "$i files held open, $(free_percent) % free"
culled=$(fscache_stat NoSpace cull)
lines=$(wc -l </results/ours.log)
cpu() # ticks used by all processes of ours
{
	local p
	for p in $(pidof cachefilesd); do
		cat "/proc/$p/stat"
	done | awk '{ n += $14 + $15 } END { print n }'
}
before=$(cpu)
usleep 20000000
used=$(($(cpu) - before))
note "CPU in 20 s while everything was in use: $used ticks of 2000"
[ "$used" -lt 20 ]
ok "less than 1 % of a core"
new=$(($(wc -l </results/ours.log) - lines))
[ "$new" -le 3 ]
ok "one log line per change of state ($new new lines)"
tail -n 5 /results/ours.log | sed 's/^/# /'
is "$(fscache_stat NoSpace cull)" "$culled" "nothing in use was culled"
# let go of all of them; umount makes the kernel release them at once
for fd in /proc/self/fd/*; do
	fd=${fd##*/}
	[ "$fd" -gt 9 ] && exec {fd}<&-
done
umount /mnt
released=${EPOCHREALTIME/./}
# shellcheck disable=SC2317 # called by wait_for
culled_more()
{
	[ "$(fscache_stat NoSpace cull)" -gt "$culled" ]
}
check "culling goes on after the release" wait_for 10 culled_more
took=$(((${EPOCHREALTIME/./} - released) / 1000))
note "first object culled $took ms after the release"
[ "$took" -le 5000 ]
ok "within 5 s"
finish
