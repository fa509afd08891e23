# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# packages.sh - for tests of packages: TAP with results from inside of a scratch root added up.
n_tests=0 n_failed=0

ok() # WHAT: by the status of the command before
{
	local status=$?
	n_tests=$((n_tests + 1))
	if [ $status = 0 ]; then
		echo "ok $n_tests - $1"
	else
		echo "not ok $n_tests - $1"
		n_failed=$((n_failed + 1))
	fi
}

# results FILE PREFIX: the "ok - …" lines of FILE, the rest as notes
results()
{
	local line
	while IFS= read -r line; do
		case $line in
		"ok - "*) true && ok "$2${line#ok - }" ;;
		"not ok - "*) false || ok "$2${line#not ok - }" ;;
		*) echo "# $line" ;;
		esac
	done <"$1"
}

finish()
{
	echo "1..$n_tests"
	[ "$n_failed" = 0 ] && [ "$n_tests" -gt 0 ]
	exit
}
