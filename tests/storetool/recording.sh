#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# recording.sh - every write that a random workload of the piece store makes to a file system of its
# own on recorddisk, in LOG, with a mark for each thing begun and acknowledged. Needs root.
#
#   recording.sh DIR FSTYPE LOG OPS SEED      exit status 4: not possible here
set -u
dir=$1 fs=$2 log=$3 ops=$4 seed=$5
tool=$BUILD/tests/bin/storetool recorder=$BUILD/tests/bin/recorddisk
pid='' disk='' loop=''
if [ ! -x "$recorder" ] || [ ! -c /dev/fuse ]; then
	echo "SKIP: no FUSE here"
	exit 4
fi
mkdir -p "$dir/rec" "$dir/recmnt"
cleanup()
{
	[ -z "$pid" ] || { kill -KILL "$pid"; wait "$pid"; } 2>/dev/null
	umount -q "$dir/recmnt"
	[ -z "$loop" ] || losetup -d "$loop"
	umount -q "$dir/rec"
	[ -z "$disk" ] || wait "$disk"
	rm -f "$dir/rec.data" "$dir/rec.sock"
}
trap cleanup EXIT
wait_for() # COMMAND...: ten seconds at most
{
	local end=$((SECONDS + 10))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		read -r -t 0.02 <> <(:) || :
	done
}
"$recorder" "$log" "$dir/rec.data" $((400 << 20)) "$dir/rec" &
disk=$!
wait_for test -e "$dir/rec/disk" || exit 1
loop=$(losetup -f --show "$dir/rec/disk") || {
	loop=
	echo "SKIP: no loop devices here"
	exit 4
}
case $fs in
ext4) mkfs.ext4 -q -F -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$loop" ;;
xfs) mkfs.xfs -q -f -K "$loop" ;;
btrfs) mkfs.btrfs -q -f -K "$loop" ;;
esac || exit 1
mount -t "$fs" "$loop" "$dir/recmnt" || exit 1
printf 'dir %s\nnokernel\nstore\ngrace 0s\nsocket %s\n' "$dir/recmnt" "$dir/rec.sock" >"$dir/rec.conf"
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>"$dir/rec.conf"
cachefilesd -n -s -f "$dir/rec.conf" 2>"$dir/rec.cachefilesd" &
pid=$!
wait_for test -S "$dir/rec.sock" || exit 1
sync -f "$dir/recmnt"
echo begin >"$dir/rec/mark"
STORETOOL_MARK=$dir/rec/mark "$tool" "$dir/rec.sock" work "$seed" "$ops" "$dir/rec.journal" || exit 1
kill -TERM "$pid"
wait "$pid" || exit 1
pid=
echo "$(grep -c ^have "$dir/rec.journal") commits acknowledged in $ops requests"
