# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# guest-options: --timeout 1500
# soak.sh — a reader of ever new files over NFS for SECONDS_LONG (240) at RATE MiB/s (3) at most: the
# kernel never refuses for lack of space, free space never goes below stop by more than 1 MiB. With
# KILLS=N (scenario kills) processes of the daemon are killed (SIGKILL) N times at random moments
# meanwhile: the cache is never withdrawn, no reader sees an error, contents stay right.
# LIMITS="RUN CULL STOP" in percent: what the kernel still pins (20 s at RATE) has to fit between cull
# and stop; scenario narrow is about limits where it does not.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
seconds=${SECONDS_LONG:-240}
rate=${RATE:-3}
read -r run cull_at stop_at <<<"${LIMITS:-90 80 55}"
kills=${KILLS:-0}
RANDOM=${SEED:-1}

modprobe cachefiles
cache_disk "${FS:-ext4}" strictatime
limits_config "$run" "$cull_at" "$stop_at" /etc/cachefilesd.conf
start_daemon ours /etc/cachefilesd.conf
ok "our daemon binds (${FS:-ext4}, at most $rate MiB/s for $seconds s, $kills kills)"
note "kernel $(uname -r)"
mkdir -p /export
mount -t tmpfs -o size=512m export /export
nfs_server /export && nfs_mount /mnt
ok "NFS mounted with fsc"

blocks=$(stat -f -c %b /var/cache/fscache)
bsize=$(stat -f -c %S /var/cache/fscache)
# the kernel divides first
# shellcheck disable=SC2017
stop=$((blocks / 100 * stop_at))
slack=$((1048576 / bsize))

mkfifo /tmp/watch
spacewatch /var/cache/fscache 100 </tmp/watch >/results/space &
watcher=$!
exec 8>/tmp/watch

# shellcheck disable=SC2317 # called by wait_for
two_processes()
{
	# shellcheck disable=SC2046
	set -- $(pidof cachefilesd)
	[ $# -ge 2 ]
}

killer()
{
	local i
	for i in $(seq 1 "$kills"); do
		usleep $((RANDOM * 20))
		# one of the two processes of ours; nobody can survive both at once
		wait_for 20 two_processes || break
		# shellcheck disable=SC2046
		set -- $(pidof cachefilesd)
		shift $((RANDOM % ($# > 0 ? $# : 1)))
		kill -KILL "$1" 2>/dev/null && echo "$i" >/tmp/kills
		[ $((i % 25)) = 0 ] && note "$i kills after $(($(date +%s) - began)) s"
	done
	: >/tmp/killed
}

dd if=/dev/urandom of=/tmp/block bs=64k count=16 2>/dev/null
began=$(date +%s)
[ "$kills" -gt 0 ] && killer 8>&- &
n=0
errors=0
wrong=0
# as long as asked, and until the last kill
while [ $(($(date +%s) - began)) -lt "$seconds" ] || { [ "$kills" -gt 0 ] && [ ! -e /tmp/killed ]; }; do
	n=$((n + 1))
	{
		echo "$n"
		cat /tmp/block
	} >"/export/n$n"
	cat "/mnt/n$n" >/tmp/got || errors=$((errors + 1))
	cmp -s /tmp/got "/export/n$n" || wrong=$((wrong + 1))
	# and one that was read before: from the cache, or, when it was culled, from the server
	old=$((n > 50 ? n - RANDOM % 50 : n))
	cmp -s "/mnt/n$old" "/export/n$old" || wrong=$((wrong + 1))
	old=$((n - 64))
	[ $old -gt 0 ] && rm -f "/export/n$old"
	pause=$((began * 1000000 + n * 1000000 / rate - ${EPOCHREALTIME/./}))
	[ $pause -gt 0 ] && usleep $pause
done
took=$(($(date +%s) - began))
exec 8>&-
wait "$watcher"
read -r _ samples _ lowest _ gap _ gone </results/space
note "$n files of 1 MiB read in $took s: $((n * 1024 / (took > 0 ? took : 1))) KiB/s"
note "free space: $samples samples, at most $gap ms apart, lowest $lowest blocks of $bsize, stop $stop"
culled=$(fscache_stat NoSpace cull)
note "$culled objects culled; refused writes $(fscache_stat NoSpace nwr), creations $(fscache_stat NoSpace ncr)"
is "$errors" 0 "no reader saw an error"
is "$wrong" 0 "every file read back right"
is "$(fscache_stat NoSpace nwr)" 0 "the kernel never refused a write for lack of space"
is "$(fscache_stat NoSpace ncr)" 0 "nor a creation"
check "free space never went below stop by more than 1 MiB" [ "$lowest" -ge $((stop - slack)) ]
check "objects were culled" [ "$culled" -gt 0 ]
is "$gone" 0 "the cache was there in every sample"
dmesg >/results/dmesg
is "$(grep -c 'File cache on .* registered' /results/dmesg)" 1 "the kernel registered one cache"
is "$(grep -c 'unregistering' /results/dmesg)" 0 "and never withdrew it"
if [ "$kills" -gt 0 ]; then
	is "$(cat /tmp/kills)" "$kills" "the daemon was killed $kills times"
	check "and two processes are there again" wait_for 20 two_processes
fi
finish
