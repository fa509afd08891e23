# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# dfcache.bash - what the tests of dfcache share: nodes that live as long as the tests of a file, and a
# configuration without a log. A function each for setup_file, teardown_file and setup.

# shellcheck source=/dev/null
. "$TOP/tests/lib/nodes.bash"

dfcache_file() # N [S.KEY=V...]: nodes 1..N
{
	nodes_begin "$BATS_FILE_TMPDIR/nodes"
	nodes_start "$@" || { nodes_show; return 1; }
	printf '[dfcache]\nlog_dir =\n' >"$BATS_FILE_TMPDIR/dfcache.conf"
}

# the same, where system calls can be counted; else WHY_NOT is set and the tests are skipped
dfcache_file_traced() # N [S.KEY=V...]
{
	"$BUILD/tests/tools/killat" 0 true 2>/dev/null || [ $? -eq 3 ] || {
		export WHY_NOT="processes cannot be traced here"
		return 0
	}
	dfcache_file "$@"
}

dfcache_file_end() { nodes_end; }

dfcache_test()
{
	[ -z "${WHY_NOT:-}" ] || skip "$WHY_NOT" # bats 1.8 cannot skip in setup_file
	export DFCACHE_CONFIG=$BATS_FILE_TMPDIR/dfcache.conf
	cd "$BATS_TEST_TMPDIR" || return 1
}
