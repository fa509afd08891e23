#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# the piece store as its clients see it: restart, expiry, pins, space, damage

bats_require_minimum_version 1.5.0
load ../lib/cachefilesd.bash

teardown()
{
	cleanup
	[ -z "${MOUNTED-}" ] || umount "$D" 2>/dev/null || umount -l "$D" || :
}

small_disk() # MiB: $D is a file system of its own
{
	[ "$(id -u)" = 0 ] || skip "needs root"
	mkdir -p "$D"
	truncate -s "$1M" "$BATS_TEST_TMPDIR/image"
	mkfs.ext4 -q -m 0 -N 4096 "$BATS_TEST_TMPDIR/image"
	mount -o loop "$BATS_TEST_TMPDIR/image" "$D" 2>/dev/null || skip "no loop devices here"
	MOUNTED=1
}

free_kib() { echo $(($(stat -f -c '%a * %S / 1024' "$D"))); }

@test "tasks survive a restart, an unfinished one is no task" {
	config
	start
	tool put a 100000
	tool put b 0
	tool write half 5000 </dev/null
	stop
	start
	tool get a
	tool get b
	run -0 tool stat half
	[[ "$output" == *"state=1"* ]]
	run -1 tool get half
	[[ "$output" == *"not in the store"* ]]
	stop
}

@test "a task expires within a second of its time, pinned or not" {
	config
	start
	tool put a 1000 ttl=1 pin
	tool put b 1000 ttl=1000
	tool get a
	start=$(date +%s%N)
	wait_until 10 grep -q 'id=a reason=expired' "$LOG"
	[ $((($(date +%s%N) - start) / 1000000)) -lt 2100 ]
	run -1 tool get a
	tool get b
	run -0 ctl evictions
	[[ "$output" == *"task a"*"reason expired"* ]]
	# also when its time came while nobody looked
	tool ttl b 1
	stop
	wait_until 3 bash -c "[ \$(date +%s) -gt $(($(date +%s) + 1)) ]"
	start
	wait_until 5 grep -q 'id=b reason=expired' "$LOG"
	stop
}

@test "space is promised for real, and the least recently used make room" {
	small_disk 64
	config 'grace 0s' 'brun 20%' 'bcull 15%' 'bstop 5%'
	start
	for i in 1 2 3 4 5; do tool put "t$i" 8000000; done
	tool touch t1
	tool pin t2
	# does not fit: t3 goes, then t4; not t1 (used), not t2 (pinned)
	tool put new 12000000 wait=20
	run -1 tool stat t3
	tool get t1
	tool get t2
	[ "$(free_kib)" -gt $((64 * 1024 * 5 / 100)) ]
	run -0 ctl evictions
	[[ "$output" == *"task t3"* ]]
	# larger than everything that could go
	run -1 tool put huge 60000000 wait=3
	[[ "$output" == *"no space"*"wanted="*"available="*"pinned="*"cullable="* ]]
	tool get t2
	run -1 tool put absurd 99000000000
	[[ "$output" == *"larger than the file system"* ]]
	stop
}

@test "a leased task is not culled" {
	small_disk 48
	config 'grace 0s' 'brun 20%' 'bcull 15%' 'bstop 5%'
	start
	tool put old 8000000
	tool put young 8000000
	mkfifo "$BATS_TEST_TMPDIR/hold"
	tool hold old <"$BATS_TEST_TMPDIR/hold" 3>&- &
	exec 8>"$BATS_TEST_TMPDIR/hold"
	wait_until 5 bash -c "cachefilesctl -f '$CONF' ls | grep -q 'old .* L '"
	tool put new 24000000 wait=20
	tool get old
	run -1 tool get young
	exec 8>&-
	wait %?hold
	stop
}

@test "what others write to the disk is noticed: culling begins by itself" {
	small_disk 64
	config 'grace 0s' 'brun 30%' 'bcull 25%' 'bstop 5%'
	start
	for i in 1 2 3; do tool put "t$i" 8000000; done
	dd if=/dev/zero of="$D/other" bs=1M count=24 status=none
	sync
	wait_until 10 bash -c "! cachefilesctl -f '$CONF' ls | grep -q 't1 '"
	stop
}

