#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# cachefilesd: options, configuration errors, exit status, as scripts know them

bats_require_minimum_version 1.5.0
load ../lib/cachefilesd.bash
teardown() { cleanup; }

@test "version to standard output, status 0" {
	run -0 cachefilesd -v
	[ "$output" = "cachefilesd version $(cat "$TOP/VERSION")" ]
	run -0 cachefilesd --version
	[ "$output" = "cachefilesd version $(cat "$TOP/VERSION")" ]
}

@test "help to standard error, status 2; unknown options too" {
	run -2 --separate-stderr cachefilesd --help
	[ -z "$output" ]
	# shellcheck disable=SC2154 # set by run --separate-stderr
	[[ "$stderr" == usage:* ]]
	run -2 cachefilesd -x
	[[ "$output" == *"Unknown commandline option 'x'"* ]]
}

@test "every option and every word is in the manual, once" {
	for o in d f n N p s v; do
		[ "$(grep -cE "^\.It Fl $o( |$)" "$TOP/man/cachefilesd.8")" = 1 ]
	done
	words=$(sed -n 's/^\t{{"\([a-z_]*\)",.*/\1/p' "$TOP/cachefilesd/config.c")
	[ "$(wc -w <<<"$words")" -gt 20 ]
	for w in $words; do
		[ "$(grep -cE "^\.It Cm $w( |$)" "$TOP/man/cachefilesd.conf.5")" = 1 ] || {
			echo "$w"
			false
		}
	done
	while read -r w; do
		grep -qx "$w" <<<"$words" || {
			echo "$w is in the manual only"
			false
		}
	done < <(sed -n 's/^\.It Cm \([a-z_]*\).*/\1/p' "$TOP/man/cachefilesd.conf.5")
}

@test "an error names file and line, status 2; every error at once" {
	printf 'dir /tmp\nwibble\nbrun 5\n' >"$CONF"
	run -2 cachefilesd -n -s -f "$CONF"
	[[ "$output" == *"$CONF:2:unknown command \"wibble\""* ]]
	[[ "$output" == *"$CONF:3:brun: \"5\" is not a percentage"* ]]
}

@test "no dir, a missing dir, a missing file" {
	: >"$CONF"
	run -2 cachefilesd -n -s -f "$CONF"
	[[ "$output" == *"no dir command"* ]]
	printf 'dir %s/nowhere\nnokernel\n' "$BATS_TEST_TMPDIR" >"$CONF"
	run -1 cachefilesd -n -s -f "$CONF"
	[[ "$output" == *"$CONF:1:Can't confirm cache location: errno 2 "* ]]
	run -1 cachefilesd -n -s -f "$BATS_TEST_TMPDIR/none"
	[[ "$output" == *"errno 2"* ]]
}

@test "untidy files are accepted with warnings" {
	config
	printf '\ttag x\r\nculltable 13 \nfsverity' >>"$CONF"
	start
	grep -q "$CONF:10:the line ends in CR LF" "$LOG"
	grep -q "$CONF:10:blanks before the command" "$LOG"
	grep -q "$CONF:11:blanks at the end of the line" "$LOG"
	grep -q "$CONF:12:Unterminated line" "$LOG"
	stop
}

@test "a directory whose name ends in a blank, and one whose line does" {
	config
	mkdir "$D "
	sed -i "1s|.*|dir $D |" "$CONF"
	start
	[ -d "$D /pieces" ]
	[ ! -d "$D/pieces" ]
	stop
	rm -r "$D "
	start
	[ -d "$D/pieces" ]
	stop
}

@test "a relative directory is meant from where it was started" {
	config
	sed -i '1s|.*|dir d|' "$CONF"
	cd "$BATS_TEST_TMPDIR"
	start
	[ -d "$D/pieces" ]
	[ "$(readlink "/proc/$PID/cwd")" = / ]
	stop
}

@test "without root the kernel's cache is refused, with a way out" {
	as=()
	[ "$(id -u)" != 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	open_directory
	mkdir "$OPEN/d"
	printf 'dir %s\n' "$OPEN/d" >"$OPEN/conf"
	cp "$(command -v cachefilesd)" "$OPEN/cachefilesd"
	run -1 "${as[@]}" "$OPEN/cachefilesd" -n -s -f "$OPEN/conf"
	[[ "$output" == *nokernel* ]]
}
