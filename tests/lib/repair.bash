# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# repair.bash - eight nodes behind cables of 100 Mbit/s, three replicas of 256 MiB; two of the holders die
# at random moments, each killed or silenced (its cable is plugged, but nothing comes through). How soon
# do the others know, and how long after that are there three replicas again, in units of the time that the
# last holder needs to send the file once? Source this. Needs root.
#
#   repair_runs N SEED         prints a line for each run and a summary; fails when a limit is missed

# shellcheck source-path=SCRIPTDIR source=netns.bash
. "$(dirname "${BASH_SOURCE[0]}")/netns.bash"

REPAIR_N=8 REPAIR_MIB=${REPAIR_MIB:-256} REPAIR_RATE=${REPAIR_RATE:-100mbit}
REPAIR_DETECT_MS=10000 REPAIR_RATIO=130 # of 100

repair_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# What one cable takes: the file from node 1 to node 2 over a plain connection. Sets $SEND_MS.
repair_send_time()
{
	local t0
	netns_in 2 python3 -c '
import socket, sys
s = socket.create_server(("", 7777)); print("ready", flush=True)
c = s.accept()[0]
while c.recv(1 << 20): pass' >"$W/sink" 3>&- &
	wait_until 10 grep -q ready "$W/sink"
	t0=$(repair_ms)
	netns_in 1 python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[1], 7777)); f = open(sys.argv[2], "rb")
s.sendfile(f); s.shutdown(socket.SHUT_WR); s.recv(1)' "$(node_ip 2)" "$W/file" || return 1
	wait $!
	SEND_MS=$(($(repair_ms) - t0))
}

repair_holders() # NODE ID: nodes with a complete, counted copy
{
	on "$1" stat "$2" --json 2>/dev/null | python3 -c '
import json, sys
print(*sorted(h["hostname"][4:] for h in json.load(sys.stdin)["holders"]
              if h["persistent"] and h["state"] == "COMPLETE"))'
}

repair_has_three() # NODE ID: and none of them is one that died
{
	local h i
	h=" $(repair_holders "$1" "$2") "
	[ "$(wc -w <<<"$h")" = 3 ] || return 1
	for i in $DEAD; do
		[[ "$h" != *" $i "* ]] || return 1
	done
}

repair_live() # the nodes that live
{
	local i
	for i in $(seq $REPAIR_N); do
		[[ " $DEAD " == *" $i "* ]] || echo "$i"
	done
}

repair_all_miss() # I: does every live node know that it is gone?
{
	local k
	for k in $(repair_live); do
		in_log "$k" dfdaemon "peers: $(node_ip "$1")-node$1 is gone" || return 1
	done
}

repair_die() # I: sets $HOW and $T_DEAD
{
	DEAD="$DEAD $1"
	if [ $((RANDOM % 2)) = 0 ]; then
		HOW=killed
		T_DEAD=$(repair_ms)
		kill -KILL "$(node_pid "$1" dfdaemon)" "$(node_pid "$1" cachefilesd)"
	else
		HOW=silenced
		T_DEAD=$(repair_ms)
		netns_silence "$1" on
	fi
}

repair_nap() { read -r -t "$1" <> <(:) || :; } # a random moment, not a wait for something

repair_one() # NUMBER: one line; 1 when a limit was missed
{
	local id holders a b watcher t_dead how=() detect=() back ratio bad=""
	DEAD=
	netns_begin "$W/nodes" $REPAIR_N "$REPAIR_RATE" && nodes_start $REPAIR_N peer.heartbeat=3s || return 1
	[ -n "${SEND_MS:-}" ] || repair_send_time || return 1
	id=$(on $((RANDOM % REPAIR_N + 1)) import "$W/file" --persistent-replica-count 3 --wait) || return 1
	# shellcheck disable=SC2207 # numbers
	holders=($(repair_holders 1 "$id" | tr ' ' '\n' | shuf --random-source=<(yes "$RANDOM")))
	[ ${#holders[@]} = 3 ] || return 1
	a=${holders[0]} b=${holders[1]}
	repair_nap $((RANDOM % 3)).$((RANDOM % 10))
	repair_die "$a"
	how+=("$HOW")
	t_dead=$T_DEAD
	repair_nap $((RANDOM % 25)).$((RANDOM % 10)) & # the second one any time from now to the end of the repair
	wait_until 30 repair_all_miss "$a" || bad+=" the first death was not noticed"
	detect+=($(($(repair_ms) - t_dead)))
	wait $!
	repair_die "$b"
	how+=("$HOW")
	wait_until 30 repair_all_miss "$b" || bad+=" the second death was not noticed"
	detect+=($(($(repair_ms) - T_DEAD)))
	t_dead=$(repair_ms)
	watcher=${holders[2]}
	wait_until 180 repair_has_three "$watcher" "$id" || bad+=" three replicas did not come back"
	back=$(($(repair_ms) - t_dead))
	ratio=$((back * 100 / SEND_MS))
	watcher=$(repair_live | shuf -n 1 --random-source=<(yes "$RANDOM"))
	if ! on "$watcher" export "$id" -O "$W/out" >/dev/null || ! cmp "$W/file" "$W/out"; then
		bad+=" the file is lost"
	fi
	rm -f "$W/out"
	for watcher in "${detect[@]}"; do
		[ "$watcher" -le $REPAIR_DETECT_MS ] || bad+=" noticed too late"
	done
	[ $ratio -le $REPAIR_RATIO ] || bad+=" repaired too slowly"
	printf '%2d: %-8s %5d ms, %-8s %5d ms to notice; three replicas again after %6d ms = %d.%02d times; %s\n' \
		"$1" "${how[0]}" "${detect[0]}" "${how[1]}" "${detect[1]}" "$back" $((ratio / 100)) $((ratio % 100)) \
		"${bad:-good}"
	grep -h "repair: " "$W"/nodes/*/dfdaemon.log >>"$W/repair.log" 2>/dev/null
	[ -z "$bad" ]
}

repair_runs() # N SEED
{
	local i good=0
	W=$(mktemp -d)
	trap 'netns_end 2>/dev/null; rm -rf "$W"' EXIT
	RANDOM=$2
	head -c "${REPAIR_MIB}M" /dev/urandom >"$W/file"
	for i in $(seq "$1"); do
		if repair_one "$i"; then
			good=$((good + 1))
		else
			nodes_show 12
		fi
		netns_end
		rm -rf "$W/nodes"
	done
	echo "$good of $1 runs within the limits: noticed within $((REPAIR_DETECT_MS / 1000)) s, repaired within" \
		"1.30 times; a cable of $REPAIR_RATE takes ${SEND_MS:-?} ms for $REPAIR_MIB MiB"
	rm -rf "$W"
	[ "$good" = "$1" ]
}
