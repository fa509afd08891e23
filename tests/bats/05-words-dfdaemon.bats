#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# parallel: yes
# help, manual, shipped file and option table of dfdaemon say the same

options() # the table, as section.key
{
	dfdaemon --dump-config | awk '/^\[/ { s = substr($0, 2, length($0) - 2) } /^[a-z_]+ =/ { print s "." $1 }' | sort
}

@test "the shipped file names every option once, at its default" {
	awk '/^\[/ { s = substr($0, 2, length($0) - 2) } s != "dfcache" && /^;[a-z_]+ =/ { print s "." substr($1, 2) }' \
		"$TOP/conf/dfcache.conf" | sort >"$BATS_TEST_TMPDIR/file"
	options >"$BATS_TEST_TMPDIR/table"
	[ -s "$BATS_TEST_TMPDIR/table" ]
	diff -u "$BATS_TEST_TMPDIR/table" "$BATS_TEST_TMPDIR/file"
	# with every option switched on, the file says what the defaults are
	sed 's/^;\([a-z_]* =\)/\1/; /^\[dfcache\]/,$d' "$TOP/conf/dfcache.conf" >"$BATS_TEST_TMPDIR/all.conf"
	diff -u <(dfdaemon --config /dev/null --dump-config) <(dfdaemon --config "$BATS_TEST_TMPDIR/all.conf" --dump-config)
}

@test "the shipped file is accepted as it is" {
	dfdaemon --config "$TOP/conf/dfcache.conf" --check-config
}

@test "the manual has every option once" {
	awk '/^\.Ss Section / { s = $3 } /^\.It Cm / { print s "." $3 }' \
		"$TOP/man/dfcache.conf.5" | sort >"$BATS_TEST_TMPDIR/manual"
	diff -u <(options) <(grep -v '^dfcache\.' "$BATS_TEST_TMPDIR/manual")
}

@test "the manual has every command line option, and --help too" {
	local o
	for o in $(dfdaemon --help | sed -n 's/^ .*--\([a-z-]*\).*/\1/p'); do
		grep -q "Fl Fl $o" "$TOP/man/dfdaemon.8" || {
			echo "--$o is not in dfdaemon(8)"
			false
		}
	done
	while read -r o; do
		dfdaemon --help | grep -q -- "--$o" || {
			echo "--$o is in dfdaemon(8) but not in --help"
			false
		}
	done < <(sed -n 's/^\.It .*Fl Fl \([a-z-]*\).*/\1/p' "$TOP/man/dfdaemon.8")
}

@test "an unknown option, key or value is refused with a sentence" {
	run dfdaemon --nonsense
	[ "$status" = 2 ]
	printf '[peer]\nport = many\ncolour = blue\n' >"$BATS_TEST_TMPDIR/bad.conf"
	run dfdaemon --config "$BATS_TEST_TMPDIR/bad.conf" --check-config
	[ "$status" = 3 ]
	[[ "$output" == *"bad.conf:2:"* ]]
	[[ "$output" == *"bad.conf:3:"* ]]
}
