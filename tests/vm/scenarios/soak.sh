# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# soak.sh — a reader of ever new files over NFS for SECONDS_LONG (180) at RATE MiB/s (3) at most: the
# kernel never refuses for lack of space, free space never goes below stop by more than 1 MiB. With
# KILLS=N the daemon is killed (SIGKILL) N times at random moments meanwhile: the cache is never
# withdrawn, no reader sees an error, contents stay right. LIMITS="RUN CULL STOP" in percent: what the
# kernel still pins (20 s at RATE) has to fit between cull and stop.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
seconds=${SECONDS_LONG:-180}
rate=${RATE:-3}
read -r run cull_at stop_at <<<"${LIMITS:-90 80 55}"
kills=${KILLS:-0}
RANDOM=${SEED:-1}

modprobe cachefiles
cache_disk "${FS:-ext4}" strictatime
limits_config "$run" "$cull_at" "$stop_at" /etc/cachefilesd.conf
start_daemon ours /etc/cachefilesd.conf
ok "our daemon binds (${FS:-ext4}, $rate MiB/s for $seconds s, $kills kills)"
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

sampler()
{
	local low=$blocks free
	while [ ! -e /tmp/over ]; do
		free=$(stat -f -c %a /var/cache/fscache)
		[ "$free" -lt "$low" ] && low=$free && echo "$low" >/tmp/low
		usleep 100000
	done
}

watcher() # is the cache ever gone?
{
	while [ ! -e /tmp/over ]; do
		bound || echo gone >>/tmp/gone
		usleep 100000
	done
}

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
		[ -e /tmp/over ] && break
		usleep $((RANDOM * 20))
		# one of the two processes of ours; nobody can survive both at once
		wait_for 20 two_processes || break
		# shellcheck disable=SC2046
		set -- $(pidof cachefilesd)
		shift $((RANDOM % ($# > 0 ? $# : 1)))
		kill -KILL "$1" 2>/dev/null && echo "$i" >/tmp/kills
	done
}

sampler &
watcher &
[ "$kills" -gt 0 ] && killer &
dd if=/dev/urandom of=/tmp/block bs=64k count=16 2>/dev/null
began=$(date +%s)
end=$((began + seconds))
[ "$kills" -gt 0 ] && end=$((began + seconds + kills * 3))
n=0
errors=0
wrong=0
while [ "$(date +%s)" -lt "$end" ]; do
	n=$((n + 1))
	{
		echo "$n"
		cat /tmp/block
	} >"/export/n$n"
	cat "/mnt/n$n" >/tmp/got || errors=$((errors + 1))
	cmp -s /tmp/got "/export/n$n" || wrong=$((wrong + 1))
	old=$((n - 64))
	[ $old -gt 0 ] && rm -f "/export/n$old"
	pause=$((began * 1000000 + n * 1000000 / rate - ${EPOCHREALTIME/./}))
	[ $pause -gt 0 ] && usleep $pause
	[ "$kills" -gt 0 ] && [ "$(date +%s)" -ge $((began + seconds)) ] &&
		[ "$(cat /tmp/kills 2>/dev/null || echo 0)" -ge "$kills" ] && break
done
touch /tmp/over
took=$(($(date +%s) - began))
note "$n files of 1 MiB read, $((n / (took > 0 ? took : 1))) MiB/s; lowest free $(cat /tmp/low) blocks of $bsize, stop $stop"
is "$errors" 0 "no reader saw an error"
is "$wrong" 0 "every file read back right"
is "$(fscache_stat NoSpace nwr)" 0 "the kernel never refused a write for lack of space"
check "free space never went below stop by more than 1 MiB" [ "$(cat /tmp/low)" -ge $((stop - slack)) ]
culled=$(fscache_stat NoSpace cull)
check "objects were culled ($culled)" [ "$culled" -gt 0 ]
check "the cache was never withdrawn" [ ! -e /tmp/gone ]
if [ "$kills" -gt 0 ]; then
	is "$(cat /tmp/kills)" "$kills" "the daemon was killed $kills times"
fi
finish
