#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# pieces are passed on while they arrive (rule P4), and what is wrong is never completed by it

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
	f=$BATS_TEST_TMPDIR/f
	head -c 12M /dev/urandom >"$f"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show 25
	nodes_end
}

metric() # I NAME-WITH-LABELS
{
	python3 - "http://$(node_ip "$1"):4002/metrics" "dfcachefiles_$2" <<-'END'
		import sys, urllib.request
		for l in urllib.request.urlopen(sys.argv[1], timeout=20).read().decode().splitlines():
		    if l.startswith(sys.argv[2] + " "):
		        print(l.split()[-1])
	END
}

forwarded() # OUTCOME I...: the sum
{
	local outcome=$1 i n=0
	shift
	for i in "$@"; do
		n=$((n + $(metric "$i" "pieces_forwarded_total{outcome=\"$outcome\"}")))
	done
	echo "$n"
}

export_at_all() # ID I...: at once; the number that failed is in $failed
{
	local id=$1 i pids=()
	shift
	failed=0
	for i in "$@"; do
		on "$i" export "$id" -O "$f.$i" 2>"$f.err$i" 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || failed=$((failed + 1))
	done
}

@test "three children at once: each has every byte, and got pieces that were still arriving" {
	local i
	# slow enough that a piece is on its way for a while
	nodes_start 4 upload.bandwidth=8MB
	id=$(on 1 import --persistent-replica-count 1 "$f")
	export_at_all "$id" 2 3 4
	[ "$failed" = 0 ]
	for i in 2 3 4; do
		cmp "$f" "$f.$i"
	done
	[ "$(forwarded sent 2 3 4)" -gt 0 ]
	# the holder had everything before: nothing was arriving there
	[ "$(forwarded sent 1)" = 0 ]
}

@test "a piece that is wrong at the holder is completed nowhere, however it travels" {
	local i data
	nodes_start 3 upload.bandwidth=8MB download.progress_timeout=4s
	id=$(on 1 import --persistent-replica-count 1 "$f")
	data=$(find "$(node_dir 1)/cache" -name data)
	# one byte of each piece but the first, in the middle
	for i in 1 2; do
		printf X | dd of="$data" bs=1 seek=$((i * 4194304 + 2000000)) conv=notrunc status=none
	done
	export_at_all "$id" 2 3
	[ "$failed" = 2 ]
	for i in 2 3; do
		[ ! -e "$f.$i" ]
		grep -q "pieces are missing" "$f.err$i"
	done
	grep -h "does not match its digest" "$(node_log 2 dfdaemon)" "$(node_log 3 dfdaemon)"
	# whoever blames a relay for it would drop it: only the holder sent what does not match
	run ! grep -h "parent=$(node_ip 2)-\|parent=$(node_ip 3)-" "$(node_log 2 dfdaemon)" "$(node_log 3 dfdaemon)"
}
