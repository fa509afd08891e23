#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# the runner: what counts as passed, failed and skipped, and that nothing survives a test

bats_require_minimum_version 1.5.0

setup()
{
	cd "$BATS_TEST_TMPDIR"
}

script() # NAME, body on standard input
{
	cat >"$1"
	chmod +x "$1"
}

last_line()
{
	printf '%s\n' "${lines[-1]}"
}

@test "adds up TAP, skips and plain commands, and ends with the sum alone" {
	script mixed.sh <<-'EOF'
		#!/bin/sh
		echo "1..3"
		echo "ok 1 - one"
		echo "ok 2 - two # SKIP no moon tonight"
		echo "ok 3 three"
	EOF
	run -0 "$TOP/tests/run" --command good=true mixed.sh
	[ "$(last_line)" = "3 passed, 0 failed, 1 skipped" ]
	[[ "$output" == *"no moon tonight: "*"mixed.sh: two"* ]]
}

@test "the whole script is skipped by exit status 4, with its last line as the reason" {
	script skip.sh <<-'EOF'
		#!/bin/sh
		echo "SKIP: needs a kernel module"
		exit 4
	EOF
	run -0 "$TOP/tests/run" skip.sh
	[ "$(last_line)" = "0 passed, 0 failed, 1 skipped" ]
	[[ "$output" == *"needs a kernel module: "* ]]
}

@test "cmocka's way of skipping, which begins with not ok, is a skip" {
	script test.sh <<-'EOF'
		#!/bin/sh
		printf '1..2\nok 1 - a\n# needs root\nnot ok 2 # SKIP b\n# ok - tests\n'
	EOF
	run -0 "$TOP/tests/run" test.sh
	[ "$(last_line)" = "1 passed, 0 failed, 1 skipped" ]
	[[ "$output" == *"needs root: "* ]]
}

@test "a failed test is shown with its output and makes the exit status 1" {
	script bad.sh <<-'EOF'
		#!/bin/sh
		printf '1..2\nok 1 - a\nnot ok 2 - b\n# expected 1, got 2\n'
	EOF
	run -1 "$TOP/tests/run" bad.sh
	[ "$(last_line)" = "1 passed, 1 failed, 0 skipped" ]
	[[ "$output" == *"expected 1, got 2"* ]]
}

@test "a crash, a missing plan, a missing result and an unknown file are failures" {
	script crash.sh <<-'EOF'
		#!/bin/bash
		echo 1..1
		echo "ok 1 - a"
		kill -SEGV $$
	EOF
	script noplan.sh <<-'EOF'
		#!/bin/sh
		echo "ok 1 - a"
	EOF
	script short.sh <<-'EOF'
		#!/bin/sh
		printf '1..3\nok 1 - a\n'
	EOF
	run -1 "$TOP/tests/run" crash.sh
	[ "$(last_line)" = "1 passed, 1 failed, 0 skipped" ]
	run -1 "$TOP/tests/run" noplan.sh
	[[ "$output" == *"no plan"* ]]
	run -1 "$TOP/tests/run" short.sh
	[[ "$output" == *"announced 3 tests, 1 have a result"* ]]
	run -1 "$TOP/tests/run" absent.sh
	run -1 "$TOP/tests/run"
	[[ "$output" == *"no test was run"* ]]
}

@test "what hangs is killed with all that it started, also what left its session" {
	script hang.sh <<-'EOF'
		#!/bin/sh
		# timeout: 1
		echo 1..1
		setsid sleep 4711 &
		sleep 4711
	EOF
	run -1 "$TOP/tests/run" hang.sh
	[[ "$output" == *"killed after 1 s: it hung"* ]]
	run ! pgrep -fx "sleep 4711"
}

@test "a process left running is killed and counts as a failure" {
	script leave.sh <<-'EOF'
		#!/bin/sh
		printf '1..1\nok 1 - a\n'
		setsid sleep 4712 >/dev/null 2>&1 &
		# in the middle of execve(2) it has no environment to be known by
		until pgrep -fx 'sleep 4712' >/dev/null; do :; done
	EOF
	run -1 "$TOP/tests/run" leave.sh
	[[ "$output" == *"left running: sleep 4712"* ]]
	run ! pgrep -fx "sleep 4712"
}

@test "each file has a temporary directory of its own, gone afterwards" {
	script place.sh <<-'EOF'
		#!/bin/sh
		echo 1..1
		echo x >"$TMPDIR/file" && echo "ok 1 - $TMPDIR"
	EOF
	run -0 "$TOP/tests/run" -v place.sh
	dir=$(sed -n 's/.*place.sh: \(\/.*\)$/\1/p' <<<"$output" | head -n 1)
	[ -n "$dir" ]
	[ ! -e "$dir" ]
}
