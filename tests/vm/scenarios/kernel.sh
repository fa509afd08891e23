# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# file systems: ext4 xfs btrfs
# kernel.sh — our cachefilesd on the real module: bind, NFS through the cache, cull under pressure
# in order of use, SIGKILL leaves the cache bound, an orderly stop withdraws it. For one file system
# (FS=ext4|xfs|btrfs).
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
fs=${FS:-ext4}

modprobe cachefiles
cache_disk "$fs" strictatime
ok "a $fs cache disk"
note "kernel $(uname -r)"
# relative to what is free on the empty file system: btrfs keeps much for itself
room=$(free_percent)
note "$room % free at first"
limits_config $((room - 5)) $((room - 10)) $((room - 50)) /etc/cachefilesd.conf
start_daemon ours /etc/cachefilesd.conf
ok "our daemon binds the cache"
# what is left after the bind is what everything below, and every other scenario, works with
threads() { awk '/^Threads:/ { print $2 }' "/proc/$1/status"; }
for p in $(pidof cachefilesd); do [ "$(threads "$p")" -gt 1 ] && worker=$p; done
# CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SYS_ADMIN
is "$(sed -n 's/^CapPrm:\t0*//p' "/proc/$worker/status")" 20000a "three capabilities are left"
is "$(sed -n 's/^CapBnd:\t0*//p' "/proc/$worker/status")" 20000a "and no more can come"
is "$(sed -n 's/^NoNewPrivs:\t//p; s/^Seccomp:\t//p' "/proc/$worker/status" | tr -d '\n')" 12 "no new privileges, and a seccomp filter"

mkdir -p /export
mount -t tmpfs export /export
for i in $(seq 1 60); do
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

for i in $(seq 1 60); do
	cat "/mnt/f$i" >/dev/null
	usleep 200000
done
umount /mnt
check "culled up to the run limit" wait_for 120 free_at_least $((room - 6))
culled=$(fscache_stat NoSpace cull)
check "objects were culled by the kernel ($culled)" [ "$culled" -gt 5 ]
is "$(fscache_stat NoSpace nwr)" 0 "no write was refused for lack of space"
nfs_mount /mnt
for i in 1 30 60; do
	check "f$i reads back right" cmp "/export/f$i" "/mnt/f$i"
done
# oldest first: of the files read last, none was fetched again
before=$(server_bytes_read)
for i in 58 59 60; do
	cat "/mnt/f$i" >/dev/null
done
is "$(($(server_bytes_read) - before))" 0 "the files used last are still in the cache"
umount /mnt
check "an orderly stop withdraws the cache and leaves no process" stop_daemon
finish
