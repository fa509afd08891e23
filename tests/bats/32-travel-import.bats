#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 600
# shellcheck disable=SC2154 # stderr: bats sets it
# import: read once, whole or not at all, nothing left behind

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

bytes_read() # I: by all reads of that dfdaemon since it began
{
	awk '/^rchar:/ { print $2 }' "/proc/$(node_pid "$1" dfdaemon)/io"
}

@test "import reads the source once" {
	local before after size=$((200 << 20))
	nodes_start 1
	head -c $size /dev/urandom >"$f"
	before=$(bytes_read 1)
	on 1 import "$f"
	after=$(bytes_read 1)
	echo "# $((after - before)) bytes were read for $size"
	[ "$((after - before))" -ge "$size" ]
	[ "$((after - before))" -lt "$((size + size / 50))" ]
}

@test "a hole is not read at all" {
	local before after
	nodes_start 1
	truncate -s 1G "$f"
	printf x | dd of="$f" bs=1 seek=500000000 conv=notrunc status=none
	before=$(bytes_read 1)
	on 1 import "$f"
	after=$(bytes_read 1)
	echo "# $((after - before)) bytes were read"
	[ "$((after - before))" -lt 10000000 ]
}

@test "a source that changes while it is read fails the import, and nothing is left" {
	local writer
	nodes_start 1
	head -c 400M /dev/zero | tr '\0' 'a' >"$f"
	(while :; do printf b | dd of="$f" bs=1 seek=7 conv=notrunc status=none; done) 3>&- &
	writer=$!
	run --separate-stderr on 1 import "$f"
	kill "$writer"
	wait "$writer" || :
	echo "# $stderr"
	[ "$status" -ne 0 ]
	[[ "$stderr" == *"changed while it was read"* ]]
	[ "$(on 1 ls --json)" = "[]" ]
	wait_until 20 nothing_in_store 1
	on 1 import "$f"
}

nothing_in_store() # I
{
	[ -z "$(find "$(node_dir "$1")/cache" -name data -print -quit)" ]
}

@test "what is not a regular file is refused with a sentence" {
	nodes_start 1
	mkfifo "$f.fifo"
	run --separate-stderr timeout 20 dfcache import -e "$(node_socket 1)" /dev/zero
	[ "$status" -ne 0 ]
	[[ "$stderr" == *"regular file"* ]]
}

@test "a half-written import is not a task after SIGKILL of dfdaemon" {
	nodes_start 1
	head -c 1500M /dev/zero | tr '\0' 'q' >"$f"
	on 1 import "$f" 3>&- &
	importer=$!
	wait_until 20 something_in_store 1
	kill -KILL "$(node_pid 1 dfdaemon)"
	if wait "$importer"; then return 1; fi # it must not have been acknowledged
	node_end_process 1 dfdaemon KILL
	node_start_peer 1
	[ "$(on 1 ls --json)" = "[]" ]
	id=$(on 1 import "$f")
	on 1 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}

something_in_store() # I
{
	[ -n "$(find "$(node_dir "$1")/cache" -name data -size +100M -print -quit)" ]
}

@test "a half-written import is not a task after SIGKILL of both daemons" {
	nodes_start 1
	head -c 1500M /dev/zero | tr '\0' 'q' >"$f"
	on 1 import "$f" 3>&- &
	importer=$!
	wait_until 20 something_in_store 1
	kill -KILL "$(node_pid 1 cachefilesd)" "$(node_pid 1 dfdaemon)"
	if wait "$importer"; then return 1; fi # it must not have been acknowledged
	node_end_process 1 dfdaemon KILL
	node_end_process 1 cachefilesd KILL
	rm -f "$(node_dir 1)/store.sock"
	node_start_store 1
	node_start_peer 1
	[ "$(on 1 ls --json)" = "[]" ]
}

@test "an acknowledged import survives SIGKILL of both daemons at once" {
	local id
	nodes_start 1
	head -c 50M /dev/urandom >"$f"
	id=$(on 1 import "$f")
	kill -KILL "$(node_pid 1 cachefilesd)" "$(node_pid 1 dfdaemon)"
	node_end_process 1 dfdaemon KILL
	node_end_process 1 cachefilesd KILL
	rm -f "$(node_dir 1)/store.sock"
	node_start_store 1
	node_start_peer 1
	on 1 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}

@test "a caller that goes away ends its import, and nothing is left" {
	local pid
	nodes_start 1
	head -c 1500M /dev/zero | tr '\0' 'q' >"$f"
	on 1 import "$f" 3>&- &
	pid=$!
	wait_until 20 something_in_store 1
	pkill -KILL -P "$pid" || kill -KILL "$pid"
	wait "$pid" || :
	wait_until 20 nothing_in_store 1
	wait_until 20 in_log 1 dfdaemon "import: failed.*CANCELLED"
	[ "$(on 1 ls --json)" = "[]" ]
}
