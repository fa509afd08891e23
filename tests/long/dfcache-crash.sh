#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1800
# dfcache-crash.sh — SIGKILL of dfdaemon at every system call of an export to a path: the one that its
# broker makes, as the caller
export CRASH_EXPORT=--force-hard-link
exec bats --filter "a daemon that is killed" "$TOP/tests/bats/40-dfcache-crash.bats"
