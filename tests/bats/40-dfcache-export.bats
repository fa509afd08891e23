#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache export: content, owner and mode, replacing, links, holes, digests, what is refused
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

load ../lib/dfcache

setup_file() { dfcache_file 1; }
teardown_file() { dfcache_file_end; }

setup()
{
	dfcache_test
	head -c 100000 /dev/urandom >a
	umask 022
}

@test "files of every awkward size come back, in both ways" {
	local n id
	for n in 0 1 4194304 4194305 9000000; do
		head -c "$n" /dev/urandom >in
		id=$(on 1 import in)
		rm -f out out2
		run -0 --separate-stderr on 1 export "$id" -O out
		[ "$output" = "$PWD/out" ]
		[ -z "$stderr" ]
		cmp in out
		run -0 on 1 export "$id" -O out2 --transfer-from-dfdaemon
		cmp in out2
	done
}

@test "owner, mode and umask are the caller's" {
	id=$(on 1 import a)
	on 1 export "$id" -O out
	[ "$(stat -c %a:%u out)" = "644:$(id -u)" ]
	(umask 077 && on 1 export "$id" -O out77)
	[ "$(stat -c %a out77)" = 600 ]
	(umask 002 && on 1 export "$id" -O out02 --transfer-from-dfdaemon)
	[ "$(stat -c %a out02)" = 664 ]
}

@test "an output that exists is kept, or replaced with --overwrite" {
	id=$(on 1 import a)
	echo old >out
	ln out other
	run -10 --separate-stderr on 1 export "$id" -O out
	[[ $stderr == *"output path out already exists"*"--overwrite"* ]]
	[ "$(cat out)" = old ]
	run -0 on 1 export "$id" -O out --overwrite
	cmp a out
	# replaced, not written into: the other link still has the old file
	[ "$(cat other)" = old ]
	ln -s real link
	run -0 on 1 export "$id" -O link
	[ -L link ]
	cmp a real
}

@test "the directory must exist; what is no file stays" {
	id=$(on 1 import a)
	run -3 --separate-stderr on 1 export "$id" -O none/out
	[[ $stderr == *"output path $PWD/none is not a directory"* ]]
	mkdir d
	run -3 on 1 export "$id" -O d --overwrite
	run -3 on 1 export "$id" -O / --overwrite
	mkfifo fifo
	run -3 --separate-stderr on 1 export "$id" -O fifo --overwrite
	[[ $stderr == *"not a regular file"* ]]
	[ -p fifo ]
}

@test "--digest decides before the output appears, in both ways" {
	id=$(on 1 import a)
	sum=sha256:$(sha256sum a | cut -d' ' -f1)
	on 1 export "$id" -O out --digest "$sum"
	on 1 export "$id" -O out2 --digest "sha256:$(tr a-f A-F <<<"${sum#*:}")" --transfer-from-dfdaemon
	for way in --transfer-from-dfdaemon --no-progress; do
		run -9 --separate-stderr on 1 export "$id" -O bad --digest "sha256:$(printf '0%.0s' {1..64})" "$way"
		[[ $stderr == *"digest mismatch expected: sha256:0"*"actual: $sum"* ]]
		[ ! -e bad ]
	done
	run -2 on 1 export "$id" -O bad --digest md5:1
}

@test "holes stay holes" {
	truncate -s 300M in
	printf x | dd of=in bs=1 seek=150000000 conv=notrunc status=none
	id=$(on 1 import in)
	for way in --no-progress --transfer-from-dfdaemon; do
		on 1 export "$id" -O out --overwrite "$way"
		cmp in out
		[ "$(du -k out | cut -f1)" -le 4200 ]
	done
}

@test "a hard link is the cache's own file; the result says so" {
	id=$(on 1 import a)
	run -0 --separate-stderr on 1 export "$id" -O out --force-hard-link --json
	[[ $output == *'"placed": "hardlink"'* ]]
	cmp a out
	[ "$(stat -c %h out)" -eq 2 ]
	[ ! -w out ] || [ "$(id -u)" -eq 0 ]
	run -10 on 1 export "$id" -O out --force-hard-link
	run -3 --separate-stderr on 1 export "$id" -O out2 --force-hard-link --transfer-from-dfdaemon
	[[ $stderr == *"give one of the two"* ]]
	other=$(mktemp -d /dev/shm/bats-export.XXXXXX)
	run -3 --separate-stderr on 1 export "$id" -O "$other/out" --force-hard-link
	[[ $stderr == *"without --force-hard-link"* ]]
	[ ! -e "$other/out" ]
	run -0 --separate-stderr on 1 export "$id" -O "$other/out" --json
	[[ $output == *'"placed": "copy"'* ]]
	cmp a "$other/out"
	rm -r "$other"
}

@test "no such task, no such daemon, no time" {
	run -4 --separate-stderr on 1 export 12345 -O out
	[[ $stderr == *"12345"*"dfcache ls"* ]]
	run -7 --separate-stderr dfcache export 12345 -O out -e "$PWD/none"
	[[ $stderr == *"is dfdaemon running?"* ]]
	run -6 --separate-stderr on 1 export 12345 -O out --timeout 1ns
	[ ! -e out ]
	run -3 on 1 export 'no/id' -O out
}

# Both ways to the id that there are: the last line on a terminal, where alone the documented tool shows
# it, and standard output.
@test "a script written for the documented tool runs unchanged" {
	command -v script >/dev/null || skip "script(1) is not installed"
	cat >script.sh <<-'END'
		set -e
		script -qec 'dfcache import ./a --persistent-replica-count 1 --ttl 1h' terminal.log >/dev/null
		ID=$(tr -d '\r' <terminal.log | grep -v '^Script ' | grep . | tail -n1 | awk '{ print $NF }')
		dfcache export "$ID" -O from-terminal --timeout 2h
		cmp a from-terminal
		ID=$(dfcache import ./a --persistent-replica-count 1 --ttl 1h --timeout 30m --application app --tag tag --console 2>/dev/null | tail -n1)
		dfcache stat "$ID" --log-level info | awk 'NR == 2 { print $2 }'
		dfcache export "$ID" -O /dev/shm/script.$$ --timeout 2h --application app --tag tag
		cmp a /dev/shm/script.$$
		dfcache export --transfer-from-dfdaemon --output=/dev/shm/script.$$.2 "$ID"
		cmp a /dev/shm/script.$$.2
		rm /dev/shm/script.$$ /dev/shm/script.$$.2
	END
	export DFCACHE_IMPORT_DFDAEMON_ENDPOINT DFCACHE_EXPORT_DFDAEMON_ENDPOINT DFCACHE_STAT_DFDAEMON_ENDPOINT
	DFCACHE_IMPORT_DFDAEMON_ENDPOINT=$(node_socket 1)
	DFCACHE_EXPORT_DFDAEMON_ENDPOINT=$DFCACHE_IMPORT_DFDAEMON_ENDPOINT
	DFCACHE_STAT_DFDAEMON_ENDPOINT=$DFCACHE_IMPORT_DFDAEMON_ENDPOINT
	run -0 bash script.sh
	grep -qx Succeeded <<<"$output"
}
