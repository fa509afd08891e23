# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# verity.sh — the keyword fsverity: committed data is verified by the kernel at every read. A bit that is
# flipped on the raw device is an error for who reads, scrub reports the task and the daemon drops it,
# alone; without the keyword the kernel hands the wrong bytes out and scrub alone finds them. FS: ext4 or btrfs.
# guest-options: --add build/tests/bin/storetool:usr/sbin/storetool
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
fs=${FS:-ext4}

store() # LINE...: a store configured with these
{
	printf 'dir /var/cache/fscache\nnokernel\nstore\ngrace 0s\nsocket /run/store.sock\n' >/etc/store.conf
	printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>/etc/store.conf
	[ $# = 0 ] || printf '%s\n' "$@" >>/etc/store.conf
	cachefilesd -n -s -f /etc/store.conf 2>>/results/store.log &
	daemon_pid=$!
	wait_for 20 test -S /run/store.sock
}

stop()
{
	kill -TERM "$daemon_pid"
	wait "$daemon_pid"
}

t()
{
	storetool /run/store.sock "$@"
}

data() # ID: its file
{
	echo /var/cache/fscache/pieces/tasks/*/"$1"/data
}

flip() # ID: one bit of its first block, on the device, behind the file system's back
{
	local at
	at=$(storetool - where "$(data "$1")") || return 1
	sync
	dd if=/dev/vda bs=1 skip="$at" count=1 2>/dev/null | od -An -tu1 >/tmp/byte
	# shellcheck disable=SC2059
	printf "\\$(printf '%03o' $(($(cat /tmp/byte) ^ 4)))" |
		dd of=/dev/vda bs=1 seek="$at" conv=notrunc,fsync 2>/dev/null
	echo 3 >/proc/sys/vm/drop_caches
}

case $fs in
ext4) cache_disk ext4 '' -O verity ;;
btrfs) cache_disk btrfs nodatasum -d single -m single ;;
esac
ok "$fs that knows verity"
store fsverity
ok "the store is there"
for i in 1 2 3; do
	t put "v$i" 300000 >/dev/null
done
check "read back right" t get v2
flip v2
ok "a bit is flipped on the device"
t get v2 >/tmp/got
note "$(cat /tmp/got)"
grep -q 'cannot be read' /tmp/got
ok "the kernel refuses to read it"
dmesg | grep -i verity | tail -n 2 | sed 's/^/# /'
cachefilesctl -f /etc/store.conf scrub >/tmp/scrub 2>&1
sed 's/^/# /' /tmp/scrub
grep -q v2 /tmp/scrub
ok "scrub reports it"
t stat v2 >/dev/null
is "$?" 1 "the task is gone"
check "the others are not" t get v1
check "and it can come again" t put v2 300000
check "right" t get v2
stop
ok "an orderly stop"
store
t put plain 300000 >/dev/null
flip plain
t get plain >/tmp/got
note "without the keyword: $(cat /tmp/got)"
grep -q 'wrong bytes' /tmp/got
ok "without the keyword nobody notices at the read"
cachefilesctl -f /etc/store.conf scrub >/tmp/scrub 2>&1
grep -q plain /tmp/scrub
ok "scrub does"
stop
finish
