# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# powerlog.sh — record every write that a random workload of the piece store makes to FS (ext4) on a
# dm-log-writes device: the log is left on /dev/vdc, with a mark for each thing begun and acknowledged.
# OPS (600) requests from SEED (1) on. What a power loss at each moment leaves is looked at on the host
# (tests/long/store-powerloss.sh), or here when there is no third disk.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
if [ ! -b /dev/vdc ]; then
	echo "1..0 # SKIP needs a third disk (tests/long/store-*.sh)"
	exit 0
fi
fs=${FS:-ext4}

modprobe dm-mod
modprobe dm-log-writes
modprobe "$fs"
dd if=/dev/zero of=/dev/vdc bs=64k count=1 2>/dev/null
sectors=$(cat /sys/block/vda/size)
echo "0 $sectors log-writes /dev/vda /dev/vdc" | dmsetup create log --noudevsync
ok "a device whose writes are recorded"
dmsetup mknodes
case $fs in
ext4) mkfs.ext4 -q -F -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/log ;;
xfs) mkfs.xfs -q -f -K /dev/mapper/log ;;
btrfs) mkfs.btrfs -q -f -K /dev/mapper/log ;;
esac
mkdir -p /var/cache/fscache
mount -t "$fs" /dev/mapper/log /var/cache/fscache
ok "$fs on it"
printf 'dir /var/cache/fscache\nnokernel\nstore\ngrace 0s\nsocket /run/store.sock\n' >/etc/store.conf
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>/etc/store.conf
cachefilesd -n -s -f /etc/store.conf 2>/results/store.log &
daemon=$!
wait_for 20 test -S /run/store.sock
ok "the store is there"
sync
dmsetup message log 0 mark begin
STORETOOL_MARK=log storetool /run/store.sock work "${SEED:-1}" "${OPS:-600}" /results/journal
ok "${OPS:-600} requests"
note "$(grep -c ^have /results/journal) commits acknowledged"
kill -TERM "$daemon"
wait "$daemon"
umount /var/cache/fscache
dmsetup remove --noudevsync log
ok "the log is closed"
finish
