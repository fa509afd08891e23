#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 600
# shellcheck disable=SC2154 # stderr: bats sets it
# the same content twice is one task; other content with the same id is refused, wherever it comes from

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
	head -c 6000000 /dev/urandom >"$f"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

n_copies() # I: data files of tasks in the store
{
	find "$(node_dir "$1")/cache" -name data -size +0 | wc -l
}

@test "two imports of the same content on one node: same id, success, one copy" {
	local a b
	nodes_start 1
	a=$(on 1 import "$f")
	cp "$f" "$f.copy"
	b=$(on 1 import "$f.copy")
	[ "$a" = "$b" ]
	[ "$(n_copies 1)" = 1 ]
}

expires() # in whole seconds since the Epoch
{
	on 1 ls --json | grep -o '"expires": *[0-9]*' | grep -o '[0-9]*$'
}

@test "the second import of the same content keeps the later expiry" {
	local before after
	nodes_start 1
	on 1 import --ttl 1h "$f"
	before=$(expires)
	on 1 import --ttl 3h "$f"
	after=$(expires)
	[ "$((after - before))" -gt 7000 ]
	on 1 import --ttl 1h "$f"
	[ "$(expires)" = "$after" ]
}

@test "the same content imported on two nodes is one task with one id" {
	local a b
	nodes_start 2
	a=$(on 1 import --persistent-replica-count 1 "$f")
	b=$(on 2 import --persistent-replica-count 1 "$f")
	[ "$a" = "$b" ]
	on 1 export "$a" -O "$f.1"
	on 2 export "$a" -O "$f.2"
	cmp "$f" "$f.1"
	cmp "$f" "$f.2"
}

refused_and_intact() # I
{
	"$TOP/tests/lib/same_crc32.py" "$f" "$f.other"
	! cmp -s "$f" "$f.other"
	run --separate-stderr on "$1" import "$f.other"
	[ "$status" -ne 0 ]
	echo "# $stderr"
	# what happened, and what can be done
	[[ "$stderr" == *"$id"*"other content"* ]]
	[[ "$stderr" == *"--content-for-calculating-task-id"* ]]
	on "$1" export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	# with a tag it is another task
	other=$(on "$1" import --tag other "$f.other")
	[ "$other" != "$id" ]
	on "$1" export "$other" -O "$f.out2"
	cmp "$f.other" "$f.out2"
}

@test "other content with the same CRC-32 is refused, the first stays intact (one node)" {
	nodes_start 1
	id=$(on 1 import "$f")
	refused_and_intact 1
}

@test "other content with the same CRC-32 is refused, the first stays intact (another node)" {
	nodes_start 2
	id=$(on 1 import --persistent-replica-count 1 "$f")
	refused_and_intact 2
	on 1 export "$id" -O "$f.first"
	cmp "$f" "$f.first"
}

@test "the content text makes the id; the same text with other content is refused" {
	local id
	nodes_start 1
	id=$(on 1 import --content-for-calculating-task-id "This is a test file" "$f")
	[ "$id" = 107352521 ]
	run ! on 1 import --content-for-calculating-task-id "This is a test file" /etc/hostname
	on 1 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
}
