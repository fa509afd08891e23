#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# cachefilesd killed at its n-th system call: acknowledged commits survive, nothing torn, nothing
# invented, nothing deleted comes back (all points: tests/long/store-crash.sh)

bats_require_minimum_version 1.5.0

@test "SIGKILL at 30 points of a random workload" {
	run "$BUILD/tests/tools/killat" 0 true
	[ "$status" != 1 ] || skip "processes cannot be traced here"
	run -0 "$TOP/tests/storetool/crash.sh" "$BATS_TEST_TMPDIR" 20 3200 109
	[[ "$output" == *"30 trials"*" 0 violations"* ]]
	echo "# $output" >&3
}
