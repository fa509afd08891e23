# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# powercut.sh — one life between two power cuts (tests/long/store-cuts.sh cuts it): the store on /dev/vdc is
# compared with the journal of the lives before, then a random workload goes on from SEED, its journal on the
# serial line, until the power goes. OPS=0: compare only. FRESH=1: make FS (ext4) first.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
if [ ! -b /dev/vdc ]; then
	echo "1..0 # SKIP needs a third disk (tests/long/store-*.sh)"
	exit 0
fi
fs=${FS:-ext4}

modprobe "$fs"
mkdir -p /var/cache/fscache
if [ -n "${FRESH:-}" ]; then
	force=-f
	[ "$fs" = ext4 ] && force=-F
	"mkfs.$fs" -q $force /dev/vdc
fi
mount -t "$fs" /dev/vdc /var/cache/fscache
ok "$fs mounted"
printf 'dir /var/cache/fscache\nnokernel\nstore\ngrace 0s\nsocket /run/store.sock\n' >/etc/store.conf
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>/etc/store.conf
cachefilesd -n -s -f /etc/store.conf 2>/results/store.log &
daemon=$!
wait_for 20 test -S /run/store.sock
ok "the store is there"
if [ -e /journal ]; then
	storetool /run/store.sock verify /journal >/results/verify
	status=$?
	sed 's/^/# verify: /' /results/verify
	[ $status = 0 ] && ! grep -q 'a task does not verify' /results/store.log
	ok "everything acknowledged is there, nothing torn, nothing invented"
fi
if [ "${OPS:-100000}" -gt 0 ]; then
	storetool /run/store.sock work "${SEED:-1}" "${OPS:-100000}" /dev/ttyS1
	ok "the workload ended before the power"
fi
kill -TERM "$daemon"
wait "$daemon"
umount /var/cache/fscache
finish
