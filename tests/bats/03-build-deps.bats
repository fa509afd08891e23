#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# install-deps: names for both families, silence when nothing is missing, one sentence when it cannot

bats_require_minimum_version 1.5.0

# a PATH in which only the named commands exist
only()
{
	local c
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	for c in "$@"; do
		ln -sf "$(type -P "$c")" "$BATS_TEST_TMPDIR/bin/$c"
	done
}

setup()
{
	cp -r "$TOP/scripts" "$BATS_TEST_TMPDIR/"
	cd "$BATS_TEST_TMPDIR"
	only sh sed sort tr cat id uname grep true
}

@test "lists Debian's names where apt-get is" {
	printf '#!/bin/sh\nexit 1\n' >bin/apt-get && chmod +x bin/apt-get
	PATH=$PWD/bin run -0 sh scripts/install-deps --list
	[[ "$output" == *libnghttp2-dev* ]]
	[[ "$output" != *libnghttp2-devel* ]]
}

@test "lists RHEL's names where dnf is" {
	printf '#!/bin/sh\nexit 1\n' >bin/dnf && chmod +x bin/dnf
	PATH=$PWD/bin run -0 sh scripts/install-deps --list
	[[ "$output" == *libnghttp2-devel* ]]
	[[ "$output" == *libselinux-devel* ]]
	[[ "$output" != *-dev\ * ]]
}

@test "installs what is missing, once, and says what cannot be had" {
	# an apt-get that knows one package only
	cat >bin/apt-get <<-'EOF'
		#!/bin/sh
		echo "apt-get $*" >>"$LOG"
		for a; do [ "$a" != xxhash-none ] || exit 0; done
		exit 100
	EOF
	chmod +x bin/apt-get
	printf '#!/bin/sh\nexit 1\n' >bin/pkg-config && chmod +x bin/pkg-config
	printf '#!/bin/sh\n[ "$1" != -n ] || shift\nexec "$@"\n' >bin/sudo && chmod +x bin/sudo
	only env mkdir
	LOG=$PWD/log PATH=$PWD/bin run -1 sh scripts/install-deps --build
	[[ "$output" == *"still missing: "*libnghttp2-dev* ]]
	grep -q "install .*libnghttp2-dev" log
	grep -q "apt-get -q update" log
}

@test "does nothing when nothing is missing" {
	"$TOP/scripts/install-deps" --build --check || skip "something is missing here"
	cd "$TOP"
	PATH=$PATH run -0 scripts/install-deps --build
	[ -z "$output" ]
}

@test "refuses an unknown option" {
	run -1 scripts/install-deps --frobnicate
	[[ "$output" == *"unknown option '--frobnicate'"* ]]
}
