#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# power loss at a few moments of a random workload: what was acknowledged is there, nothing is torn,
# nothing invented (1000 moments each: tests/long/store-powerloss.sh)

bats_require_minimum_version 1.5.0

setup()
{
	[ "$(id -u)" = 0 ] || skip "needs root (loop mounts)"
}

sample() # FILE-SYSTEM: fixed seed
{
	RECORDER=host JOBS=2 SEED=5 OPS=60 FILESYSTEMS=$1 POINTS=8 "$TOP/tests/long/store-powerloss.sh"
}

@test "power loss at 8 moments, ext4" {
	run sample ext4
	[ "$status" != 4 ] || skip "$output"
	echo "$output"
	[ "$status" = 0 ]
	[[ "$output" == *" 8 points"*" 0 violations"* ]]
}

@test "power loss at 8 moments, xfs" {
	command -v mkfs.xfs >/dev/null || skip "mkfs.xfs is not installed"
	run sample xfs
	[ "$status" != 4 ] || skip "$output"
	echo "$output"
	[ "$status" = 0 ]
	[[ "$output" == *" 8 points"*" 0 violations"* ]]
}

@test "a disk that lies about its flushes is noticed, so the oracle sees" {
	REPLAYLOG_LIE=20 run sample ext4
	[ "$status" != 4 ] || skip "$output"
	echo "$output"
	[ "$status" = 1 ]
	[[ "$output" == *"an acknowledged commit is lost"* ]]
}
