#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache on three nodes: --wait, stat, ls, pin, unpin, ttl, rm; where the bytes of an export come from
# shellcheck disable=SC2154,SC2164,SC2119 # bats sets stderr, and stops at a failed cd

bats_require_minimum_version 1.5.0

load ../lib/dfcache

setup_file() { dfcache_file 3; }
teardown_file() { dfcache_file_end; }

setup()
{
	dfcache_test
	head -c 9000000 /dev/urandom >a
}

json() # EXPRESSION: of the JSON on standard input, as j
{
	"${PYTHON:-python3}" -c 'import json, sys
j = json.load(sys.stdin)
r = eval(sys.argv[1])
print(r if not isinstance(r, bool) else str(r).lower())' "$1"
}

@test "import --wait returns when all replicas exist, and stat knows their holders" {
	run -0 --separate-stderr on 1 import a --wait --json
	[ "$(json 'j["replicas"]' <<<"$output")" -eq 2 ]
	id=$(json 'j["id"]' <<<"$output")
	run -0 --separate-stderr on 1 stat "$id" --json
	[ "$(json 'j["replicas"], j["replicas_wanted"], j["pieces_here"], j["piece_count"], j["state_here"]' <<<"$output")" = \
		"(2, 2, 3, 3, 'complete')" ]
	[ "$(json 'sorted(h["persistent"] for h in j["holders"])' <<<"$output")" = "[True, True]" ]
	[ "$(json 'len([h for h in j["holders"] if h["local"]])' <<<"$output")" -eq 1 ]
	run -0 on 2 stat "$id"
	[[ ${lines[1]} == " $id "*" Succeeded "*" 8.6 MiB "*" 4.0 MiB "*" 2 "*" 1h "* ]]
	run -6 --separate-stderr on 1 import a --tag x --wait --persistent-replica-count 5 --timeout 2s
	[[ $stderr == *"of 5 replicas"* ]]
	[[ $output =~ ^[0-9]+$ ]]
}

@test "an export says where its bytes came from" {
	id=$(on 1 import a --persistent-replica-count 1 --tag "$BATS_TEST_NAME")
	run -0 on 2 export "$id" -O out --json
	[ "$(json 'j["bytes_local"], j["bytes_peers"], j["peers"]' <<<"$output")" = "(0, 9000000, 1)" ]
	run -0 on 2 export "$id" -O out2 --json
	[ "$(json 'j["bytes_local"], j["bytes_peers"], j["peers"]' <<<"$output")" = "(9000000, 0, 0)" ]
}

@test "ls shows what is here, by tag and application too" {
	one=$(on 1 import a --tag ls-one --persistent-replica-count 1)
	two=$(on 1 import a --application ls-two --persistent-replica-count 1)
	run -0 on 1 ls
	[[ ${lines[0]} == "ID "*"STATE"*"SIZE"*"PIECES"*"PINNED"*"EXPIRES"*"TAG"* ]]
	grep -qE "^$one +complete .*ls-one" <<<"$output"
	grep -qE "^$two +complete " <<<"$output"
	run -0 on 1 ls --tag ls-one
	[ "${#lines[@]}" -eq 2 ]
	run -0 on 1 ls --application ls-two
	[[ ${lines[1]} == "$two "* ]]
	[ "${#lines[@]}" -eq 2 ]
	run -0 on 1 ls --cluster --tag ls-one
	[[ ${lines[0]} == *"CLUSTER"*"REPLICAS"* ]]
	[[ ${lines[1]} == *"Succeeded"*"1/1"* ]]
	run -0 on 1 ls --json --tag ls-one
	[ "$(json '[t["id"] for t in j]' <<<"$output")" = "['$one']" ]
	run -0 on 3 ls --json --tag ls-one
	[ "$(json 'j' <<<"$output")" = "[]" ]
}

@test "ls --cluster tells the tasks that only other nodes hold, each once" {
	local i all one two
	mkdir many
	for i in $(seq 140); do
		echo "$BATS_TEST_NAME $i" >"many/$i"
	done
	# more than one page of what a node schedules
	on 1 import -r many --tag ls-many --persistent-replica-count 1
	one=$(on 1 import a --tag ls-elsewhere --application x --persistent-replica-count 1)
	two=$(on 2 import a --tag ls-elsewhere --application y --persistent-replica-count 1)
	here=$(on 3 import a --tag ls-elsewhere --application z --persistent-replica-count 1)
	run -0 --separate-stderr on 3 ls --cluster --tag ls-elsewhere
	[ -z "$stderr" ]
	[ "${#lines[@]}" -eq 4 ]
	grep -qE "^$one +absent +8.6 MiB +0/3 +no .* ls-elsewhere +Succeeded +1/1" <<<"$output"
	grep -qE "^$two +absent +8.6 MiB +0/3 +no .* ls-elsewhere +Succeeded +1/1" <<<"$output"
	grep -qE "^$here +complete +8.6 MiB +3/3 +yes .* ls-elsewhere +Succeeded +1/1" <<<"$output"
	run -0 --separate-stderr on 3 ls --cluster --json --application y
	[ "$(json 'sorted((t["id"], t["state_here"], t["replicas"]) for t in j)' <<<"$output")" = "[('$two', 'absent', 1)]" ]
	for i in 1 2 3; do
		all=$(on "$i" ls --cluster --tag ls-many | sed 1d | cut -d' ' -f1)
		[ "$(wc -l <<<"$all")" -eq 141 ]
		[ "$(sort -u <<<"$all" | wc -l)" -eq 141 ]
	done
	# without it, what is here
	run -0 on 3 ls --tag ls-many
	[ -z "$output" ]
}

