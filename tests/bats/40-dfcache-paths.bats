#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# a client that sends paths (published schemas, gRPC's own code): dfdaemon and its broker open them as
# that client, and not at all when the client sees other files
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup_file()
{
	export WHY_NOT=
	[ "$(id -u)" -eq 0 ] || { WHY_NOT="needs root to be several users"; return 0; }
	[ -n "${PYTHON:-}" ] || { WHY_NOT="the published Python schemas are not there: ${PYTHON_REASON:-}"; return 0; }
	. "$TOP/tests/lib/nodes.bash"
	nodes_begin "$BATS_FILE_TMPDIR/nodes"
	nodes_start 1 || { nodes_show; return 1; }
	# bats' own directories are root's alone: callers work in one of their own
	DIR=$(mktemp -d /tmp/bats-paths.XXXXXX)
	export DIR
	chmod 755 "$DIR"
	mkdir "$DIR/home" "$DIR/roots" "$DIR/team"
	chown 12345:12345 "$DIR/home"
	chgrp 23456 "$DIR/team"
	chmod 2770 "$DIR/team"
	ln "$(node_socket 1)" "$DIR/sock" || ln -s "$(node_socket 1)" "$DIR/sock"
	chmod 666 "$DIR/sock"
	head -c 5000 /dev/urandom >"$DIR/public"
	cp "$DIR/public" "$DIR/secret"
	chmod 600 "$DIR/secret"
	cp "$DIR/public" "$DIR/team/file"
	chmod 640 "$DIR/team/file"
	chgrp 23456 "$DIR/team/file"
	# the interpreter of the tests may be below a directory of root's
	site=$("$PYTHON" -c 'import grpc, os; print(os.path.dirname(os.path.dirname(grpc.__file__)))')
	mkdir "$DIR/py"
	cp -r "$site/grpc" "$site/google" "$site/dragonfly_api" "$DIR/py/"
	cp -r "$site/typing_extensions.py" "$DIR/py/" 2>/dev/null || :
	cp "$TOP/tests/interop/path_client.py" "$DIR/py/"
	chmod -R a+rX "$DIR/py"
	# an interpreter that such a user can start: ours may be below root's home
	for PYBASE in "$(readlink -f "$PYTHON")" /usr/bin/python3 ""; do
		[ -n "$PYBASE" ] || { WHY_NOT="no interpreter for an ordinary user can load grpcio"; return 0; }
		PYTHONPATH=$DIR/py setpriv --reuid 12345 --regid 12345 --clear-groups \
			env "$PYBASE" -c "import grpc, dragonfly_api" 2>/dev/null && break
	done
	export PYBASE
}

teardown_file()
{
	. "$TOP/tests/lib/nodes.bash"
	[ -z "${DIR:-}" ] || rm -rf "$DIR"
	nodes_end
}

setup()
{
	[ -z "$WHY_NOT" ] || skip "$WHY_NOT" # bats 1.8 cannot skip in setup_file
	. "$TOP/tests/lib/nodes.bash"
	cd "$DIR"
}

client() { PYTHONPATH=$DIR/py "$PYBASE" -B "$DIR/py/path_client.py" "$DIR/sock" "$@"; }
as_user() # [setpriv's group options] -- COMMAND
{
	PYTHONPATH=$DIR/py setpriv --reuid 12345 --regid 12345 "$@"
}
user() { as_user --clear-groups "$PYBASE" -B "$DIR/py/path_client.py" "$DIR/sock" "$@"; }
member() { as_user --groups 23456 "$PYBASE" -B "$DIR/py/path_client.py" "$DIR/sock" "$@"; }

@test "import: what the user can read, through a supplementary group too, and nothing else" {
	run -0 user import public
	run -1 --separate-stderr user import secret
	[[ $stderr == *"PERMISSION_DENIED $DIR/secret: permission denied (opened as uid 12345)"* ]]
	run -1 --separate-stderr user import team/file
	[[ $stderr == *"PERMISSION_DENIED"* ]]
	run -0 member import team/file
	run -1 --separate-stderr user import none
	[[ $stderr == *"NOT_FOUND"*"does not exist"* ]]
	run -1 --separate-stderr user import /dev/zero
	[[ $stderr == *"INVALID_ARGUMENT"*"not a regular file"* ]]
	run -1 --separate-stderr user import /proc/1/environ
	[[ $stderr == *"PERMISSION_DENIED"* ]]
}

@test "export: where the user can write, as the user, and nowhere else" {
	id=$(user import public)
	run -0 user export "$id" home/out
	cmp public home/out
	[ "$(stat -c %u:%g:%a home/out)" = 12345:12345:644 ]
	run -1 --separate-stderr user export "$id" home/out
	[[ $stderr == *"ALREADY_EXISTS $DIR/home/out: the output path already exists"* ]]
	run -0 user export "$id" home/out overwrite
	run -1 --separate-stderr user export "$id" roots/out
	[[ $stderr == *"PERMISSION_DENIED $DIR/roots/out: permission denied (opened as uid 12345)"* ]]
	run -1 --separate-stderr user export "$id" home/none/out
	[[ $stderr == *"FAILED_PRECONDITION"*"its directory does not exist"* ]]
	run -1 user export "$id" team/out
	run -0 member export "$id" team/out
	[ "$(stat -c %u:%g team/out)" = 12345:23456 ]
	[ "$(find home roots | sort | tr '\n' ' ')" = "home home/out roots " ]
}

@test "export: a wrong digest leaves nothing; a hard link is made where the user may write" {
	id=$(user import public)
	run -1 --separate-stderr user export "$id" home/bad digest=crc32:1
	[[ $stderr == *"DATA_LOSS digest mismatch expected: crc32:1"* ]]
	[ ! -e home/bad ]
	run -0 user export "$id" home/linked hardlink
	cmp public home/linked
	[ "$(stat -c %h:%u home/linked)" = 2:0 ]
	run -1 --separate-stderr user export "$id" roots/linked hardlink
	[[ $stderr == *"PERMISSION_DENIED"* ]]
}

@test "another mount namespace, user namespace or root: told to use a descriptor" {
	run -0 client import public
	id=$output
	run -1 --separate-stderr unshare -m env PYTHONPATH="$DIR/py" "$PYBASE" -B py/path_client.py sock import public
	[[ $stderr == *"PERMISSION_DENIED"*"another mount namespace"*"descriptor"* ]]
	run -1 --separate-stderr as_user --clear-groups unshare -U "$PYBASE" -B py/path_client.py sock import public
	[[ $stderr == *"PERMISSION_DENIED"*"another user namespace"*"descriptor"* ]]
	run -1 --separate-stderr unshare -m env PYTHONPATH="$DIR/py" "$PYBASE" -B py/path_client.py sock export "$id" home/x
	[[ $stderr == *"another mount namespace"* ]]
	# a root directory of its own in our mount namespace: / again, by another mount
	mkdir -p jail
	mount --rbind / jail || skip "mount --rbind is not possible here"
	run -1 --separate-stderr env PYTHONPATH="$DIR/py" chroot jail "$PYBASE" -B "$DIR/py/path_client.py" \
		"$DIR/sock" import "$DIR/public"
	umount -l jail
	[[ $stderr == *"PERMISSION_DENIED"*"another root directory"*"descriptor"* ]]
}
