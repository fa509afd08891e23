#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# timeout: 600
# private memory (RssAnon + RssShmem) of the daemons, idle and during a transfer of $TRAVEL_MEMORY
# (320M; tests/long/travel-memory.sh: 5G)

bats_require_minimum_version 1.5.0
load ../lib/nodes

setup_file()
{
	if nm "$(command -v dfdaemon)" 2>/dev/null | grep -q __asan_init; then
		skip "the figures are those of a release build"
	fi
}

setup()
{
	nodes_begin "$BATS_TEST_TMPDIR/nodes"
}

teardown()
{
	[ -n "$BATS_TEST_COMPLETED" ] || nodes_show
	nodes_end
}

@test "idle: dfdaemon under 8 MiB, cachefilesd under 4 MiB" {
	local d c
	nodes_start 2
	d=$(private_kib "$(node_pid 1 dfdaemon)")
	c=$(private_kib "$(node_pid 1 cachefilesd)")
	echo "# dfdaemon $d KiB, cachefilesd $c KiB" >&3
	[ "$d" -lt 8192 ]
	[ "$c" -lt 4096 ]
}

watch_memory() # PID...: the greatest figures, until told to stop
{
	local p k
	while [ ! -e "$BATS_TEST_TMPDIR/stop" ]; do
		for p in "$@"; do
			k=$(private_kib "$p" 2>/dev/null) || continue
			echo "$p $k"
		done
		read -r -t 0.05 <> <(:) || :
	done >"$BATS_TEST_TMPDIR/memory"
}

greatest() # PID
{
	awk -v p="$1" '$1 == p && $2 > m { m = $2 } END { print m + 0 }' "$BATS_TEST_TMPDIR/memory"
}

@test "a large transfer: every dfdaemon stays under 64 MiB" {
	local f=$BATS_TEST_TMPDIR/f size=${TRAVEL_MEMORY:-320M} id i m pids watcher free need
	free=$(df --output=avail -B1 "$BATS_TEST_TMPDIR" | tail -1)
	need=$((5 * $(numfmt --from=iec "$size")))
	[ "$free" -gt "$need" ] || skip "needs $need bytes of room, there are $free"
	nodes_start 2
	# no zeros, no holes; cheap to make
	yes "$(seq -s ' ' 1000)" | head -c "$size" >"$f"
	pids="$(node_pid 1 dfdaemon) $(node_pid 2 dfdaemon)"
	# shellcheck disable=SC2086 # two words
	watch_memory $pids 3>&- &
	watcher=$!
	id=$(on 1 import --persistent-replica-count 1 "$f")
	on 2 export "$id" -O "$f.out"
	cmp "$f" "$f.out"
	rm "$f.out"
	# content through the stream: the most that one caller can make us hold
	on 2 export --transfer-from-dfdaemon "$id" -O "$f.out"
	cmp "$f" "$f.out"
	touch "$BATS_TEST_TMPDIR/stop"
	wait "$watcher"
	for i in $pids; do
		m=$(greatest "$i")
		echo "# at most $m KiB" >&3
		[ "$m" -gt 0 ]
		[ "$m" -lt 65536 ]
	done
	for i in 1 2; do
		m=$(private_kib "$(node_pid $i dfdaemon)")
		echo "# afterwards $m KiB" >&3
		[ "$m" -lt 16384 ]
	done
}