@test "pin, unpin and ttl change the copy here and the task" {
	id=$(on 1 import a --tag pin --persistent-replica-count 1)
	pinned() { on "$1" stat "$id" --json | json 'j["pinned"]'; }
	[ "$(pinned 1)" = true ]
	# the copy that an export left is not a counted replica: it goes when space is needed
	on 2 export "$id" -O out
	[ "$(pinned 2)" = false ]
	run -0 --separate-stderr on 2 pin "$id" --json
	[ "$(json 'j[0]["pinned"]' <<<"$output")" = true ]
	[ "$(pinned 2)" = true ]
	run -0 --separate-stderr on 2 unpin "$id"
	[ "$output" = "$id" ]
	[ "$(pinned 2)" = false ]
	run -0 on 1 ttl "$id" 3d
	left=$(on 1 stat "$id" --json | json 'int(j["expires"] - __import__("time").time())')
	[ "$left" -gt $((3 * 86400 - 60)) ] && [ "$left" -le $((3 * 86400 + 1)) ]
	run -2 on 1 ttl "$id" soon
	run -3 on 1 ttl "$id" 8d
	run -4 --separate-stderr on 1 pin 12345
	[[ $stderr == *"pin of 12345 failed"* ]]
}

@test "rm removes every replica, or only the one here" {
	id=$(on 1 import a --tag rm --wait)
	run -0 --separate-stderr on 1 rm "$id" --json
	[ "$(json 'j[0]["id"]' <<<"$output")" = "$id" ]
	run -4 on 1 stat "$id"
	none_has() { ! { on 1 ls; on 2 ls; on 3 ls; } | grep -q "^$id "; }
	wait_until 20 none_has
	run -4 on 2 export "$id" -O out
	# again is possible, and then only here
	id=$(on 1 import a --tag rm --wait)
	on 2 export "$id" -O out2
	run -0 on 2 rm --local "$id"
	run -0 on 3 export "$id" -O out3
	cmp a out3
	run -4 on 1 rm 12345
}

@test "the unix socket: importing publishes; importer, root and the admin group may change" {
	[ "$(id -u)" -eq 0 ] || skip "needs root to be several users"
	[ "$(getent group adm | cut -d: -f1)" = adm ] || skip "there is no group adm here"
	local adm dir change groups=(--clear-groups)
	adm=$(getent group adm | cut -d: -f3)
	export NODES_PEERS="4" NODES_PORT=4000 NODES_PIECE_PORT=4005
	node_start 4 local.admin_group=adm
	dir=$(mktemp -d /tmp/bats-local.XXXXXX)
	cp "$(command -v dfcache)" "$dir/"
	chmod 666 "$(node_socket 4)"
	ln "$(node_socket 4)" "$dir/sock" || { rm -r "$dir"; node_stop 4; skip "the socket cannot be linked to $dir"; }
	user() { setpriv --reuid "$1" --regid "$1" "${groups[@]}" "$dir/dfcache" "${@:2}" -e "$dir/sock" --log-dir= --config /dev/null; }
	cp a "$dir/a"
	chmod 755 "$dir"
	chmod 644 "$dir/a"
	mkdir -m 777 "$dir/out"
	id=$(user 12345 import "$dir/a" --tag mine --persistent-replica-count 1)
	# another one reads what was published, and changes nothing
	run -0 user 12346 export "$id" -O "$dir/out/out"
	cmp a "$dir/out/out"
	[ "$(stat -c %u "$dir/out/out")" -eq 12346 ]
	run -0 user 12346 stat "$id"
	run -0 user 12346 ls --cluster
	for change in "rm" "rm --local" pin unpin; do
		# shellcheck disable=SC2086 # a command and its option
		run -8 --separate-stderr user 12346 $change "$id"
		[[ $stderr == *"only its importer, root and the admin group may change it"* ]]
	done
	run -8 user 12346 ttl "$id" 2h
	# a member of the group, by a supplementary group
	groups=(--groups "$adm")
	for change in pin unpin; do run -0 user 12346 "$change" "$id"; done
	run -0 user 12346 ttl "$id" 2h
	run -0 user 12346 rm "$id"
	groups=(--clear-groups)
	# the importer itself, and root
	id=$(user 12345 import "$dir/a" --tag mine --persistent-replica-count 1)
	run -0 user 12345 ttl "$id" 2h
	for change in pin unpin rm; do run -0 user 12345 "$change" "$id"; done
	id=$(user 12345 import "$dir/a" --tag mine --persistent-replica-count 1)
	run -0 on 4 rm "$id"
	rm -r "$dir"
	node_stop 4
}
