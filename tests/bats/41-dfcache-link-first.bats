#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# hard links because the configuration says so: dfdaemon's export_link for clients that send paths,
# dfcache's force_hard_link for ours
# shellcheck disable=SC2154 # bats sets stderr

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	nodes_start 1 local.export_link=yes
	export DFCACHE_CONFIG=$BATS_TEST_TMPDIR/dfcache.conf
	printf '[dfcache]\nlog_dir =\n' >"$DFCACHE_CONFIG"
	cd "$BATS_TEST_TMPDIR" || return 1
	head -c 100000 /dev/urandom >a
	id=$(on 1 import a)
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	[ -z "${other:-}" ] || rm -rf "$other"
	nodes_end
}

@test "export_link: a path becomes a hard link, or a copy where no link can be" {
	[ -n "${PYTHON:-}" ] || skip "the published Python schemas are not there: ${PYTHON_REASON:-}"
	client() { "$PYTHON" -B "$TOP/tests/interop/path_client.py" "$(node_socket 1)" "$@"; }
	client export "$id" out
	cmp a out
	[ "$(stat -c %h out)" -eq 2 ]
	echo mine >kept
	run -1 --separate-stderr client export "$id" kept
	[[ $stderr == *"ALREADY_EXISTS"* ]]
	[ "$(cat kept)" = mine ]
	client export "$id" kept overwrite
	[ kept -ef out ]
	run -1 client export "$id" bad digest=crc32:1
	[ ! -e bad ]
	other=$(mktemp -d /dev/shm/bats-link.XXXXXX)
	[ "$(stat -c %d "$other")" != "$(stat -c %d .)" ] || skip "/dev/shm is no other file system"
	client export "$id" "$other/out"
	cmp a "$other/out"
	[ "$(stat -c %h "$other/out")" -eq 1 ]
}

@test "force_hard_link in dfcache's section makes hard links" {
	printf 'force_hard_link = yes\n' >>"$DFCACHE_CONFIG"
	run -0 --separate-stderr on 1 export "$id" -O out --json
	[[ $output == *'"placed": "hardlink"'* ]]
	cmp a out
	[ "$(stat -c %h out)" -eq 2 ]
}
