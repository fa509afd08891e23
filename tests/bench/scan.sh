#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# scan.sh - OBJECTS (10 million) objects: the oldest 2^20 chosen and ordered in one scan, beside a bare
# getdents + statx walk, on a file system of its own when we may mount one; and the same victims with a
# table of half the size, in two passes. SCAN_DIR: a directory that an earlier run filled.
set -eu
objects=${OBJECTS:-10000000}
bench=("$BUILD/tests/bin/scan_bench")
figures=("$objects" "${CULLTABLE:-20}" "${ROUNDS:-3}" "${SMALLER:-19}")
[ -z "${SCAN_DIR:-}" ] || exec "${bench[@]}" "$SCAN_DIR" "${figures[@]}"
dir=$(mktemp -d)
trap 'umount "$dir/fs" 2>/dev/null; rm -rf "$dir"' EXIT
mkdir "$dir/fs"
# its removal takes no time then, and nobody else's inodes are used up
truncate -s $((objects / 1000 + 200))M "$dir/image"
if [ "$(id -u)" = 0 ] && mkfs.ext4 -q -F -m 0 -O ^has_journal -N $((objects + objects / 20 + 4096)) "$dir/image"; then
	mount -o loop "$dir/image" "$dir/fs" || true
fi
"${bench[@]}" "$dir/fs" "${figures[@]}"
