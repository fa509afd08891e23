# shellcheck shell=bash disable=SC2317,SC2086
# SPDX-License-Identifier: GPL-2.0-or-later
# file systems: ext4 xfs btrfs
# guest-options: --timeout 600
# compat.sh — the same under the old daemon and under ours, on the real module: when culling begins, which
# objects go in which order, when it ends. Differences on purpose are listed with the reason; any other
# is a failure.
# shellcheck source=tests/vm/lib.sh
. /scenario/lib.sh
fs=${FS:-ext4}
n=${OBJECTS:-50}
store=/var/cache/fscache/cache/Itest,volume

modprobe cachefiles
mkdir -p /export
mount -t tmpfs export /export
for i in $(seq 1 40); do echo "$i" >"/export/t$i"; done
nfs_server /export
ok "an NFS server, cache on $fs"
note "kernel $(uname -r)"

# the order of use is not the order of creation: 37 is coprime to n
for i in $(seq 1 "$n"); do
	printf '%s %s/@0%s/T%08x,\n' "$((i * 37 % n))" "$store" "$((i % 4))" "$i"
done >/results/objects

free_blocks() { stat -f -c %a /var/cache/fscache; }
n_objects() { find $store -name 'T0000*' 2>/dev/null | wc -l; }
fewer() { [ "$(n_objects)" -lt "$n" ]; }

# one old|ours: n objects of 2 MiB; then the free space falls by 4 MiB at a time, until culling begins; leaves
# WHICH.culled (names in order), .begin (how many steps), .end (free blocks above run; left objects)
one()
{
	local which=$1 room age path step before=-1 now=0 blocks pid program
	cache_disk "$fs" strictatime || return 1
	mkdir -p $store/@{00,01,02,03} && chmod 700 /var/cache/fscache/cache
	while read -r age path; do
		dd if=/dev/urandom of="$path" bs=1M count=2 2>/dev/null
		touch -a -d "@$((1600000000 + age * 10))" "$path"
	done </results/objects
	sync
	room=$(free_percent)
	limits_config $((room - 1)) $((room - 6)) 5 /etc/test.conf
	program=/usr/sbin/cachefilesd
	echo 2 >/proc/sys/kernel/randomize_va_space
	# the old one aborts at random with address space randomisation
	[ "$which" = old ] && program=/usr/libexec/old-cachefilesd && echo 0 >/proc/sys/kernel/randomize_va_space
	strace -f -qq -s 200 -e trace=write -e signal=none -o "/results/$which.strace" \
		"$program" -n -s -f /etc/test.conf 2>"/results/$which.log" &
	pid=$!
	wait_for 20 bound || return 1
	nfs_mount /mnt || return 1
	usleep 3000000
	n_objects >"/results/$which.before"
	for step in $(seq 1 40); do
		dd if=/dev/urandom of="/var/cache/fscache/ballast$step" bs=1M count=4 2>/dev/null
		sync
		# the kernel judges the space when it stores something; the old daemon sleeps until then
		cat "/mnt/t$step" >/dev/null
		wait_for 3 fewer && break
	done
	echo "$step" >"/results/$which.begin"
	# over when no object went for six seconds
	while [ "$before" != "$now" ]; do
		before=$(n_objects)
		usleep 6000000
		now=$(n_objects)
	done
	sync
	blocks=$(stat -f -c %b /var/cache/fscache)
	# shellcheck disable=SC2017 # the kernel divides first
	echo "$(($(free_blocks) - blocks / 100 * (room - 1))) $now" >"/results/$which.end"
	sed -n 's/.*"cull \(T0000[^"]*\)".* = [0-9]*$/\1/p' "/results/$which.strace" >"/results/$which.culled"
	umount /mnt
	killall -TERM "${program##*/}"
	wait_for 20 withdrawn && wait_for 10 gone "${program##*/}" || return 1
	wait "$pid" 2>/dev/null
	umount /var/cache/fscache
}

# in_order FILE: the culled names are in order of their access times
in_order()
{
	[ -s "$1" ] &&
		awk 'NR == FNR { sub(".*/", "", $2); age[$2] = $1; next } { if (age[$1] < last) bad++; last = age[$1] }
			END { exit bad > 0 }' /results/objects "$1"
}

for which in old ours; do
	check "the scenario runs under $which" one $which
	read -r above left <"/results/$which.end"
	read -r step <"/results/$which.begin"
	note "$which: nothing culled before: $(cat /results/$which.before) of $n; begins at step $step; ends $above blocks above run with $left objects left; $(wc -l <"/results/$which.culled") culls"
	check "$which: nothing went before it was wanted" [ "$(cat /results/$which.before)" = "$n" ]
	check "$which: oldest first" in_order "/results/$which.culled"
done
is "$(cat /results/ours.begin)" "$(cat /results/old.begin)" "culling begins at the same step"
n_old=$(wc -l </results/old.culled)
n_ours=$(wc -l </results/ours.culled)
common=$((n_old < n_ours ? n_old : n_ours))
head -n $common /results/old.culled >/tmp/a
head -n $common /results/ours.culled >/tmp/b
cmp /tmp/a /tmp/b
ok "the same victims in the same order"
if [ "$fs" = btrfs ]; then
	# it gives space back with a commit, every 30 s: the old daemon does not wait for it
	note "on purpose: ours makes btrfs commit and looks again; the old daemon went on for $((n_old - n_ours)) objects more"
	check "ours culled no more than the old one" [ "$n_ours" -le "$n_old" ]
else
	is "$n_ours" "$n_old" "as many"
fi
read -r above _ </results/ours.end
check "ours ended at run" [ "$above" -ge 0 ]
note "on purpose, not seen in this run: a daemon that finds nothing to cull looks again by itself; directories that the kernel keeps in use are not tried each time; a margin (overshoot) where one is configured"
finish
