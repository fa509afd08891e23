# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kernel.sh — our cachefilesd on the real module: bind, NFS through the cache, cull under pressure
# in order of use, SIGKILL leaves the cache bound, an orderly stop withdraws it. For one file system
# (FS=ext4|xfs|btrfs).
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
fs=${FS:-ext4}

modprobe cachefiles
cache_disk "$fs" strictatime
ok "a $fs cache disk ($(uname -r))"
limits_config 40 25 10 /etc/cachefilesd.conf
start_daemon ours /etc/cachefilesd.conf
ok "our daemon binds the cache"

mkdir -p /export
mount -t tmpfs export /export
for i in $(seq 1 40); do
	dd if=/dev/urandom of="/export/f$i" bs=1M count=2 2>/dev/null
done
nfs_server /export && nfs_mount /mnt
ok "NFS mounted with fsc"
before=$(server_bytes_read)
cat /mnt/f1 /mnt/f2 /mnt/f3 /mnt/f4 | md5sum >/results/cold
[ $(($(server_bytes_read) - before)) -ge $((8 << 20)) ]
ok "a cold pass reads from the server"
umount /mnt && nfs_mount /mnt
before=$(server_bytes_read)
cat /mnt/f1 /mnt/f2 /mnt/f3 /mnt/f4 | md5sum >/results/warm
is "$(($(server_bytes_read) - before))" 0 "a warm pass after remount reads nothing from the server"
cmp /results/cold /results/warm
ok "the same bytes"

kill -KILL "$daemon_pid"
wait "$daemon_pid" 2>/dev/null
bound
ok "SIGKILL of the daemon leaves the cache bound"
wait_for 10 sh -c 'pidof cachefilesd'
ok "a daemon is running again"
umount /mnt && nfs_mount /mnt
before=$(server_bytes_read)
cat /mnt/f1 /mnt/f2 /mnt/f3 /mnt/f4 | md5sum >/results/after-kill
is "$(($(server_bytes_read) - before))" 0 "reads are still served from the cache"

free_before=$(fscache_stat NoSpace nwr)
for i in $(seq 1 40); do
	cat "/mnt/f$i" >/dev/null
	usleep 400000
done
umount /mnt
wait_for 40 sh -c "[ \$(stat -f -c '%a' /var/cache/fscache) -ge \$((\$(stat -f -c %b /var/cache/fscache) / 100 * 25)) ]"
ok "culling keeps the disk above the cull limit ($(free_percent) % free)"
[ "$(fscache_stat NoSpace cull)" -gt 0 ]
ok "objects were culled ($(fscache_stat NoSpace cull))"
note "writes refused for lack of space: $(fscache_stat NoSpace nwr) (before: $free_before)"
nfs_mount /mnt
for i in 1 20 40; do
	cmp "/export/f$i" "/mnt/f$i"
	ok "f$i reads back right"
done
umount /mnt
pkill -TERM -f /usr/sbin/cachefilesd || pkill -TERM cachefilesd
wait_for 20 withdrawn
ok "an orderly stop withdraws the cache"
wait_for 5 sh -c '! pidof cachefilesd'
ok "no process is left"
finish
