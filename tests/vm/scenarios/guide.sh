# shellcheck shell=bash disable=SC2317,SC2154 # functions are called by name; variables by eval
# SPDX-License-Identifier: GPL-2.0-or-later
# guide.sh — the commands of docs/operations.md that need the real module, as they stand there, with
# the shipped configuration; "systemctl" starts what the shipped unit says.
# guest-prepare: tests/vm/guide-prepare
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh

systemctl()
{
	local program
	[ "$*" = "enable --now cachefilesd" ] || return 1
	program=$(sed -n 's/^ExecStart=//p' /scenario/cachefilesd.service)
	# in a place with more room than the initial ram disk has
	wait_for 5 mountpoint -q /var/cache/fscache || cache_disk ext4 lazytime,strictatime || return 1
	mkdir -p /run/cachefilesd
	# shellcheck disable=SC2086 # words; DAEMON_OPTS is empty
	${program/\$DAEMON_OPTS/} -s 2>>/results/ours.log &
	wait_for 20 bound
}
mkdir -p /export
mount -t tmpfs export /export
for i in 1 2 3 4; do
	dd if=/dev/urandom of=/export/f$i bs=1M count=2 2>/dev/null
done
echo '127.0.0.1 server' >>/etc/hosts
nfs_server /export
ok "an NFS server"

# each block begins with its line
trap 'echo "# failed at line $block of the guide: $BASH_COMMAND"; false; ok "the guide"; finish' ERR
set -E
. /scenario/commands >/results/said
trap - ERR
sed 's/^/# /' /results/said
true
ok "every command of the guide worked"
bound
ok "the cache is bound"
grep -q 'mount.*fsc\|fsc' /proc/mounts
ok "the mount uses it"
cat /mnt/data/* | md5sum >/results/one
cat /export/* | md5sum | cmp - /results/one
ok "the bytes are right"
umount /mnt/data && nfs_mount /mnt/data
before=$(server_bytes_read)
cat /mnt/data/* >/dev/null
is "$(($(server_bytes_read) - before))" 0 "a second pass reads nothing from the server"
umount /mnt/data
check "an orderly stop withdraws the cache" stop_daemon
finish
