#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1800
# dfcache-crash.sh — SIGKILL of dfdaemon at every system call of an export to a path: the one that its
# broker makes, as the caller. With io_uring, and with epoll, which has a system call for each step.
export CRASH_EXPORT=--force-hard-link
failed=0
for NODES_LOOP in io_uring epoll; do
	export NODES_LOOP
	echo "# loop = $NODES_LOOP"
	bats --filter "a daemon that is killed" "$TOP/tests/bats/40-dfcache-crash.bats" || failed=1
done
exit $failed
