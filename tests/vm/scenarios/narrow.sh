# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# guest-options: --timeout 600 --disk 128
# narrow.sh — files come in faster than fits between cull and stop for the 20 s in which the kernel keeps
# them: the daemon says so, with numbers, in the log, in status and in metrics; and takes it back.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh

modprobe cachefiles
cache_disk "${FS:-ext4}" strictatime
# near to what is free at first, so that a slow machine's reader gets there before the kernel lets go
room=$(free_percent)
limits_config $((room - 2)) $((room - 3)) $((room - 4)) /etc/cachefilesd.conf
start_daemon ours /etc/cachefilesd.conf
ok "our daemon binds, cull and stop are 1 % apart"
mkdir -p /export
mount -t tmpfs -o size=512m export /export
nfs_server /export && nfs_mount /mnt
ok "NFS mounted with fsc"

dd if=/dev/urandom of=/tmp/block bs=64k count=16 2>/dev/null
refused() { [ "$(fscache_stat NoSpace nwr)" -gt 0 ] || [ "$(fscache_stat NoSpace ncr)" -gt 0 ]; }
narrow() { grep -q 'state=too-narrow' /results/ours.log; }
began=$(date +%s)
n=0
refused_at=''
errors=0
until narrow || [ $(($(date +%s) - began)) -gt 150 ]; do
	n=$((n + 1))
	cp /tmp/block "/export/n$n"
	cmp -s "/mnt/n$n" "/export/n$n" || errors=$((errors + 1))
	[ $n -gt 100 ] && rm -f "/export/n$((n - 100))"
	[ -z "$refused_at" ] && refused && refused_at=${EPOCHREALTIME/./}
done
said_at=${EPOCHREALTIME/./}
check "the daemon says that the limits are too narrow" narrow
note "$n files of 1 MiB in $(($(date +%s) - began)) s"
[ -n "$refused_at" ] && note "said $(((said_at - refused_at) / 1000)) ms after the kernel's first refusal"
[ -n "$refused_at" ] && [ $((said_at - refused_at)) -le 5000000 ]
ok "within 5 s of the kernel's first refusal"
grep 'state=too-narrow' /results/ours.log | sed 's/^/# /'
size='[0-9.]+ [kMG]iB'
grep -Eq "too narrow for the rate of filling: $size a second .*should be $size apart and are $size" /results/ours.log
ok "with the rate, what would be needed and what is there"
cachefilesctl --json status >/results/status
grep -q '"trouble": "too-narrow"' /results/status
ok "status says it"
cachefilesctl metrics >/results/metrics
grep -q 'cachefilesd_trouble_total{cause="too-narrow"} 1' /results/metrics
ok "metrics count it"
is "$errors" 0 "readers got the right bytes all the time"
umount /mnt
# shellcheck disable=SC2317
over() { grep -q 'going on again.*before=too-narrow' /results/ours.log; }
check "it is over when nothing comes any more" wait_for 60 over
check "an orderly stop" stop_daemon
finish
