#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# from a sandbox with a mount namespace of its own, where nothing of the host but the socket is to be
# seen, as an ordinary user: import by descriptor, export by descriptor and over the socket
# shellcheck disable=SC2154,SC2164,SC2119,SC2016 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup_file()
{
	export WHY_NOT=
	. "$TOP/tests/lib/nodes.bash"
	[ "$(id -u)" -eq 0 ] || { WHY_NOT="needs root to make the sandbox"; return 0; }
	unshare -m true 2>/dev/null || { WHY_NOT="mount namespaces are not allowed here"; return 0; }
	nodes_begin "$BATS_FILE_TMPDIR/nodes"
	nodes_start 1 || { nodes_show; return 1; }
}

teardown_file()
{
	. "$TOP/tests/lib/nodes.bash"
	nodes_end
}

setup()
{
	[ -z "$WHY_NOT" ] || skip "$WHY_NOT" # bats 1.8 cannot skip in setup_file
	. "$TOP/tests/lib/nodes.bash"
	box=$BATS_TEST_TMPDIR/box
	mkdir "$box"
	chmod 666 "$(node_socket 1)"
}

# in_box SCRIPT: a tmpfs as root directory with the system's libraries, dfcache and the socket; the
# script runs in it as uid 12345, in /data, which exists nowhere else
in_box()
{
	unshare -m bash -ec '
		mount --make-rprivate /
		mount -t tmpfs none "$1"
		cd "$1"
		mkdir usr data proc tmp etc
		for d in bin sbin lib lib64; do
			[ ! -L "/$d" ] || cp -d "/$d" .
			[ -L "/$d" ] || [ ! -d "/$d" ] || { mkdir $d; mount --rbind "/$d" $d; }
		done
		mount --rbind /usr usr
		cp "$2" dfcache
		touch sock
		mount --bind "$3" sock
		[ "$5" = without-proc ] || mount -t proc proc proc
		chown 12345 data
		exec chroot . setpriv --reuid 12345 --regid 12345 --clear-groups \
			env -i PATH=/usr/bin:/bin:/ bash -ec "cd /data; $4"
	' _ "$box" "$(command -v dfcache)" "$(node_socket 1)" "$1" "${2:-}"
}

@test "import and export by descriptor, with the caller's rights" {
	run -0 --separate-stderr in_box '
		seq 700000 >in
		id=$(dfcache import in -e /sock --log-dir=)
		dfcache export $id -O out -e /sock --log-dir=
		cmp in out
		stat -c %u:%a out
		ls -A'
	[ -z "$stderr" ] || { echo "$stderr"; false; }
	[ "${lines[*]}" = "/data/out 12345:644 in out" ]
}

@test "export over the socket" {
	run -0 --separate-stderr in_box '
		seq 700000 >in
		id=$(dfcache import in -e /sock --log-dir=)
		dfcache export $id -O out -e /sock --log-dir= --transfer-from-dfdaemon
		cmp in out
		ls -A'
	[ -z "$stderr" ] || { echo "$stderr"; false; }
	[ "${lines[*]}" = "/data/out in out" ]
}

@test "a hard link, which needs a path, is refused and says what to do" {
	run -8 --separate-stderr in_box '
		echo hello >in
		id=$(dfcache import in -e /sock --log-dir=)
		dfcache export $id -O out -e /sock --log-dir= --force-hard-link'
	[[ $stderr == *"another mount namespace"*"descriptor"* ]]
}

@test "without /proc in the sandbox the output has a hidden name until it is whole" {
	[[ $BUILD != *address* ]] || skip "a sanitized dfcache needs /proc"
	run -0 --separate-stderr in_box '
		echo hello >in
		id=$(dfcache import in -e /sock --log-dir=)
		dfcache export $id -O out -e /sock --log-dir=
		cmp in out
		dfcache export $id -O out -e /sock --log-dir= --overwrite
		ls -A' without-proc
	[ -z "$stderr" ] || { echo "$stderr"; false; }
	[ "${lines[*]}" = "/data/out /data/out in out" ]
}
