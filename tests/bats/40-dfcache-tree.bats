#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache import --recursive and export --recursive: a thousand files are one unit
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

load ../lib/dfcache

setup_file() { dfcache_file 1; }
teardown_file() { dfcache_file_end; }
setup() { dfcache_test; }

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
	# also when the old one has directories that may not be written, for who has no rights but an owner's
	as=()
	[ "$(id -u)" -ne 0 ] || read -ra as <<<"setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all"
	mkdir -p old/ro/deep
	touch old/ro/deep/file
	chmod 555 old/ro/deep old/ro
	run -0 --separate-stderr "${as[@]}" dfcache export -e "$(node_socket 1)" -r "$id" -O old --overwrite
	[ -z "$stderr" ]
	[ "$(ls -A old)" = one ]
	[ "$(find . -maxdepth 1 -name '.o*')" = "" ]
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
	# a link that is named stands for what it leads to, whether alone or with others
	ln -s plain to-file
	ln -s other to-directory
	[ "$(on 1 import to-file)" = "$(on 1 import plain)" ]
	id=$(on 1 import to-file to-directory --recursive)
	on 1 export -r "$id" -O followed
	[ "$(find followed -type l)" = "" ]
	diff plain followed/to-file
	diff -r other followed/to-directory
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

@test "an import that fails half way says at which file, and goes on from there" {
	local i
	[ "$(id -u)" -ne 0 ] || command -v setpriv >/dev/null || skip "needs setpriv"
	mkdir -p t/a t/z
	for i in $(seq 30); do echo "$BATS_TEST_NAME $i" >"t/a/$i"; done
	ln -s ../gone t/z/link
	: >$'t/z/new\nline'
	chmod 000 $'t/z/new\nline'
	as=()
	[ "$(id -u)" -ne 0 ] || read -ra as <<<"setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all"
	run -8 --separate-stderr "${as[@]}" dfcache import -e "$(node_socket 1)" -r t --tag half
	[ -z "$output" ]
	# one line each for what and what to do: names are shown without their control characters
	[ "${#stderr_lines[@]}" -eq 2 ]
	[[ ${stderr_lines[0]} == "dfcache: import of t failed: cannot read t/z/new?line: Permission denied" ]]
	[[ ${stderr_lines[1]} =~ ^\ \ ([0-9]+)\ files\ are\ imported\ and\ stay\ until\ their\ ttl ]]
	# but for those that were on their way then, which may be there or not
	[ "${BASH_REMATCH[1]}" -ge 22 ]
	[ "$(on 1 ls --tag half | sed 1d | wc -l)" -ge "${BASH_REMATCH[1]}" ]
	chmod 644 $'t/z/new\nline'
	id=$(on 1 import -r t --tag half)
	on 1 export -r "$id" -O u
	diff -r --no-dereference t u
}

@test "an export that fails half way leaves no tree, or the old one, and says at which file" {
	local i
	mkdir -p t/a t/ro
	for i in $(seq 30); do echo "$BATS_TEST_NAME $i" >"t/a/$i"; done
	head -c 5000 /dev/urandom >t/ro/last
	chmod 555 t/ro
	id=$(on 1 import -r t --tag half-export)
	last=$(on 1 import t/ro/last --tag half-export)
	on 1 rm "$last"
	run -4 --separate-stderr on 1 export -r "$id" -O u
	[ -z "$output" ]
	[[ ${stderr_lines[0]} == *"export of $id failed: ro/last: "* ]]
	mkdir u
	echo old >u/old
	run -4 on 1 export -r "$id" -O u --overwrite
	[ "$(cat u/old)" = old ]
	[ "$(find . -maxdepth 1 -name '.u.*')" = "" ]
	chmod 755 t/ro
}
