# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# order.sh — tasks of the piece store and objects of the kernel's cache on one disk (strictatime), used
# alternately, a second apart: they are culled exactly in the order of their last use, whoever they belong to.
# guest-options: --add build/tests/bin/storetool:usr/sbin/storetool
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
n=${N:-12}

modprobe cachefiles
cache_disk ext4 strictatime
ok "a cache disk with strictatime"
limits_config 30 20 5 /etc/cachefilesd.conf store 'grace 0s' 'socket /run/store.sock'
start_daemon ours /etc/cachefilesd.conf
ok "our daemon binds"
wait_for 20 test -S /run/store.sock
mkdir -p /export
mount -t tmpfs export /export
nfs_server /export && nfs_mount /mnt
ok "NFS mounted with fsc"
for i in $(seq "$n"); do
	dd if=/dev/urandom of="/export/f$i" bs=1k count=$((900 + i)) 2>/dev/null
done
# made in one order …
for i in $(seq "$n" -1 1); do
	cat "/mnt/f$i" >/dev/null
	storetool /run/store.sock put "t$i" 1000000 >/dev/null
done
umount /mnt # the kernel lets go: the objects become visible
nfs_mount /mnt
# … used in another, both kinds in turn
for i in $(seq "$n"); do
	usleep 1100000
	cat "/mnt/f$i" >/dev/null
	usleep 1100000
	storetool /run/store.sock touch "t$i" >/dev/null
done
umount /mnt
ok "$n files and $n tasks used in turn"
# objects by size: object i of the kernel has (900 + i) KiB, in whole pages
cachefilesctl -f /etc/cachefilesd.conf cull --free 1000GiB >/tmp/freed
sed 's/^/# /' /tmp/freed
cachefilesctl -f /etc/cachefilesd.conf evictions >/results/evictions
cachefilesctl -f /etc/cachefilesd.conf --json evictions >/results/evictions.json
# newest first: turn it round
sed -n 's/.*"source":"\([a-z]*\)".*"label":"\([^"]*\)".*/\1 \2/p' \
	/results/evictions.json | sed '1!G;h;$!d' >/tmp/order
head -n 8 /tmp/order | sed 's/^/# /'
is "$(grep -c . /tmp/order)" $((2 * n)) "all of them were culled"
grep -vc ' task ' /tmp/order >/tmp/kernel
is "$(cat /tmp/kernel)" "$n" "half of them the kernel's"
i=0 bad=0
while read -r source label; do
	i=$((i + 1))
	if [ $((i % 2)) = 1 ]; then
		[ "$source" = kernel ] || bad=$((bad + 1))
	else
		[ "$source $label" = "tasks task t$((i / 2))" ] || bad=$((bad + 1))
	fi
done </tmp/order
is "$bad" 0 "kernel object and task in turn, each task in its place"
# times of use never go back
sed -n 's/.*"used_ns":\([0-9]*\).*/\1/p' /results/evictions.json | sed '1!G;h;$!d' >/tmp/times
sort -n -c /tmp/times
ok "and the times of last use never go back"
finish
