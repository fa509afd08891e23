#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1800
# sched-64.sh - a dfdaemon that schedules 10 000 tasks for 63 peers: at most 32 MiB resident, and after its
# SIGKILL every task is known to its next owner within 10 s (TAP). tests/bench/sched.sh also bounds the time
# of an answer.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo 1..1
if "$BUILD/tests/bench_sched" "$BUILD/bin/dfdaemon" "$dir" "${SCHED_TASKS:-10000}" "${SCHED_PEERS:-63}" \
	"${SCHED_P99_US:-0}" >"$dir/out" 2>&1; then
	good=ok
else
	good="not ok"
fi
sed 's/^/# /' "$dir/out"
echo "$good 1 - ${SCHED_TASKS:-10000} tasks, $((${SCHED_PEERS:-63} + 1)) peers: memory, and the death of the owner"
[ "$good" = ok ]
