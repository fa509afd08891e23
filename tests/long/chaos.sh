#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 2400
# chaos.sh - tests/bats/38-chaos.bats for ten minutes, with another seed (TAP)
set -u
CHAOS_SECONDS=600 CHAOS_SEED=${CHAOS_SEED:-2} bats --tap "$TOP/tests/bats/38-chaos.bats"
