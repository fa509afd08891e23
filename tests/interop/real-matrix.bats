#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 1500
# ours and Dragonfly's own: import with each command line on each daemon, replica on each, export on each, by
# way of the replica alone, byte for byte. DRAGONFLY_SIZES="0 1 ..." for others.
# shellcheck disable=SC2154 # bats sets stderr

bats_require_minimum_version 1.5.0
load ../lib/dragonfly

setup()
{
	dragonfly_needs DRAGONFLY_SCHEDULER REDIS_SERVER DRAGONFLY_DFDAEMON DRAGONFLY_DFCACHE
	dragonfly_begin "$BATS_TEST_TMPDIR/nodes"
	bad=0
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || dragonfly_show
	dragonfly_end
}

# step WHAT COMMAND...: what fails is said and counted, the rest is tried nevertheless
step()
{
	local what=$1
	shift
	if "$@" >"$BATS_TEST_TMPDIR/step" 2>&1; then
		return 0
	fi
	echo "# FAILED: $what: $(tr '\n\033' ' ?' <"$BATS_TEST_TMPDIR/step" | cut -c1-300)" >&2
	bad=$((bad + 1))
	return 1
}

# Every file is imported by both command lines on both daemons; the importers leave; then the node with the
# replica is the only one that has it, and both daemons get it from there, for both command lines.
by_way_of() # ours|theirs: where the replicas are
{
	local kind=$1 who i size tag id f ids=() n=0
	export THEIRS_DISABLE_SHARED=true
	ours_start 3 peer.disable_shared=yes
	theirs_start 4
	export THEIRS_DISABLE_SHARED=false
	ours_start 1
	theirs_start 2
	"${kind}_start" 5
	for size in ${DRAGONFLY_SIZES:-0 1 4194304 4194305 314572800}; do
		f=$BATS_TEST_TMPDIR/f.$size
		random_file "$f" "$size"
		for who in ours theirs; do
			for i in 1 2; do
				tag=$size-$who-$i
				id=$(task_of "$f" "$tag")
				# as many as there are hosts: the scheduler draws hosts before it leaves
				# out those that share nothing
				step "import by the command line of $who on node $i, $size bytes" \
					cli "$who" "$i" import "$f" --tag "$tag" --ttl 1h \
					--persistent-replica-count 5 || continue
				step "replica of $tag" wait_holder 5 "$id" || continue
				ids+=("$id $size $tag")
			done
		done
	done
	node_stop 1
	stopped theirs-2 TERM
	wait_until 30 knows_no_host 1
	wait_until 30 knows_no_host 2
	for line in "${ids[@]}"; do
		read -r id size tag <<<"$line"
		for i in 3 4; do
			for who in theirs ours; do
				step "export of $tag by the command line of $who on node $i" \
					cli "$who" "$i" export "$id" -O "$BATS_TEST_TMPDIR/out" &&
					step "bytes of $tag from node $i" \
						cmp "$BATS_TEST_TMPDIR/f.$size" "$BATS_TEST_TMPDIR/out" &&
					n=$((n + 1))
				rm -f "$BATS_TEST_TMPDIR/out"
			done
			step "content of $tag in the stream of node $i" cli theirs "$i" export "$id" \
				--transfer-from-dfdaemon -O "$BATS_TEST_TMPDIR/out" &&
				step "bytes of that" cmp "$BATS_TEST_TMPDIR/f.$size" "$BATS_TEST_TMPDIR/out" &&
				n=$((n + 1))
			rm -f "$BATS_TEST_TMPDIR/out"
		done
	done
	echo "# $n exports by way of a replica on $kind, $bad failures" >&2
	[ "$bad" = 0 ]
	[ "$n" -ge $((${#ids[@]} * 6)) ]
	[ "$n" -gt 0 ]
}

@test "by way of a replica on ours" {
	by_way_of ours
}

@test "by way of a replica on theirs" {
	by_way_of theirs
}

@test "three of ours and three of theirs export at once, of a task imported on either" {
	local i id f=$BATS_TEST_TMPDIR/f kind importer pids=()
	export THEIRS_DISABLE_SHARED=true
	ours_start 1
	theirs_start 2
	for i in 3 4 5; do
		ours_start "$i" peer.disable_shared=no
	done
	export THEIRS_DISABLE_SHARED=false
	for i in 6 7 8; do
		theirs_start "$i"
	done
	random_file "$f" "${DRAGONFLY_SWARM_SIZE:-314572800}"
	for importer in 1 2; do
		kind=ours
		[ "$importer" = 1 ] || kind=theirs
		cli "$kind" "$importer" import "$f" --tag "swarm$importer" --ttl 1h --persistent-replica-count 1
		id=$(task_of "$f" "swarm$importer")
		pids=()
		for i in 3 4 5 6 7 8; do
			kind=ours
			[ "$i" -lt 6 ] || kind=theirs
			cli "$kind" "$i" export "$id" -O "$f.$i" 3>&- &
			pids+=($!)
		done
		for i in "${pids[@]}"; do
			wait "$i"
		done
		for i in 3 4 5 6 7 8; do
			cmp "$f" "$f.$i"
			rm -f "$f.$i"
		done
	done
}

@test "an old command line, which asks for the health first, on ours" {
	dragonfly_needs DRAGONFLY_DFCACHE_OLD
	local f=$BATS_TEST_TMPDIR/f id
	ours_start 1
	random_file "$f" 5000000
	cli old 1 import "$f" --tag old --ttl 1h --persistent-replica-count 1
	id=$(task_of "$f" old)
	cli old 1 stat "$id" | grep -q Succeeded
	cli old 1 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	cli old 1 export "$id" --transfer-from-dfdaemon -O "$f.out2"
	cmp "$f" "$f.out2"
}
