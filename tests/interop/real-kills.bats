#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1500
# ours and Dragonfly's own: each of them killed in the middle of an import, of a replication and of an export, and
# the scheduler and Redis, too. No hang, no wrong byte, an error that says something, and afterwards it works.
# shellcheck disable=SC2154 # bats sets stderr

bats_require_minimum_version 1.5.0
load ../lib/dragonfly

setup()
{
	dragonfly_needs DRAGONFLY_SCHEDULER REDIS_SERVER DRAGONFLY_DFDAEMON DRAGONFLY_DFCACHE
	dragonfly_begin "$BATS_TEST_TMPDIR/nodes"
	export THEIRS_UPLOAD_BANDWIDTH=10MB
	f=$BATS_TEST_TMPDIR/f
	random_file "$f" 100000000
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || dragonfly_show
	dragonfly_end
}

both_start() # I [OURS...]: node I of ours, node I+1 of theirs
{
	local i=$1
	shift
	ours_start "$i" upload.bandwidth=10MB "$@"
	theirs_start $((i + 1))
}

imports() # ours|theirs I TAG [ARG...]
{
	cli "$1" "$2" import "$f" --tag "$3" --ttl 1h "${@:4}"
}

exported() # ours|theirs I TAG
{
	rm -f "$f.out"
	cli "$1" "$2" export "$(task_of "$f" "$3")" -O "$f.out" && cmp "$f" "$f.out"
}

# an import that stands: the scheduler does not answer while it is stopped
import_in_the_middle() # ours|theirs I TAG
{
	kill -STOP "$(cat "$CLUSTER/scheduler.pid")"
	imports "$@" --persistent-replica-count 1 >"$f.import" 2>&1 3>&- &
	import=$!
	wait_until 20 waits_for_scheduler
}

# the stopped scheduler has bytes to read
waits_for_scheduler()
{
	ss -Htn src "$(node_ip 99):8002" | awk '$2 > 0 { n++ } END { exit !n }'
}

ends() # PID: the process has ended, well or not
{
	! kill -0 "$1" 2>/dev/null
}

export_in_the_middle() # ours|theirs I TAG
{
	local before
	before=$(received "$2")
	rm -f "$f.out"
	cli "$1" "$2" export "$(task_of "$f" "$3")" -O "$f.out" >"$f.export" 2>&1 3>&- &
	export=$!
	wait_until 30 has_pieces "$2" "$before"
}

received() # I: bytes that its daemon, of either make, got from peers so far
{
	curl -s --max-time 5 "http://$(node_ip "$1"):4002/metrics" |
		awk '/^dragonfly_client_download_traffic/ && /REMOTE_PEER/ { n = $2 } END { printf "%d\n", n }'
}

has_pieces() # I BYTES-BEFORE: some more, and not all
{
	[ "$(received "$1")" -ge $(($2 + 8000000)) ]
}

ended_with_a_word() # PID FILE: it failed, and said why
{
	wait_until 60 ends "$1"
	run ! wait "$1"
	[ -s "$2" ]
}

@test "import: our daemon is killed, then theirs; the task can be imported elsewhere afterwards" {
	ours_start 1
	ours_start 3
	theirs_start 2
	import_in_the_middle ours 1 a
	node_kill_peer 1
	kill -CONT "$(cat "$CLUSTER/scheduler.pid")"
	ended_with_a_word "$import" "$f.import"
	import_in_the_middle theirs 2 b
	stopped theirs-2 KILL
	kill -CONT "$(cat "$CLUSTER/scheduler.pid")"
	ended_with_a_word "$import" "$f.import"
	imports ours 3 c --persistent-replica-count 1
	exported ours 3 c
	node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 99):8002"
	theirs_start 2
	imports ours 1 d --persistent-replica-count 1
	exported theirs 2 d
	imports theirs 2 e --persistent-replica-count 1
	exported ours 1 e
}

@test "import: the scheduler is restarted under both daemons" {
	ours_start 1
	theirs_start 2
	import_in_the_middle ours 1 a
	scheduler_stop KILL
	scheduler_start
	wait "$import"
	exported theirs 2 a
	import_in_the_middle theirs 2 b
	scheduler_stop KILL
	scheduler_start
	# what theirs does then is its own affair; ours gets on with what came of it
	wait_until 60 ends "$import"
	wait_until 60 imports ours 1 c --persistent-replica-count 1
	exported theirs 2 c
}

# PARENT (importer, alive) and VICTIM have the task; CHILD exports while VICTIM dies
export_loses_a_parent() # ours|theirs VICTIM
{
	local victim=$1 child
	ours_start 1 upload.bandwidth=10MB
	theirs_start 2
	imports ours 1 a --persistent-replica-count 5
	wait_holder 2 "$(task_of "$f" a)"
	ours_start 3 peer.disable_shared=yes
	THEIRS_DISABLE_SHARED=true theirs_start 4
	for child in "ours 3" "theirs 4"; do
		# shellcheck disable=SC2086
		export_in_the_middle $child a
		if [ "$victim" = ours ]; then
			node_kill_peer 1
		else
			stopped theirs-2 KILL
		fi
		wait_until 90 ends "$export"
		wait "$export"
		cmp "$f" "$f.out"
		rm -f "$f.out"
		if [ "$victim" = ours ]; then
			node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 99):8002" \
				upload.bandwidth=10MB
		else
			theirs_start 2
		fi
	done
}

