#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# store-crash.sh - the crash test of the piece store at 3000 points (TAP)
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo 1..1
if result=$("$TOP/tests/storetool/crash.sh" "$dir" 1 3000 1); then
	echo "ok 1 - SIGKILL at every system call from 1 to 3000: $result"
else
	printf '%s\n' "$result"
	echo "not ok 1 - SIGKILL at every system call from 1 to 3000"
	exit 1
fi
