#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache: every documented exit status, from a daemon that runs; with --json the same number and word
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

load ../lib/dfcache

setup_file() { dfcache_file 1; }
teardown_file() { dfcache_file_end; }

setup()
{
	dfcache_test
	head -c 100000 /dev/urandom >file
}

teardown()
{
	! is_running "${stopped:-}" || kill -CONT "$stopped"
}

# the status, alone on standard error; then with --json as a number and a word
ends_with() # STATUS WORD COMMAND...
{
	local status_wanted=$1 word=$2
	shift 2
	run "-$status_wanted" --separate-stderr "$@"
	[ -z "$output" ]
	[[ ${stderr_lines[0]} == "dfcache: "*" failed: "?* ]]
	run "-$status_wanted" --separate-stderr "$@" --json
	[ "$(jq -r .error <<<"$output")" = "$word" ]
	[ "$(jq -r .exit_status <<<"$output")" -eq "$status_wanted" ]
	[ -n "$(jq -r '.message // empty' <<<"$output")" ]
}

@test "0: imported, exported, shown" {
	id=$(on 1 import file)
	run -0 --separate-stderr on 1 export "$id" -O out
	[ "$output" = "$PWD/out" ]
	[ -z "$stderr" ]
	run -0 on 1 stat "$id"
}

@test "1: what has no status of its own" {
	[ -w /dev/full ] || skip "no /dev/full"
	id=$(on 1 import file)
	run -1 bash -c "$(printf 'dfcache stat -e %q %q >/dev/full' "$(node_socket 1)" "$id")"
}

@test "2: usage, and a wrong environment or file" {
	run -2 on 1 export
	run -2 on 1 import file --ttl 5
	DFCACHE_IMPORT_TTL=x run -2 on 1 import file
	printf '[dfcache]\nttl = x\n' >wrong.conf
	run -2 on 1 import file --config wrong.conf
}

@test "3: what cannot be right" {
	ends_with 3 invalid on 1 import file --ttl 8d
	ends_with 3 invalid on 1 stat 'no/such/id'
	ends_with 3 invalid on 1 export x -O no/such/directory/out
}

@test "4: no such task, no such file" {
	ends_with 4 not_found on 1 export 123456 -O out
	ends_with 4 not_found on 1 stat 123456
	ends_with 4 not_found on 1 rm 123456
	[ ! -e out ]
}

@test "5: no space in the store, with the numbers" {
	export NODES_PEERS="1 2" NODES_PORT=4000 NODES_PIECE_PORT=4005
	node_write_config 2
	# as if nearly all of the disk had to stay free
	sed -i 's/^brun .*/brun 99%/; s/^bcull .*/bcull 98%/; s/^bstop .*/bstop 97%/' "$(node_dir 2)/cachefilesd.conf"
	node_start_store 2
	node_start_peer 2 download.room_timeout=1s
	ends_with 5 no_space on 2 import file
	node_stop 2
}

@test "5: no space for the output" {
	[ "$(id -u)" -eq 0 ] || skip "needs root to mount a file system"
	mkdir small
	mount -t tmpfs -o size=64k none small || skip "tmpfs cannot be mounted here"
	id=$(on 1 import file)
	ends_with 5 no_space on 1 export "$id" -O small/out
	ends_with 5 no_space on 1 export "$id" -O small/out --transfer-from-dfdaemon
	[ -z "$(ls -A small)" ]
	umount small
}

@test "6: no answer in time; 130: interrupted meanwhile" {
	stopped=$(node_pid 1 dfdaemon)
	kill -STOP "$stopped"
	ends_with 6 timeout on 1 import file --timeout 300ms
	ends_with 6 timeout on 1 export 123456 -O out --timeout 300ms
	dfcache import -e "$(node_socket 1)" file 2>said &
	pid=$!
	# it waits for the daemon when it catches the signal itself
	wait_until 20 grep -q '^SigBlk:.*[4-7c-f]..[37bf]$' "/proc/$pid/status"
	kill -INT "$pid"
	# not by run: its subshell has no children to wait for
	status=0
	wait "$pid" || status=$?
	[ "$status" -eq 130 ]
	grep -q interrupted said
	kill -CONT "$stopped"
}

@test "7: no daemon" {
	ends_with 7 unavailable dfcache stat -e "$PWD/no.sock" 123456
	touch no.sock
	ends_with 7 unavailable dfcache stat -e "$PWD/no.sock" 123456
}

@test "8: another user's task" {
	[ "$(id -u)" -eq 0 ] || skip "needs root to be several users"
	id=$(on 1 import file)
	dir=$(mktemp -d /tmp/bats-status.XXXXXX)
	chmod 755 "$dir"
	cp "$BUILD/bin/dfcache" "$DFCACHE_CONFIG" "$dir"
	ln "$(node_socket 1)" "$dir/sock" || ln -s "$(node_socket 1)" "$dir/sock"
	chmod 666 "$dir/sock"
	ends_with 8 denied env DFCACHE_CONFIG="$dir/dfcache.conf" setpriv --reuid 12345 --regid 12345 \
		--clear-groups "$dir/dfcache" rm -e "$dir/sock" "$id"
	rm -r "$dir"
	run -0 on 1 stat "$id"
}

@test "9: the content is not what was asked for" {
	id=$(on 1 import file)
	ends_with 9 corrupt on 1 export "$id" -O out --digest "sha256:$(printf x | sha256sum | cut -d' ' -f1)"
	ends_with 9 corrupt on 1 export "$id" -O out --digest crc32:1 --transfer-from-dfdaemon
	[ ! -e out ]
}

@test "10: the output exists, the id has another content" {
	id=$(on 1 import file --content-for-calculating-task-id same)
	touch out
	ends_with 10 exists on 1 export "$id" -O out
	echo other >other
	ends_with 10 exists on 1 import other --content-for-calculating-task-id same
}
