#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache import: what is printed, what the id depends on, whose rights count, what is refused
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

load ../lib/dfcache

setup_file() { dfcache_file 1; }
teardown_file() { dfcache_file_end; }

setup()
{
	dfcache_test
	head -c 100000 /dev/urandom >a
}

@test "the id, alone, on standard output; the same content has the same id" {
	run -0 --separate-stderr on 1 import a
	[[ $output =~ ^[0-9]+$ ]]
	[ -z "$stderr" ]
	id=$output
	cp a b
	[ "$(on 1 import b)" = "$id" ]
	# the documented tool's formula, computed by others: crc32 over content and "PERSISTENT_CACHE"
	[ "$id" = "$({ cat a; printf PERSISTENT_CACHE; } | "${PYTHON:-python3}" -c \
		'import sys, zlib; print(zlib.crc32(sys.stdin.buffer.read()))')" ]
}

@test "tag, application, piece length and content text are part of the id" {
	{
		on 1 import a
		on 1 import a --tag x
		on 1 import a --application x
		on 1 import a --tag x --application x
		on 1 import a --piece-length 8MiB
		on 1 import a --content-for-calculating-task-id "a text"
	} >ids
	[ "$(wc -l <ids)" -eq 6 ]
	# tag and application are hashed one after the other, without a mark between them
	[ "$(sort -u ids | wc -l)" -eq 5 ]
	[ "$(sed -n 2p ids)" = "$(sed -n 3p ids)" ]
}

@test "on a terminal the last line is the id, as scripts of the documented tool read it" {
	command -v script >/dev/null || skip "script(1) is not installed"
	id=$(on 1 import a)
	script -qec "dfcache import a -e $(node_socket 1) 2>&1 >/dev/null" out >/dev/null
	[ "$(tr -d '\r' <out | grep -v '^Script' | grep . | tail -1 | awk '{ print $NF }')" = "$id" ]
	grep -q 'Done: ' out
	script -qec "dfcache import a -e $(node_socket 1) --no-progress 2>&1 >/dev/null" out2 >/dev/null
	run -1 grep -q Done out2
}

@test "--json says what became of it" {
	on 1 import a --json --ttl 2h --persistent-replica-count 1 | "${PYTHON:-python3}" -c '
import json, sys
r = json.load(sys.stdin)
assert r["content_length"] == 100000 and r["piece_count"] == 1, r
assert r["replicas_wanted"] == 1 and r["replicas"] == 1 and r["ttl_seconds"] == 7200, r
assert r["id"].isdigit() and r["seconds"] >= 0
'
	run -4 --separate-stderr on 1 import none --json
	"${PYTHON:-python3}" -c 'import json, sys
assert json.loads(sys.argv[1])["error"] == "not_found"' "$output"
}

@test "what cannot be imported is refused before the daemon is asked" {
	run -3 --separate-stderr on 1 import a --ttl 59s
	[[ $stderr == *"validate failed: ttl must be between 1 minute and 7 days, but got 59s"* ]]
	run -3 on 1 import a --ttl 7days1s
	run -0 on 1 import a --ttl 1m
	run -3 --separate-stderr on 1 import a --piece-length 4194303
	[[ $stderr == *"4194303 bytes is less than the minimum piece length 4194304 bytes"* ]]
	run -3 --separate-stderr on 1 import .
	[[ $stderr == *"path . is a directory"* ]]
	run -4 --separate-stderr on 1 import none
	[[ $stderr == *"path none does not exist"* ]]
	mkfifo fifo
	run -3 --separate-stderr timeout 10 dfcache import fifo -e "$(node_socket 1)"
	[[ $stderr == *"not a regular file"* ]]
	run -3 on 1 import a --timeout 0s
	run -3 on 1 import a --persistent-replica-count 0
}

@test "an ordinary user imports what it can read, and nothing else" {
	[ "$(id -u)" -eq 0 ] || skip "needs root to become an ordinary user"
	chmod 711 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" 2>/dev/null || :
	dir=$(mktemp -d /tmp/bats-import.XXXXXX)
	cp "$(command -v dfcache)" a "$dir/"
	cp a "$dir/secret"
	cp a "$dir/team"
	chmod 755 "$dir"
	chmod 600 "$dir/secret"
	chgrp 23456 "$dir/team"
	chmod 640 "$dir/team"
	cp "$dir/a" "$dir/mine"
	chown 12345 "$dir/mine"
	chmod 400 "$dir/mine"
	# the socket, where an ordinary user can reach it
	socket=$dir/sock
	ln "$(node_socket 1)" "$socket"
	chmod 666 "$socket"
	user() { setpriv --reuid 12345 --regid 12345 "$@"; }
	run -0 --separate-stderr user --clear-groups "$dir/dfcache" import "$dir/mine" -e "$socket" --config /dev/null
	[ -z "$stderr" ] # also about the log that it cannot have
	run -8 --separate-stderr user --clear-groups "$dir/dfcache" import "$dir/secret" -e "$socket" --log-dir= --config /dev/null
	[[ $stderr == *"cannot read $dir/secret: Permission denied"* ]]
	run -8 user --clear-groups "$dir/dfcache" import "$dir/team" -e "$socket" --log-dir= --config /dev/null
	run -0 user --groups 23456 "$dir/dfcache" import "$dir/team" -e "$socket" --log-dir= --config /dev/null
	rm -rf "$dir"
}
