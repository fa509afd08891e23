#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# scan-1m.sh - one million objects: at culltable 17 and 20 the oldest are chosen and ordered in one scan, in
# at most 1.15 times the processor time of a bare walk, within 64 MiB; no survivor older than a victim (TAP)
# timeout: 1200
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=0
for table in 17 20; do
	n=$((n + 1))
	if "$BUILD/tests/bin/scan_bench" "$dir" 1000000 "$table" 5 $((table - 2)) >"$dir/out" 2>&1; then
		echo "ok $n - culltable $table"
	else
		echo "not ok $n - culltable $table"
	fi
	sed 's/^/# /' "$dir/out"
done
echo "1..$n"
