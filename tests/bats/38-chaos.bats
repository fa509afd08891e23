#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# a minute of chaos with a fixed seed; tests/long/chaos.sh has ten

bats_require_minimum_version 1.5.0
load ../lib/chaos

setup()
{
	netns_possible >"$BATS_TEST_TMPDIR/why" || skip "$(cat "$BATS_TEST_TMPDIR/why")"
	chaos_begin "$BATS_TEST_TMPDIR/chaos"
}

teardown()
{
	[ -n "${C:-}" ] || return 0
	# what is said last is what a runner shows
	[ -n "$BATS_TEST_COMPLETED" ] || { nodes_show 25; tail -n 40 "$C/failures" "$C/plan" "$C/bad" >&2; }
	chaos_end
}

@test "cables, daemons, disks, lies and strangers: one minute" {
	chaos_run "${CHAOS_SECONDS:-60}" "${CHAOS_SEED:-1}"
	chaos_heal
	chaos_check >&3
}
