# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# smoke.sh — the guest itself: the old daemon binds, NFS reads are cached, a second read is local.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh

modprobe cachefiles
ok "the cachefiles module loads ($(uname -r))"
cache_disk ext4
ok "an ext4 cache disk"
cat >/etc/cachefilesd.conf <<'EOF'
dir /var/cache/fscache
tag smoke
EOF
echo 0 >/proc/sys/kernel/randomize_va_space
/usr/libexec/old-cachefilesd -n -s 2>/results/old.log &
wait_for 10 test "$(cache_state)" = A || wait_for 10 sh -c 'grep -q " A " /proc/fs/fscache/caches'
ok "the old daemon binds the cache"
mkdir -p /export
mount -t tmpfs export /export
for i in 1 2 3 4 5 6 7 8; do
	dd if=/dev/urandom of=/export/f$i bs=64k count=4 2>/dev/null
done
nfs_server /export
ok "an NFS server"
nfs_mount /mnt
ok "an NFS mount with fsc"
before=$(server_bytes_read)
cat /mnt/f* | md5sum >/results/cold
cold=$(($(server_bytes_read) - before))
[ "$cold" -ge $((8 * 256 * 1024)) ]
ok "a cold pass reads from the server ($cold bytes)"
umount /mnt
nfs_mount /mnt
before=$(server_bytes_read)
cat /mnt/f* | md5sum >/results/warm
is "$(($(server_bytes_read) - before))" 0 "a pass after remount reads nothing from the server"
cmp /results/cold /results/warm
ok "the same bytes"
finish
