#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# oracle.sh - a store on a disk image after a power loss: mount it, start cachefilesd, and compare with
# the journal of what had been acknowledged.
#
#   oracle.sh DIR FSTYPE IMAGE JOURNAL     exit status 0: nothing acknowledged is lost, torn or invented
set -u
dir=$1 fs=$2 image=$3 journal=$4
pid=
mkdir -p "$dir/mnt"
trap '[ -z "$pid" ] || { kill -KILL "$pid"; wait "$pid"; } 2>/dev/null; umount -q "$dir/mnt"' EXIT
options=loop,noatime
[ "$fs" != xfs ] || options=$options,nouuid # others look at the same file system at other moments
if ! mount -t "$fs" -o "$options" "$image" "$dir/mnt" 2>"$dir/mount.log"; then
	echo "# the file system cannot be mounted: $(cat "$dir/mount.log")"
	exit 1
fi
printf 'dir %s\nnokernel\nstore\ngrace 0s\nsocket %s\n' "$dir/mnt" "$dir/sock" >"$dir/conf"
printf 'brun 3%%\nbcull 2%%\nbstop 1%%\nfrun 3%%\nfcull 2%%\nfstop 1%%\n' >>"$dir/conf"
rm -f "$dir/sock"
cachefilesd -n -s -f "$dir/conf" 2>"$dir/log" &
pid=$!
until [ -S "$dir/sock" ]; do
	if ! kill -0 "$pid" 2>/dev/null; then
		echo "# cachefilesd does not start:"
		sed 's/^/#   /' "$dir/log"
		exit 1
	fi
	read -r -t 0.01 <> <(:) || :
done
bad=0
"$BUILD/tests/bin/storetool" "$dir/sock" verify "$journal" >"$dir/verify" 2>&1 || bad=1
# between commit and rename a task is a partial; a complete one that does not verify was torn
if grep -q 'a task does not verify' "$dir/log"; then
	bad=1
fi
[ "$bad" = 0 ] || sed 's/^/#   /' "$dir/verify" "$dir/log" | tail -20
kill -TERM "$pid"
wait "$pid" || bad=1
pid=
exit $bad
