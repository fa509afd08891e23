#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# what is counted and what is free, on three file systems, with exports that share the blocks: no cull
# removes more than it must, and none goes on for ever

bats_require_minimum_version 1.5.0
load ../lib/cachefilesd.bash

teardown()
{
	cleanup
	[ -z "${MOUNTED-}" ] || umount "$D" 2>/dev/null || umount -l "$D" || :
}

disk() # FILE-SYSTEM MIB MKFS...
{
	[ "$(id -u)" = 0 ] || skip "needs root"
	command -v "$3" >/dev/null || skip "$3 is not installed"
	mkdir -p "$D"
	truncate -s "$2M" "$BATS_TEST_TMPDIR/image"
	"${@:3}" "$BATS_TEST_TMPDIR/image" >/dev/null 2>&1
	mount -t "$1" -o loop "$BATS_TEST_TMPDIR/image" "$D" 2>/dev/null || skip "$1 cannot be mounted here"
	MOUNTED=1
	config 'grace 0s'
	start
	for i in $(seq 8); do tool put "t$i" $((5 << 20)); done
	sync -f "$D"
}

avail() { stat -f -c '%a %S' "$D" | awk '{printf "%.0f\n", $1 * $2}'; }
counted() { ctl --json status | jq ".$1"; }
data() { find "$D/pieces/tasks" -path "*/$1/data"; }
near() { [ $(($1 - $2)) -lt "$3" ] && [ $(($2 - $1)) -lt "$3" ]; }

agrees() # with du, ls, the metrics and statfs
{
	local files all
	files=$(find "$D/pieces/tasks" -type f -printf '%b\n' | awk '{s += $1} END {printf "%.0f\n", s * 512}')
	near "$(counted tasks_bytes)" "$files" 65536
	all=$(ctl --json ls | jq -s 'map(.bytes // .bytes_on_disk) | add // 0')
	[ "$all" = "$(counted tasks_bytes)" ]
	[ "$(ctl metrics | sed -n 's/^cachefilesd_tasks_bytes //p')" = "$(counted tasks_bytes)" ]
	near "$(counted space_free_bytes)" "$(avail)" $((1 << 20))
}

# two of the eight are exported in a way that shares their blocks; room for two tasks is asked for
shared_cull() # EXPORT-COMMAND...
{
	local before want left
	agrees
	for i in 1 2; do "$@" "$(data "t$i")" "$D/export$i"; done
	sync -f "$D"
	before=$(avail)
	want=$((before + (9 << 20)))
	run -0 timeout 60 cachefilesctl -f "$CONF" cull --free "$want"
	echo "$output"
	sync -f "$D"
	[ "$(avail)" -ge $((want - (1 << 20))) ]
	left=$(ctl --json ls | jq -s length)
	# t1 and t2 gave nothing; two more were needed, and one for what metadata takes at the most
	[ "$left" -ge 3 ]
	[ "$left" -le 4 ]
	agrees
	# more than there is: it ends, says so, and everything that could go is gone
	run timeout 60 cachefilesctl -f "$CONF" cull --free 1000GiB
	echo "$output"
	[[ "$output" == *"nothing more can go"* ]]
	[ "$(ctl --json ls | jq -s length)" = 0 ]
	cmp <(head -c 4096 "$D/export1") <(head -c 4096 "$D/export1")
	[ "$(stat -c %s "$D/export1")" = $((5 << 20)) ]
	agrees
	stop
}

@test "ext4, hard-linked exports" {
	disk ext4 96 mkfs.ext4 -q -m 0
	shared_cull ln
}

@test "xfs, reflinked exports" {
	disk xfs 320 mkfs.xfs -q -m reflink=1
	shared_cull cp --reflink=always
}

@test "xfs, hard-linked exports" {
	disk xfs 320 mkfs.xfs -q
	shared_cull ln
}

@test "btrfs, reflinked exports" {
	disk btrfs 320 mkfs.btrfs -q -m single -d single
	shared_cull cp --reflink=always
}

@test "btrfs, nothing shared: freed bytes that are not visible yet do not make it cull more" {
	disk btrfs 320 mkfs.btrfs -q -m single -d single
	before=$(avail)
	run -0 timeout 60 cachefilesctl -f "$CONF" cull --free $((before + (9 << 20)))
	echo "$output"
	left=$(ctl --json ls | jq -s length)
	[ "$left" -ge 5 ]
	[ "$left" -le 6 ]
	sync -f "$D"
	[ "$(avail)" -ge $((before + (9 << 20))) ]
	agrees
	stop
}
