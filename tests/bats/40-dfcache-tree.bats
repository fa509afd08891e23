#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache import --recursive and export --recursive: a thousand files are one unit
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup_file()
{
	. "$TOP/tests/lib/nodes.bash"
	nodes_begin "$BATS_FILE_TMPDIR/nodes"
	nodes_start 1 || { nodes_show; return 1; }
	printf '[dfcache]\nlog_dir = %s\n' "$BATS_FILE_TMPDIR/log" >"$BATS_FILE_TMPDIR/dfcache.conf"
}

teardown_file()
{
	. "$TOP/tests/lib/nodes.bash"
	nodes_end
}

setup()
{
	. "$TOP/tests/lib/nodes.bash"
	export DFCACHE_CONFIG=$BATS_FILE_TMPDIR/dfcache.conf
	cd "$BATS_TEST_TMPDIR"
}

@test "a thousand files, directories and links travel in one command each" {
	local i where=(x y/z .)
	mkdir -p t/{x,y/z,empty}
	for i in $(seq 1000); do
		echo "file $i" >"t/${where[i % 3]}/f$i"
	done
	head -c 9000000 /dev/urandom >t/y/big
	chmod 755 t/x/f* && chmod 700 t/y
	ln -s ../y/big t/x/link
	ln -s nowhere t/dangling
	touch 't/with space' $'t/new\nline' 't/per%cent'
	id=$(on 1 import --recursive t)
	run -0 --separate-stderr on 1 export --recursive "$id" -O u
	[ "$output" = "$PWD/u" ]
	diff -r --no-dereference t u
	diff <(cd t && find . -mindepth 1 -printf '%P %y %m %l\n' | sort) \
		<(cd u && find . -mindepth 1 -printf '%P %y %m %l\n' | sort)
	[ "$(find . -maxdepth 1 -name '.u.*')" = "" ]
	# the same tree has the same id, also from another place
	cp -a t v
	[ "$(on 1 import -r v)" = "$id" ]
	run -0 on 1 export --recursive "$id" -O w --transfer-from-dfdaemon
	diff -r --no-dereference t w
}

@test "a tree that exists is exchanged with --overwrite, never mixed" {
	mkdir t
	echo one >t/one
	id=$(on 1 import -r t)
	mkdir u
	echo old >u/old
	run -10 on 1 export -r "$id" -O u
	[ "$(ls u)" = old ]
	run -0 on 1 export -r "$id" -O u --overwrite
	[ "$(ls -A u)" = one ]
	[ "$(ls -A)" = "t
u" ]
}

@test "what cannot be part of a tree, and what is no tree" {
	mkdir t
	mkfifo t/fifo
	run -3 --separate-stderr on 1 import -r t
	[[ $stderr == *"t/fifo is neither a file nor a directory nor a link"* ]]
	mkdir empty
	run -3 --separate-stderr on 1 import -r empty
	[[ $stderr == *"empty is empty"* ]]
	echo plain >plain
	id=$(on 1 import plain)
	run -3 --separate-stderr on 1 export -r "$id" -O u
	[[ $stderr == *"is no manifest"* ]]
	[ ! -e u ]
	mkdir other
	echo other >other/plain
	run -3 --separate-stderr on 1 import plain other/plain
	[[ $stderr == *'the same last component "plain"'* ]]
	id=$(on 1 import plain other --recursive)
	on 1 export -r "$id" -O both
	diff plain both/plain
	diff -r other both/other
}

@test "a file that is missing in the cluster leaves no tree" {
	mkdir t
	echo one >t/one
	head -c 100 /dev/urandom >t/two
	id=$(on 1 import -r t)
	printf 'dfcachefiles manifest 1\nf 0644 4 999 one\n' >m
	bad=$(on 1 import m)
	run -4 --separate-stderr on 1 export -r "$bad" -O u
	[[ $stderr == *"one: "* ]]
	[ ! -e u ]
	[ "$(find . -name '.u.*')" = "" ]
}