@test "dry run names what a cull removes" {
	config 'grace 0s'
	start
	for i in 1 2 3; do tool put "t$i" 100000; done
	tool pin t2
	run -0 ctl cull --dry-run
	[[ "$output" == *"task t1"*"task t3"*"2 objects"* ]]
	run -0 ctl --json cull --dry-run
	[ "$(jq -rs '[.[].label] | join(",")' <<<"$output")" = "task t1,task t3" ]
	run -1 ctl cull --free 1000000GiB
	run -0 ctl ls
	[[ "$output" == t2* ]]
	run -0 ctl --json evictions
	[ "$(jq -rs '[.[].label] | sort | join(",")' <<<"$output")" = "task t1,task t3" ]
	stop
}

@test "what is counted agrees with du" {
	config
	start
	for i in 1 2 3; do tool put "t$i" 300000; done
	counted=$(ctl --json status | jq .tasks_bytes)
	real=$(find "$D/pieces/tasks" -type f -printf '%b\n' | awk '{s += $1} END {print s * 512}')
	[ "$counted" = "$real" ]
	stop
}

@test "a damaged record costs its task alone, and is reported" {
	config
	start
	for i in 1 2 3; do tool put "t$i" 10000; done
	stop
	record=$(find "$D/pieces/tasks" -path '*/t2/meta')
	# both headers: one alone would be no damage
	printf 'x' | dd of="$record" bs=1 seek=40 conv=notrunc status=none
	printf 'x' | dd of="$record" bs=1 seek=8232 conv=notrunc status=none
	run -1 ctl fsck
	[[ "$output" == *"problem"*"task t2"* ]]
	run -1 ctl --json fsck
	[ "$(jq -s -c '[.[0].level, .[0].what, .[1]]' <<<"$output")" = \
		'["problem","task t2",{"tasks":3,"partials":0,"problems":1,"mended":0,"bytes_read":0}]' ]
	start
	grep -q 'a task does not verify and is dropped name=t2' "$LOG"
	tool get t1
	run -1 tool get t2
	tool get t3
	stop
	run -0 ctl fsck
}

@test "one flipped bit in one header is no damage" {
	config
	start
	tool put a 10000
	stop
	record=$(find "$D/pieces/tasks" -path '*/a/meta')
	printf 'x' | dd of="$record" bs=1 seek=8232 conv=notrunc status=none
	# the older header says "partial": the task is not complete by it, and is dropped; the newer one
	# in the other slot is not touched by this
	run ctl fsck
	[ "$status" = 0 ] || [[ "$output" == *"task a"* ]]
}

@test "fsck mends only when nobody uses the store" {
	config
	start
	tool put a 10000
	tool put b 10000
	run -1 ctl fsck --repair
	[[ "$output" == *"another daemon uses this directory"* ]]
	stop
	victim=$(find "$D/pieces/tasks" -path '*/a/data')
	chmod u+w "$victim" # committed data is read-only, also for its owner
	truncate -s 5 "$victim"
	mkdir "$D/pieces/tasks/zz!"
	run -0 ctl --json fsck --repair
	[ "$(jq -s -c 'map(select(.level) | .level) | unique' <<<"$output")" = '["mended"]' ]
	[ "$(jq -s 'map(select(.what == "task a")) | length' <<<"$output")" = 1 ]
	[ "$(jq -s -c '.[-1] | .problems == .mended' <<<"$output")" = true ]
	run -0 ctl fsck
	[[ "$output" == *"1 tasks"* ]]
}

@test "scrub finds a flipped bit, the daemon drops the task" {
	config
	start
	tool put a 100000
	tool put b 100000
	run -0 ctl scrub --rate 0
	data=$(find "$D/pieces/tasks" -path '*/a/data')
	chmod 600 "$data"
	printf 'x' | dd of="$data" bs=1 seek=50000 conv=notrunc status=none
	run -1 ctl scrub --rate 0
	[[ "$output" == *"problem"*"task a"*"piece 12 does not match"* ]]
	run -1 tool stat a
	tool get b
	run -0 ctl --json scrub --rate 0 b
	[ "$(jq -c '[.tasks, .problems, .bytes_read]' <<<"$output")" = '[1,0,100000]' ]
	data=$(find "$D/pieces/tasks" -path '*/b/data')
	chmod 600 "$data"
	printf 'x' | dd of="$data" bs=1 seek=0 conv=notrunc status=none
	run -1 ctl --json scrub --rate 0
	[ "$(jq -s -r '.[0] | .level, .what' <<<"$output" | tr '\n' ' ')" = 'problem task b ' ]
	stop
}

