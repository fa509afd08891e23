# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# compat.sh — the same scenario under the old daemon and under ours, on the real module: which objects
# were culled, in which order, when it began and ended. Differences on purpose are listed, each with
# its reason; any other is a failure.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
n=${OBJECTS:-400}

modprobe cachefiles

# one DAEMON: n objects below the cull limit (of files), culled until the run limit
one()
{
	local which=$1 i
	cache_disk ext4 strictatime -N $((n + 400)) || return 1
	mkdir -p /var/cache/fscache/cache/Itest,volume
	chmod 700 /var/cache/fscache/cache
	mkdir -p /var/cache/fscache/cache/Itest,volume/@{00,01,02,03}
	for i in $(seq 1 "$n"); do
		# 37 is coprime to every n used here: the order of use is not the order of creation
		printf '%s %s\n' "$((i * 37 % n))" "/var/cache/fscache/cache/Itest,volume/@0$((i % 4))/T$(printf %08x "$i"),"
	done >/results/objects
	while read -r age path; do
		: >"$path"
		touch -a -d "@$((1600000000 + age * 10))" "$path"
	done </results/objects
	{
		echo 'dir /var/cache/fscache'
		echo 'frun 60%'
		echo 'fcull 55%'
		echo 'fstop 5%'
	} >/etc/test.conf
	local program=/usr/sbin/cachefilesd
	[ "$which" = old ] && program=/usr/libexec/old-cachefilesd
	[ "$which" = old ] && echo 0 >/proc/sys/kernel/randomize_va_space
	[ "$which" = ours ] && echo 2 >/proc/sys/kernel/randomize_va_space
	strace -f -qq -s 200 -e trace=write -e signal=none -o "/results/$which.strace" \
		"$program" -n -s -f /etc/test.conf 2>"/results/$which.log" &
	local pid=$!
	wait_for 20 bound || return 1
	# over when no object went for two seconds
	local last=-1 now=0
	while [ "$last" != "$now" ]; do
		last=$now
		usleep 2000000
		now=$(find /var/cache/fscache/cache -name 'T*' | wc -l)
	done
	find /var/cache/fscache/cache -name 'T*' | sed 's|.*/||' | sort >"/results/$which.survivors"
	sed -n 's/.*"cull \(T[^"]*\)".* = [0-9]*$/\1/p' "/results/$which.strace" >"/results/$which.culled"
	stat -f -c 'files %c free %d' /var/cache/fscache >"/results/$which.statfs"
	killall -TERM "${program##*/}"
	wait_for 20 withdrawn && wait_for 10 gone "${program##*/}" || return 1
	wait "$pid" 2>/dev/null
	umount /var/cache/fscache
}

# in_order FILE: the culled names are in order of their access times
in_order()
{
	awk 'NR == FNR { sub(".*/", "", $2); age[$2] = $1; next } { if (age[$1] < last) bad++; last = age[$1] }
		END { exit bad > 0 }' /results/objects "$1"
}

one old
ok "the scenario runs under the old daemon"
note "$(wc -l </results/old.culled) culled"
one ours
ok "the scenario runs under ours"
note "$(wc -l </results/ours.culled) culled"
note "old: $(cat /results/old.statfs)"
note "ours: $(cat /results/ours.statfs)"
in_order /results/old.culled
ok "the old daemon culled oldest first"
in_order /results/ours.culled
ok "ours culled oldest first"
cmp /results/old.culled /results/ours.culled >/dev/null 2>&1
same=$?
if [ $same = 0 ]; then
	true
	ok "the same objects in the same order"
else
	# both are in order of use; ours may go on beyond the run limit by its margin
	head -n "$(wc -l </results/old.culled)" /results/ours.culled | cmp - /results/old.culled
	ok "the same objects in the same order, as far as the old daemon went"
	note "on purpose: ours culled $(($(wc -l </results/ours.culled) - $(wc -l </results/old.culled))) more (margin beyond run)"
fi
finish
