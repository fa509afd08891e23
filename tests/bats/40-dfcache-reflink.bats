#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# a sparse file of 100 GiB: exported by reflink on XFS and btrfs, by hard link on ext4, without writing
# data (extents compared, writes counted at the block device), and in no time (make bench)
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup()
{
	. "$TOP/tests/lib/nodes.bash"
	[ "$(id -u)" -eq 0 ] || skip "needs root to mount a file system"
	mnt=$BATS_TEST_TMPDIR/mnt
	mkdir "$mnt"
}

teardown()
{
	. "$TOP/tests/lib/nodes.bash"
	[ -z "${NODES:-}" ] || nodes_end
	cd /
	umount "$mnt" 2>/dev/null || :
	[ -z "${loop:-}" ] || losetup -d "$loop" 2>/dev/null || :
}

begin() # FILE-SYSTEM MKFS...
{
	command -v "$2" >/dev/null || skip "$2 is not installed"
	truncate -s 8G "$BATS_TEST_TMPDIR/image"
	"${@:2}" "$BATS_TEST_TMPDIR/image" >/dev/null 2>&1
	loop=$(losetup -f --show "$BATS_TEST_TMPDIR/image") || skip "no loop device"
	mount -t "$1" "$loop" "$mnt" || skip "$1 cannot be mounted here"
	nodes_begin "$mnt/nodes"
	nodes_start 1 || { nodes_show; return 1; }
	printf '[dfcache]\nlog_dir =\n' >"$BATS_TEST_TMPDIR/dfcache.conf"
	export DFCACHE_CONFIG=$BATS_TEST_TMPDIR/dfcache.conf
	cd "$mnt"
	truncate -s 100G big
	head -c 10000000 /dev/urandom | dd of=big bs=1M seek=50000 conv=notrunc status=none
	head -c 10000000 /dev/urandom | dd of=big bs=1M seek=102390 conv=notrunc status=none
}

written() # bytes that reached the device
{
	sync -f "$mnt"
	local stat
	read -ra stat <"/sys/block/$(basename "$loop")/stat"
	# not by awk: mawk prints what is above 2^31 with an exponent
	echo $((stat[6] * 512))
}

# where its data is on the device (the flags aside: the last extent says so of itself)
extents() # FILE
{
	filefrag -e "$1" | sed -n 's/^ *[0-9]*: *\([0-9.: ]*\).*/\1/p' | tr -s ' '
}

# Export twice, so that the second one finds the daemon with the task in hand. No data is written: the
# output has the extents of the store's file, and what reaches the device meanwhile is less than 1 MiB
# of metadata (btrfs writes some hundred KiB of trees in a commit) for 20 MB of data. With
# EXPORT_TIMED (tests/bench/reflink.sh) the best of ten takes at most 50 ms.
fast_and_dry() # PLACED EXPORT-ARGS...
{
	local before after ms best=999999 round rounds=1 stored
	[ -z "${EXPORT_TIMED:-}" ] || rounds=10
	on 1 export "$id" -O first "${@:2}"
	# not "i": run of bats sets that
	for ((round = 0; round < rounds; round++)); do
		rm -f second
		before=$(written)
		run -0 --separate-stderr on 1 export "$id" -O second --json "${@:2}"
		after=$(written)
		ms=$(jq '.seconds * 1000 | round' <<<"$output")
		[ "$ms" -ge "$best" ] || best=$ms
		[[ $output == *"\"placed\": \"$1\""* ]]
		[ $((after - before)) -lt 1048576 ]
	done
	echo "# $1: $best ms, $((after - before)) bytes of metadata written" >&3
	[ -z "${EXPORT_TIMED:-}" ] || [ "$best" -le 50 ]
	stored=$(find nodes/1/cache/pieces/tasks -name data -path "*/$id/*")
	[ -n "$(extents second)" ]
	diff <(extents "$stored") <(extents second)
	[ "$(stat -c %s second)" -eq $((100 << 30)) ]
	for at in 50000 102390 0; do
		cmp -n 10485760 -i $((at << 20)) big second
	done
}

@test "XFS: reflink" {
	begin xfs mkfs.xfs -q
	id=$(on 1 import big)
	fast_and_dry reflink
}

@test "btrfs: reflink" {
	begin btrfs mkfs.btrfs -q
	id=$(on 1 import big)
	fast_and_dry reflink
}

@test "ext4: hard link" {
	begin ext4 mkfs.ext4 -q
	id=$(on 1 import big)
	fast_and_dry hardlink --force-hard-link
	[ "$(stat -c %i first)" = "$(stat -c %i second)" ]
}
