#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 900
# the demo: as root and as an ordinary user, with little space, and stopped in the middle

bats_require_minimum_version 1.5.0

setup()
{
	for p in cachefilesd dfdaemon dfcache; do
		[ -x "$BUILD/bin/$p" ] || skip "$p is not built"
	done
	dir=$BATS_TEST_TMPDIR/where
	mkdir -p "$dir"
	chmod 755 "$BATS_TEST_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR" "$TMPDIR" || :
}

demo()
{
	"$TOP/scripts/demo" --bin "$BUILD/bin" "$@"
}

nothing_left()
{
	run ! pgrep -f "$dir/dfcachefiles-demo"
	[ -z "$(ls -A "$dir")" ]
}

@test "a file travels between three nodes and all is gone afterwards" {
	run -0 demo --dir "$dir" --size 20000001
	[[ "$output" == *"exported and equal"*"killed (SIGKILL"*"exported and equal"* ]]
	nothing_left
}

@test "a file of one's own, five nodes" {
	head -c 5000000 /dev/urandom >"$BATS_TEST_TMPDIR/mine"
	chmod 644 "$BATS_TEST_TMPDIR/mine"
	run -0 demo --dir "$dir" --peers 5 --file "$BATS_TEST_TMPDIR/mine"
	[[ "$output" == *"exported and equal"*"killed (SIGKILL"*"exported and equal"* ]]
	nothing_left
}

@test "as an ordinary user, on loopback ports" {
	[ "$(id -u)" = 0 ] || skip "this test runs as that user already"
	chown nobody "$dir"
	run -0 setpriv --reuid nobody --regid nogroup --clear-groups \
		"$TOP/scripts/demo" --bin "$BUILD/bin" --dir "$dir" --size 9000000
	[[ "$output" == *"exported and equal"*"killed (SIGKILL"*"exported and equal"* ]]
	nothing_left
}

# stopped SIGNAL: start the demo, stop it once the nodes answer; its status in $status
stopped()
{
	local log=$BATS_TEST_TMPDIR/log pid
	: >"$log" # what the last one wrote must not count
	"$TOP/scripts/demo" --bin "$BUILD/bin" --dir "$dir" --size 300000000 >"$log" 2>&1 &
	pid=$!
	for _ in {1..600}; do
		grep -qs "all nodes answer" "$log" && break
		sleep 0.05
	done
	grep -q "all nodes answer" "$log" || {
		cat "$log" >&2
		false
	}
	kill -s "$1" "$pid" || true
	# a background job of a shell without job control ignores INT: then it is ended by TERM
	[ "$1" != INT ] || kill -TERM "$pid" 2>/dev/null || true
	status=0
	wait "$pid" || status=$?
	nothing_left
}

@test "stopped in the middle, it leaves nothing" {
	local signal
	for signal in INT TERM HUP; do
		# on a busy machine it may be over before the signal comes: then it was not the middle
		for _ in 1 2 3; do
			stopped "$signal"
			[ "$status" = 0 ] && grep -q "stopping everything" "$BATS_TEST_TMPDIR/log" || break
		done
		[ "$status" != 0 ] || {
			cat "$BATS_TEST_TMPDIR/log" >&2
			false
		}
	done
}

@test "a nearly full disk makes the file smaller, not the demo fail" {
	[ "$(id -u)" = 0 ] || skip "mounting needs root"
	unshare --mount true || skip "no mount namespaces here"
	run -0 unshare --mount sh -c '
		mount -t tmpfs -o size=400m demo "$1" && head -c 150000000 /dev/zero >"$1/other" &&
		"$2/scripts/demo" --bin "$3/bin" --dir "$1"' x "$dir" "$TOP" "$BUILD"
	[[ "$output" == *"the file is smaller than 1.0GiB"* ]]
	[[ "$output" == *"exported and equal"*"killed (SIGKILL"*"exported and equal"* ]]
}

@test "what cannot be is refused with a sentence" {
	run -1 demo --peers 2
	[[ "$output" == *"3 to 32 nodes"* ]]
	run -1 demo --file /nonexistent
	[[ "$output" == *"/nonexistent is not a file"* ]]
	run -1 demo --dir /nonexistent
	[[ "$output" == *"/nonexistent cannot be written"* ]]
	run -1 demo --frobnicate
	[[ "$output" == *"unknown option '--frobnicate'"* ]]
	run -1 "$TOP/scripts/demo" --bin "$dir"
	[[ "$output" == *"is not built"* ]]
}
