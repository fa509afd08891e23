#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1800
# partition.sh - tests/bats/39-partition.bats with eight nodes, four on each side, three times (TAP)
set -u
for _ in 1 2 3; do
	PARTITION_N=8 bats --tap "$TOP/tests/bats/39-partition.bats" || exit 1
done
