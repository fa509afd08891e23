#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# parallel: yes
# all manuals: complete, clean for mandoc, and each option of the programs that no other file of this
# kind compares (cachefilesctl, dfdaemon-broker, dfdaemon) in them exactly once

bats_require_minimum_version 1.5.0

@test "every manual has its sections" {
	local page section
	for page in "$TOP"/man/*.[158]; do
		for section in NAME DESCRIPTION "EXIT STATUS" FILES EXAMPLES SECURITY DIAGNOSTICS "SEE ALSO"; do
			[ "$(grep -c "^\.Sh $section\$" "$page")" = 1 ] || {
				echo "${page##*/}: .Sh $section"
				false
			}
		done
	done
}

@test "mandoc finds nothing" {
	command -v mandoc >/dev/null || skip "mandoc is not installed"
	mandoc -T lint "$TOP"/man/*.[158] >"$BATS_TEST_TMPDIR/lint" 2>/dev/null || :
	run ! grep -v 'mandoc.db\|referenced manual not found' "$BATS_TEST_TMPDIR/lint"
}

@test "what is referred to among our own manuals exists" {
	local name section
	while read -r name section; do
		case $name in
		cachefiles* | df*) [ -f "$TOP/man/$name.$section" ] || { echo "$name($section)"; false; } ;;
		esac
	done < <(sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/\1 \2/p' "$TOP"/man/*.[158] | sort -u)
}

# help_options PROGRAM
help_options()
{
	"$1" --help 2>&1 | sed -n 's/^ \{1,6\}\(-., \|    \)\{0,1\}--\([a-z-]*\).*/\2/p'
}

@test "dfdaemon and dfdaemon-broker: each option once, and no other" {
	local p
	for p in dfdaemon dfdaemon-broker; do
		help_options $p | sort >"$BATS_TEST_TMPDIR/help"
		sed -n '/^\.It .*Fl/p' "$TOP/man/$p.8" | grep -o 'Fl \(Fl \|-\)[a-z-]*' | sed 's/^Fl \(Fl \|-\)//' | sort \
			>"$BATS_TEST_TMPDIR/manual"
		[ -s "$BATS_TEST_TMPDIR/help" ]
		diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/manual"
	done
}

@test "cachefilesctl: each option and command once, and no other" {
	help_options cachefilesctl | sort >"$BATS_TEST_TMPDIR/help"
	sed -n '/^\.It Fl . , -/s/^\.It Fl . , -\([a-z]*\).*/\1/p' "$TOP/man/cachefilesctl.8" | sort >"$BATS_TEST_TMPDIR/manual"
	[ -s "$BATS_TEST_TMPDIR/help" ]
	diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/manual"
	cachefilesctl --help 2>&1 | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' | sort >"$BATS_TEST_TMPDIR/help"
	sed -n 's/^\.It Cm \([a-z]*\).*/\1/p' "$TOP/man/cachefilesctl.8" | sort -u >"$BATS_TEST_TMPDIR/manual"
	[ -s "$BATS_TEST_TMPDIR/help" ]
	diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/manual"
}
