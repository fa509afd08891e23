#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 3600
# sched-sim.sh - a thousand random histories of eight embedded schedulers in virtual time (TAP): deaths,
# vanished machines, partitions, deletions. No task is lost, none moves more than its replicas times its length
# after any change of the cluster.
set -u
out=$(mktemp)
trap 'rm -f "$out"' EXIT
echo 1..1
if SCHED_SIM_TRIALS=${SCHED_SIM_TRIALS:-1000} "$BUILD/tests/test_sched_sim" >"$out" 2>&1; then
	echo "ok 1 - ${SCHED_SIM_TRIALS:-1000} random histories: nothing lost, no storm"
else
	sed 's/^/# /' "$out"
	echo "not ok 1 - random histories: nothing lost, no storm"
	exit 1
fi
