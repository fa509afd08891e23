#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache: progress on a terminal of 80 and of 40 columns, none in a pipe, none with --no-progress
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

setup_file()
{
	export WHY_NOT=
	. "$TOP/tests/lib/nodes.bash"
	command -v tmux >/dev/null || { WHY_NOT="tmux is not installed"; return 0; }
	nodes_begin "$BATS_FILE_TMPDIR/nodes"
	nodes_start 1 || { nodes_show; return 1; }
	printf '[dfcache]\nlog_dir =\n' >"$BATS_FILE_TMPDIR/dfcache.conf"
	export LC_ALL=C.UTF-8
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
	export DFCACHE_CONFIG=$BATS_FILE_TMPDIR/dfcache.conf
	cd "$BATS_TEST_TMPDIR"
	tmux=(tmux -S "$BATS_TEST_TMPDIR/tmux" -f /dev/null)
}

teardown()
{
	"${tmux[@]}" kill-server 2>/dev/null || :
}

in_terminal() # COLUMNS COMMAND: until it is over; the screen is in ./screen, the raw bytes in ./raw
{
	"${tmux[@]}" new-session -d -x "$1" -y 12 "bash --norc -c 'read -r _; $2; echo over; read -r _'"
	"${tmux[@]}" pipe-pane -o "cat >raw"
	"${tmux[@]}" send-keys Enter
	wait_until 60 screen_has over
	"${tmux[@]}" capture-pane -p >screen
	"${tmux[@]}" kill-session
}

longest() # TEXT: columns of the longest line drawn that has it
{
	tr '\r' '\n' <raw | sed 's/\x1b\[[0-9;?]*[a-zA-Z]//g' | grep -a "$1" |
		awk '{ if (length > n) n = length } END { print n + 0 }'
}

screen_has() { "${tmux[@]}" capture-pane -p | grep -q "$1"; }

@test "80 columns: verb, bytes, rate, time, source; then one line that stays" {
	truncate -s 1200M big
	head -c 50000000 /dev/urandom | dd of=big conv=notrunc status=none
	id=$(on 1 import big)
	in_terminal 80 "dfcache export $id -O out -e $(node_socket 1) --transfer-from-dfdaemon"
	grep -aq $'\rExporting [0-9.]* [KMG]*i*B/1.2 GiB \\[' raw
	grep -aq 'B/s' raw
	grep -aq 'here' raw
	[ "$(grep -c 'Done:' screen)" -eq 1 ]
	grep -q '^Done: 1.2 GiB .* by content$' screen
	run -1 grep -q 'Exporting' screen
	grep -qx "$PWD/out" screen
	# no line was longer than the terminal
	[ "$(longest Exporting)" -le 79 ]
}

@test "40 columns: shorter, never wrapped" {
	truncate -s 1G big
	id=$(on 1 import big)
	in_terminal 40 "dfcache export $id -O o -e $(node_socket 1) --transfer-from-dfdaemon"
	grep -aqE $'\r[0-9.]+ [KMG]?i?B/1.0 GiB' raw
	[ "$(longest '1.0 GiB ')" -le 39 ]
	grep -q '^Done: 1.0 GiB' screen
}

@test "import: the id is the last line" {
	head -c 20000000 /dev/urandom >in
	in_terminal 80 "dfcache import in -e $(node_socket 1)"
	id=$(on 1 import in)
	grep -q "Done: $id\$" screen
	[ "$(grep -B1 '^over$' screen | head -1)" = "$id" ]
}

@test "a pipe gets no control characters, --no-progress draws nothing" {
	head -c 20000000 /dev/urandom >in
	on 1 import in >out 2>err
	[ "$(wc -l <out)" -eq 1 ]
	[ ! -s err ]
	on 1 export "$(cat out)" -O o 2>&1 | LC_ALL=C tr -d '\n\40-\176' | wc -c | grep -qx 0
	in_terminal 80 "dfcache import in -e $(node_socket 1) --no-progress"
	run -1 grep -aq 'Importing\|Done' raw
}
