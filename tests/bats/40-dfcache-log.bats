#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache: its log file, and what is said when there can be none
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup()
{
	unset DFCACHE_CONFIG
	logs=$BATS_TEST_TMPDIR/deep/logs
	nowhere=$BATS_TEST_TMPDIR/no.sock
}

@test "the log has the failure, in a directory that is made for it" {
	run -7 --separate-stderr dfcache stat 123 -e "$nowhere" --log-dir "$logs"
	[ -z "$output" ]
	grep -q 'error dfcache\[[0-9]*\]: stat of 123 failed exit=7' "$logs/dfcache.log"
}

@test "old logs are kept by the hour, as many as asked for" {
	local i
	for i in 1 2 3 4; do
		run -7 dfcache stat "$i" -e "$nowhere" --log-dir "$logs" --log-max-files 2
		touch -d "-$((6 - i)) hours" "$logs/dfcache.log"
	done
	[ "$(ls "$logs")" = "dfcache.log
dfcache.log.1
dfcache.log.2" ]
	grep -q 'stat of 4 ' "$logs/dfcache.log"
	grep -q 'stat of 3 ' "$logs/dfcache.log.1"
	grep -q 'stat of 2 ' "$logs/dfcache.log.2"
	run -7 dfcache stat 5 -e "$nowhere" --log-dir "$logs" --log-max-files 2
	run -7 dfcache stat 6 -e "$nowhere" --log-dir "$logs" --log-max-files 2
	[ "$(grep -c 'stat of' "$logs/dfcache.log")" -eq 2 ]
}

@test "--console and --verbose print the log to standard error, the file has it too" {
	local o
	for o in --console --verbose; do
		run -7 --separate-stderr dfcache stat 1 -e "$nowhere" --log-dir "$logs" "$o"
		[ -z "$output" ]
		[[ $stderr == *"error dfcache["*"stat of 1 failed"* ]]
		grep -q 'stat of 1 failed' "$logs/dfcache.log"
		rm "$logs/dfcache.log"
	done
	run -7 --separate-stderr dfcache stat 1 -e "$nowhere" --log-dir= --console
	[[ $stderr == *"stat of 1 failed exit=7"* ]]
}

@test "the level decides" {
	local level
	for level in error 1 ERROR trace 5 warn info debug; do
		rm -rf "$logs"
		run -7 dfcache stat 1 -e "$nowhere" --log-dir "$logs" -l "$level"
		grep -q 'error dfcache\[[0-9]*\]: stat of 1 failed' "$logs/dfcache.log"
	done
	run -2 dfcache stat 1 -l loud
	[[ $output == *"a level is one of"* ]]
}

@test "a directory that cannot be written is a warning, for an ordinary user" {
	[ "$(id -u)" -eq 0 ] || skip "needs root to become an ordinary user"
	mkdir -p "$logs"
	chmod 755 "$BATS_TEST_TMPDIR" "$logs"
	local d
	d=$(dirname "$(command -v dfcache)")
	cp "$d/dfcache" "$BATS_TEST_TMPDIR/dfcache"
	run -7 --separate-stderr setpriv --reuid 12345 --regid 12345 --clear-groups \
		"$BATS_TEST_TMPDIR/dfcache" stat 1 -e "$nowhere" --log-dir "$logs"
	[[ $stderr == *"warning: no log file in $logs: Permission denied"*"cannot connect"* ]]
	# nobody named a directory: then it is told after a failure (and 40-dfcache-import: at no other time)
	run -7 --separate-stderr setpriv --reuid 12345 --regid 12345 --clear-groups \
		"$BATS_TEST_TMPDIR/dfcache" stat 1 -e "$nowhere" --config /dev/null
	[[ $stderr == *"cannot connect"*"warning: no log file in /var/log/dragonfly/dfcache: "* ]]
}