@test "after commit the data is read-only, and a writer that stays is found" {
	config
	start
	tool put a 5000
	[ "$(stat -c %a "$(find "$D/pieces/tasks" -path '*/a/data')")" = 400 ]
	stop
}

@test "limits of pins: together and for each user" {
	small_disk 64
	config 'pins_max 40%' 'pins_uid_max 20%'
	start
	tool put a 8000000 pin
	run -1 tool put b 8000000 pin
	[[ "$output" == *"pinned tasks of uid 0 may hold"* ]]
	tool put b 8000000
	run -1 tool pin b
	[[ "$output" == *"pins_uid_max"* ]]
	tool unpin a
	tool pin b
	stop
}

@test "tasks_max_size and tasks_max_age bound the tasks" {
	config 'tasks_max_size 1MB'
	start
	for i in 1 2 3 4; do tool put "t$i" 300000; done
	wait_until 5 bash -c "! cachefilesctl -f '$CONF' ls | grep -q 't1 '"
	tool get t4
	grep -q 'id=t1 reason=beyond tasks_max_size' "$LOG"
	config 'tasks_max_age 1s'
	kill -HUP "$PID"
	wait_until 15 grep -q 'id=t4 reason=unused for tasks_max_age' "$LOG"
	stop
}

@test "dry run with --free names exactly what a cull of that size removes then" {
	small_disk 96
	config 'grace 0s'
	start
	for i in $(seq 30); do tool put "t$i" $((i % 5 * 300000 + 1000)); done
	tool pin t3
	tool touch t1
	avail=$(stat -f -c '%a %S' "$D" | awk '{print $1 * $2}')
	run -0 ctl --json cull --dry-run --free $((avail + 4000000))
	jq -r .label <<<"$output" >"$BATS_TEST_TMPDIR/would"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/would")" -gt 3 ]
	ctl cull --free $((avail + 4000000))
	ctl --json evictions | jq -r .label | tac | cmp - "$BATS_TEST_TMPDIR/would"
	# what is free already needs nothing
	run -0 ctl --json cull --dry-run --free 1
	[ -z "$output" ]
	stop
}

@test "top agrees with du" {
	[ "$(id -u)" = 0 ] || skip "needs root"
	open_directory
	SOCK=$OPEN/sock
	config 'socket_group nogroup'
	start
	cp "$TOOL" "$OPEN/tool"
	for i in 1 2 3; do tool put "t$i" $((i * 100000)); done
	tool pin t1
	for i in 1 2; do
		setpriv --reuid 12345 --regid nogroup --clear-groups "$OPEN/tool" "$SOCK" put "u$i" 70000
	done
	du_of() { # NAME...: bytes of their files
		local name
		for name; do find "$D/pieces/tasks" -type f -path "*/$name/*" -printf '%b\n'; done |
			awk '{s += $1} END {print s * 512}'
	}
	top=$(ctl --json top | jq -s -c '[.[] | select(has("tasks"))] | map([.uid, .tasks, .bytes, .pinned_bytes])')
	echo "$top"
	[ "$top" = "[[0,3,$(du_of t1 t2 t3),$(du_of t1)],[12345,2,$(du_of u1 u2),0]]" ]
	# the largest first
	run -0 ctl top
	[ "$(grep -o '^[tu][123]' <<<"$output" | head -n 3 | tr '\n' ' ')" = "t3 t2 t1 " ]
	stop
}

@test "a disk that others fill is reported, and why nothing helps" {
	small_disk 64
	config 'grace 0s' 'brun 30%' 'bcull 25%' 'bstop 20%'
	start
	tool put kept 8000000 pin
	dd if=/dev/zero of="$D/other" bs=1M count=44 status=none
	sync
	reported() { ctl status | grep -q 'TROUBLE.*nothing-cullable.*pinned or leased tasks, or not ours'; }
	wait_until 30 reported
	run -1 tool put more 1000000
	[[ "$output" == *"no space"*"available=0"* ]]
	tool get kept
	rm "$D/other"
	sync
	better() { ! ctl status | grep -q TROUBLE; }
	wait_until 30 better
	tool put more 1000000
	stop
}