@test "export: our peer is killed, the other parent is theirs" {
	export_loses_a_parent ours
}

@test "export: their peer is killed, the other parent is ours" {
	export_loses_a_parent theirs
}

@test "export: the only parent is killed: an error, no output, and it works when that is back" {
	local kind
	both_start 1
	ours_start 3 peer.disable_shared=yes download.progress_timeout=5s
	for kind in "ours 1" "theirs 2"; do
		# shellcheck disable=SC2086
		imports $kind "${kind%% *}" --persistent-replica-count 1
		export_in_the_middle ours 3 "${kind%% *}"
		peer_stop "${kind##* }" KILL
		ended_with_a_word "$export" "$f.export"
		[ ! -e "$f.out" ]
		if [ "${kind%% *}" = ours ]; then
			node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 99):8002"
		else
			theirs_start 2
		fi
		wait_until 60 exported ours 3 "${kind%% *}"
	done
}

@test "export: the exporting daemon is killed: what it has stays, the rest comes afterwards" {
	both_start 1
	ours_start 3 peer.disable_shared=yes
	THEIRS_DISABLE_SHARED=true theirs_start 4
	imports ours 1 a --persistent-replica-count 1
	export_in_the_middle ours 3 a
	node_kill_peer 3
	ended_with_a_word "$export" "$f.export"
	[ ! -e "$f.out" ]
	node_start_peer 3 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 99):8002"
	wait_until 60 exported ours 3 a
	rm -f "$f.out"
	imports theirs 2 b --persistent-replica-count 1
	export_in_the_middle theirs 4 a
	stopped theirs-4 KILL
	ended_with_a_word "$export" "$f.export"
	theirs_start 4
	rm -f "$f.out"
	exported ours 3 b
}

@test "export: the scheduler and Redis are restarted under both daemons" {
	local child
	both_start 1
	imports ours 1 a --persistent-replica-count 1
	ours_start 3 peer.disable_shared=yes
	THEIRS_DISABLE_SHARED=true theirs_start 4
	export_in_the_middle ours 3 a
	scheduler_stop KILL
	redis_stop KILL
	redis_start
	scheduler_start
	wait "$export"
	cmp "$f" "$f.out"
	rm -f "$f.out"
	export_in_the_middle theirs 4 a
	scheduler_stop KILL
	redis_stop KILL
	redis_start
	scheduler_start
	wait_until 90 ends "$export"
	# theirs may have failed; ours serves it when it asks again
	rm -f "$f.out"
	wait_until 60 exported theirs 4 a
}

@test "replication: the target is killed in the middle; another copy of either kind can still be made" {
	local before
	both_start 1
	before=$(received 2)
	imports ours 1 a --persistent-replica-count 2
	wait_until 30 has_pieces 2 "$before"
	stopped theirs-2 KILL
	ours_start 3 peer.disable_shared=yes
	exported ours 3 a
	node_stop 3
	theirs_start 2
	before=$(received 1)
	imports theirs 2 b --persistent-replica-count 2
	wait_until 30 has_pieces 1 "$before"
	node_kill_peer 1
	node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 99):8002"
	exported ours 1 b
}

@test "replication: the source is killed in the middle; the replica is finished when it is back, or made anew" {
	local before
	both_start 1
	before=$(received 2)
	imports ours 1 a --persistent-replica-count 2
	wait_until 30 has_pieces 2 "$before"
	node_kill_peer 1
	node_start_peer 1 peer.scheduler=dragonfly "peer.schedulers=$(node_ip 99):8002"
	wait_until 60 exported theirs 2 a
	before=$(received 1)
	imports theirs 2 b --persistent-replica-count 2
	wait_until 30 has_pieces 1 "$before"
	stopped theirs-2 KILL
	theirs_start 2
	wait_until 60 exported ours 1 b
}

@test "replication: the scheduler and Redis are restarted in the middle" {
	local before
	both_start 1
	before=$(received 2)
	imports ours 1 a --persistent-replica-count 2
	wait_until 30 has_pieces 2 "$before"
	scheduler_stop KILL
	redis_stop KILL
	redis_start
	scheduler_start
	wait_until 60 exported theirs 2 a
	before=$(received 1)
	imports theirs 2 b --persistent-replica-count 2
	wait_until 30 has_pieces 1 "$before"
	scheduler_stop KILL
	redis_stop KILL
	redis_start
	scheduler_start
	wait_until 60 exported ours 1 b
}
